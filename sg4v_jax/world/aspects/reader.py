"""Caption -> what it tells -> an answer: what somebody knows who reads the caption and sees nothing.

It reads every wording of `captions`, a model's own captions too, and is the fourth form's judge.
"""

from __future__ import annotations

import dataclasses
import re

from sg4v_jax.world.aspects import captions
from sg4v_jax.world.aspects.facts import EventFact
from sg4v_jax.world.aspects.questions import Claim, Question
from sg4v_jax.world.aspects.scene import CAMERAS, COLOURS, DIRECTIONS

_WAY = "|".join(DIRECTIONS)
_COLOUR = "|".join(COLOURS)
_EVENT = re.compile(
    rf"\b(?P<move>moves|moving)\b(?: to the)?(?: (?:slowly|quickly))?(?: (?P<way>{_WAY}))?"
    r"|\b(?P<grow>grows|growing)\b|\b(?P<shrink>shrinks|shrinking)\b"
    r"|\b(?P<blink>blinks|blinking)\b"
    r"|\b(?P<recolour>turns|changes color|changing color|goes from)\b"
)
_PAIR = re.compile(rf"from (?P<old>{_COLOUR}) to (?P<new>{_COLOUR})")
_BACKWARDS = re.compile(rf"to (?P<new>{_COLOUR}) from (?P<old>{_COLOUR})")
_SPEED = re.compile(r"\b(slowly|quickly)\b")
_ORDER = re.compile(r"\b(first|then|after that|begin with|later)\b")
_SPEEDS = {adverb: speed for speed, adverb in captions.ADVERBS.items()}
_CAMERAS = {captions.camera_words(camera): camera for camera in CAMERAS}


@dataclasses.dataclass(frozen=True)
class Told:
    """What a caption tells: `events` as they are told, `ordered` if it says which came first."""

    events: tuple[EventFact, ...]
    ordered: bool
    camera: str | None


def read(caption: str) -> Told:
    """What `caption` tells; sentences that say nothing known are passed over.

    >>> read("first it grows. then it moves left slowly. the camera pans left.")
    Told(events=(EventFact("grow"), EventFact("move", "left", "slow")), ordered=True,
         camera="pans left")
    """
    events, camera, ordered = [], None, False
    for sentence in caption.lower().split("."):
        words = " ".join(re.findall(r"\w+", sentence))
        if "camera" in words:
            found = [name for phrase, name in _CAMERAS.items() if phrase in words]
            camera = found[0] if found else camera
            continue
        for match in _EVENT.finditer(words):
            events.append(_event(match, words))
            ordered = ordered or bool(_ORDER.search(words))
    return Told(tuple(events), ordered and len(events) > 1, camera)


def _event(match: re.Match, words: str) -> EventFact:
    kind = next(k for k in ("move", "grow", "shrink", "blink", "recolour") if match[k])
    if kind == "move":
        speed = _SPEED.search(words)
        return EventFact(kind, match["way"], speed and _SPEEDS[speed[1]])
    if kind == "recolour":
        pair = _BACKWARDS.search(words) or _PAIR.search(words)
        return EventFact(kind, old=pair and pair["old"], new=pair and pair["new"])
    return EventFact(kind)


def answer(told: Told, question: Question) -> str | None:
    """The option that follows from what is told; None where it does not follow.

    A claim follows if the caption says it, is denied if the caption says something else of the
    same kind, and is open where the caption is silent.
    """
    states = [_holds(told, claim) for claim in question.claims]
    if question.form == "yesno":
        return None if states[0] is None else ("yes" if states[0] else "no")
    true = [option for option, held in zip(question.options, states, strict=True) if held]
    if len(true) == 1:
        return true[0]
    left = [option for option, held in zip(question.options, states, strict=True) if held is None]
    return left[0] if not true and len(left) == 1 else None


def _holds(told: Told, claim: Claim) -> bool | None:
    says = dict(claim.tells)
    kinds = [e.kind for e in told.events]
    if "camera" in says:
        return None if told.camera is None else told.camera == says["camera"]
    if "first" in says:
        pair = [says["first"], says["second"]]
        if not told.ordered:
            return None
        return kinds == pair if len(kinds) == 2 else None
    if "kind" in says:
        if says["kind"] in kinds:
            return True
        return False if len(kinds) > 1 else None
    kind = "recolour" if "new" in says else "move"
    event = next((e for e in told.events if e.kind == kind), None)
    if event is None or any(getattr(event, field) is None for field in says):
        return None
    return all(getattr(event, field) == value for field, value in says.items())
