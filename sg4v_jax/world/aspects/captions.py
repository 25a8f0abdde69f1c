"""Facts -> captions, in plain english of a small vocabulary, all lower case.

    detailed  look, both events in their order, the end, the camera, the bystander
    short     what is there; one third add one bare action word. Never order, direction, speed, a
              new colour or the camera
    static    as long as `detailed`, but only what the first frame shows
    unordered `detailed` with the events told in any order, and no word that says which came first

Wordings come in sets that share their words but no sentence: one for pre-training, one for the
arms, one for the test's caption matching, so that nothing is gained by knowing a format.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from sg4v_jax.errors import ConfigError
from sg4v_jax.world.aspects.facts import EventFact, Facts, Look

ADVERBS = {"slow": "slowly", "fast": "quickly"}
VERBS = {
    "move": "moves",
    "grow": "grows",
    "shrink": "shrinks",
    "blink": "blinks",
    "recolour": "changes color",
}
BARE = {
    "move": "moving",
    "grow": "growing",
    "shrink": "shrinking",
    "blink": "blinking",
    "recolour": "changing color",
}


@dataclasses.dataclass(frozen=True)
class Wording:
    """How one use says things.

    Attributes:
      opening, ending: templates with {look}.
      first, second: with {event}; alone: of a single event or of events without an order.
      move: with {direction} and {adverb}; recolour: with {old} and {new}.
      camera: with {camera}; bystander: with {look}.
    """

    opening: Sequence[str]
    first: Sequence[str]
    second: Sequence[str]
    alone: Sequence[str]
    ending: Sequence[str]
    move: Sequence[str]
    recolour: Sequence[str]
    camera: Sequence[str]
    bystander: Sequence[str]


WORDINGS = {
    "pretrain": Wording(
        opening=("this is a {look} on a soft ground", "on a soft ground there is a {look}"),
        first=("it {event} at first", "to begin with it {event}"),
        second=("later it {event}", "it {event} after that"),
        alone=("what it does: it {event}",),
        ending=("what is left is a {look}", "a {look} is left"),
        move=("moves {adverb} {direction}",),
        recolour=("goes from {old} to {new}",),
        camera=("here the camera {camera}",),
        bystander=("with it there is a {look}",),
    ),
    "train": Wording(
        opening=("a {look} is on a soft ground", "there is a {look} on a soft ground"),
        first=("first it {event}", "at first it {event}"),
        second=("then it {event}", "after that it {event}"),
        alone=("it {event}", "the thing {event}"),
        ending=("at the end it is a {look}", "it ends as a {look}"),
        move=("moves {direction} {adverb}", "{adverb} moves {direction}"),
        recolour=("turns from {old} to {new}", "changes color from {old} to {new}"),
        camera=("the camera {camera}",),
        bystander=("a {look} is at rest", "there is also a {look} at rest"),
    ),
    "test": Wording(
        opening=("the clip has a {look}",),
        first=("it {event} to begin with",),
        second=("later on it {event}",),
        alone=("here it {event}",),
        ending=("it is a {look} at the end",),
        move=("moves to the {direction} {adverb}",),
        recolour=("turns to {new} from {old}",),
        camera=("it is seen that the camera {camera}",),
        bystander=("at rest there is a {look}",),
    ),
}


def detailed(
    facts: Facts, rng: np.random.Generator, *, use: str = "train", sentences: int | None = None
) -> str:
    """All of `facts`, in order.

    For example: "a small red circle is on a soft ground. first it moves left slowly. then it turns
    from red to blue. at the end it is a small blue circle. the camera stays still."

    Args:
      use: key of `WORDINGS`.
      sentences: keep only so many, from the first on.
    """
    return _join(_sentences(facts, rng, words=wording(use), ordered=True)[:sentences])


def unordered(facts: Facts, rng: np.random.Generator, *, use: str = "train") -> str:
    """As `detailed`, its events in a drawn order, with nothing said about which came first."""
    events = tuple(facts.events[int(i)] for i in rng.permutation(len(facts.events)))
    facts = dataclasses.replace(facts, events=events)
    return _join(_sentences(facts, rng, words=wording(use), ordered=False))


def short(facts: Facts, rng: np.random.Generator) -> str:
    """For example "a red circle blinking on a soft ground."; 7 to 9 words."""
    look = facts.first
    name = _pick(
        rng, (f"a {look.size} {look.colour} {look.shape}", f"a {look.colour} {look.shape}")
    )
    if rng.integers(3) or not facts.events:
        return f"{name} on a soft ground."
    return f"{name} {BARE[_pick(rng, facts.events).kind]} on a soft ground."


def static(facts: Facts, rng: np.random.Generator) -> str:
    """Only what the first frame shows, about as long as `detailed`."""
    look, other = facts.first, facts.bystander
    lines = [
        _pick(rng, wording("train").opening).format(look=_look(look)),
        f"its size is {look.size} and its color is one {look.colour}",
        _pick(rng, ("its edge is clean and all of it is plain", "all of it is plain and clean")),
        "the ground is soft and gray",
    ]
    if other is not None:
        lines.append(_pick(rng, wording("train").bystander).format(look=_look(other)))
    return _join(lines)


def wording(use: str) -> Wording:
    """The set of templates of a use.

    Raises:
      ConfigError: no such use.
    """
    if use not in WORDINGS:
        raise ConfigError(f"wording {use!r} is unknown", mend=f"use one of {', '.join(WORDINGS)}")
    return WORDINGS[use]


def event_words(event: EventFact, rng: np.random.Generator, *, words: Wording) -> str:
    """ "moves left slowly", "turns from red to blue", "grows" ..."""
    if event.kind == "move":
        template = _pick(rng, words.move)
        return template.format(direction=event.direction, adverb=ADVERBS[event.speed])
    if event.kind == "recolour":
        return _pick(rng, words.recolour).format(old=event.old, new=event.new)
    return VERBS[event.kind]


def camera_words(camera: str) -> str:
    """ "stays still", "pans left" ..."""
    return "stays still" if camera == "still" else camera


def _sentences(
    facts: Facts, rng: np.random.Generator, *, words: Wording, ordered: bool
) -> list[str]:
    told = [event_words(e, rng, words=words) for e in facts.events]
    if ordered and len(told) == 2:
        links = (_pick(rng, words.first), _pick(rng, words.second))
    else:
        links = tuple(_pick(rng, words.alone) for _ in told)
    lines = [
        _pick(rng, words.opening).format(look=_look(facts.first)),
        *(link.format(event=event) for link, event in zip(links, told, strict=True)),
    ]
    if facts.last is not None:
        lines.append(_pick(rng, words.ending).format(look=_look(facts.last)))
    lines.append(_pick(rng, words.camera).format(camera=camera_words(facts.camera)))
    if facts.bystander is not None:
        lines.append(_pick(rng, words.bystander).format(look=_look(facts.bystander)))
    return lines


def _join(sentences: Sequence[str]) -> str:
    return " ".join(f"{line}." for line in sentences)


def _look(look: Look) -> str:
    return f"{look.size} {look.colour} {look.shape}"


def _pick(rng: np.random.Generator, options: Sequence):
    return options[int(rng.integers(len(options)))]
