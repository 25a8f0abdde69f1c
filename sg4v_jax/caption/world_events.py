"""Reads captions of the world's videos exactly: which events they tell of, and what about them."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable

from sg4v_jax.caption.event_scores import EventCounts, count_events
from sg4v_jax.world.scene import COLOURS, DIRECTIONS, FAMILIES, SIZES, Event, Scene

_SPEEDS = {"slowly": "slow", "quickly": "fast"}
_TARGETS = {"grows": "large", "shrinks": "small"}


def _words(options: Iterable[str]) -> str:
    return "|".join(options)


# Over one sentence of plain words. A speed stands before or behind its verb; of two sizes or
# colours, `_a` is the one before and `_b` the one after.
_EVENT = re.compile(
    rf"(?:\b(?P<speed_a>{_words(_SPEEDS)}) )?\b(?P<move>moves|moving)\b"
    rf"(?: (?P<direction>{_words(DIRECTIONS)})\b)?(?: (?P<speed_b>{_words(_SPEEDS)})\b)?"
    r"|\b(?P<resize>grows|shrinks|resizing|changes size)\b"
    rf"(?: from (?P<size_a>{_words(SIZES)})\b)?(?: to (?P<size_b>{_words(SIZES)})\b)?"
    r"|\b(?P<recolour>turns|recoloring|changes color)\b"
    rf"(?: from (?P<colour_a>{_words(COLOURS)})\b)?(?: to (?P<colour_b>{_words(COLOURS)})\b)?"
)


@dataclasses.dataclass(frozen=True)
class ToldEvent:
    """An event as told: its family, and claims such as ("direction", "left") about it."""

    family: str
    claims: frozenset[tuple[str, str]]


def told_events(text: str) -> list[ToldEvent]:
    """The events that a caption tells of, in order, repeats too.

        "It moves left slowly. Then it grows."
            -> move {direction left, speed slow}, resize {to large}

    Source: the vocabulary of `world.captions`, of the questions' answers and of the world's
    captioner. The families agree with `world.parse.caption_events`.
    """
    told = []
    for sentence in re.split(r"[.!?;]", text.lower()):
        plain = " ".join(re.findall(r"\w+", sentence))
        told += [_told(match) for match in _EVENT.finditer(plain)]
    return told


def facts(event: Event, *, scene: Scene) -> frozenset[tuple[str, str]]:
    """All that can be told about an event of the scene."""
    if event.family == "move":
        return frozenset({("direction", event.direction), ("speed", event.speed)})
    before = scene.size if event.family == "resize" else scene.colour
    return frozenset({("from", before), ("to", event.target)})


def read_world_caption(text: str, *, scene: Scene) -> EventCounts:
    """How a caption's events compare with the scene's.

    A told event is right if the scene has one of its family of which every claim is true. To say
    less is no error (`details` counts it), to say anything wrong is: of a scene that moves left
    slowly and then turns from red to blue,

        "it moves right. it turns from red to blue."  -> told 2, right 1, details 2 of 4
    """
    truth = [(event.family, facts(event, scene=scene)) for event in scene.events]
    told: list[int | None] = []
    proven: set[tuple[int, str, str]] = set()
    for event in dict.fromkeys(told_events(text)):
        index = next(
            (
                i
                for i, (f, known) in enumerate(truth)
                if f == event.family and event.claims <= known
            ),
            None,
        )
        told.append(index)
        if index is not None:
            proven |= {(index, *claim) for claim in event.claims}
    every = sum(len(known) for _, known in truth)
    return count_events(told, true=len(truth), facts=every, facts_told=len(proven))


def _told(match: re.Match) -> ToldEvent:
    family = next(name for name in FAMILIES if match[name])
    if family == "move":
        claims = {("direction", match["direction"])}
        claims |= {("speed", _SPEEDS.get(match[place])) for place in ("speed_a", "speed_b")}
    else:
        short = "size" if family == "resize" else "colour"
        claims = {("from", match[f"{short}_a"]), ("to", match[f"{short}_b"])}
        if family == "resize":
            claims.add(("to", _TARGETS.get(match["resize"])))
    return ToldEvent(family, frozenset(claim for claim in claims if claim[1] is not None))
