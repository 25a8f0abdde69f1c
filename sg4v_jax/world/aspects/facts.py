"""What can be said of a clip, as data: the truth, less than the truth, and what is not true."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from sg4v_jax.errors import ConfigError
from sg4v_jax.world.aspects.scene import (
    COLOURS,
    DIRECTIONS,
    KINDS,
    SIZES,
    SPEEDS,
    Event,
    Scene,
)
from sg4v_jax.world.scene import OPPOSITE


@dataclasses.dataclass(frozen=True)
class EventFact:
    """One event as it can be told.

    Attributes:
      kind: one of `scene.KINDS`.
      direction, speed: of a `move`.
      old, new: colours of a `recolour`.
    """

    kind: str
    direction: str | None = None
    speed: str | None = None
    old: str | None = None
    new: str | None = None


@dataclasses.dataclass(frozen=True)
class Look:
    """A thing at one moment."""

    size: str
    colour: str
    shape: str


@dataclasses.dataclass(frozen=True)
class Facts:
    """What a caption may tell.

    Attributes:
      events: in their order.
      last: how it looks at the end; None where that would tell of an event that is left out.
      bystander: None where there is none.
    """

    first: Look
    events: tuple[EventFact, ...]
    last: Look | None
    camera: str
    bystander: Look | None


def truth(scene: Scene) -> Facts:
    """All of it."""
    thing, other = scene.thing, scene.bystander
    first = Look(thing.size, thing.colour, thing.shape)
    events = tuple(_event(e, colour=thing.colour) for e in scene.events)
    return Facts(
        first=first,
        events=events,
        last=after(first, events),
        camera=scene.camera,
        bystander=other and Look(other.size, other.colour, other.shape),
    )


def _event(event: Event, *, colour: str) -> EventFact:
    old = colour if event.kind == "recolour" else None
    return EventFact(event.kind, event.direction, event.speed, old, event.target)


def after(look: Look, events: Sequence[EventFact]) -> Look:
    """How a thing looks when `events` are over; the largest does not grow, nor the smallest shrink."""
    names = list(SIZES)
    size, colour = names.index(look.size), look.colour
    for event in events:
        size += {"grow": 1, "shrink": -1}.get(event.kind, 0)
        size = min(max(size, 0), len(names) - 1)
        colour = event.new or colour
    return Look(names[size], colour, look.shape)


def without_events(facts: Facts, rng: np.random.Generator, *, rate: float) -> Facts:
    """Each event left out with chance `rate`.

    Raises:
      ConfigError: a rate outside 0..1.
    """
    _check(rate)
    events = tuple(e for e in facts.events if rng.random() >= rate)
    last = facts.last if after(facts.first, events) == facts.last else None
    return dataclasses.replace(facts, events=events, last=last)


def made_false(facts: Facts, rng: np.random.Generator, *, rate: float) -> Facts:
    """Each event told wrongly with chance `rate`: one thing about it is not so.

    A move goes the other way or at the other speed, a colour is another one, and what grows,
    shrinks or blinks does something that does not happen in the clip. Order stays, and the end
    is told as it follows from what is told.

    Raises:
      ConfigError: a rate outside 0..1.
    """
    _check(rate)
    kinds = {e.kind for e in facts.events}
    events = []
    for event in facts.events:
        wrong = event if rng.random() >= rate else _wrong(event, rng, taken=kinds, facts=facts)
        kinds.add(wrong.kind)
        events.append(wrong)
    return dataclasses.replace(facts, events=tuple(events), last=after(facts.first, events))


def _wrong(
    event: EventFact, rng: np.random.Generator, *, taken: set[str], facts: Facts
) -> EventFact:
    if event.kind == "move":
        if rng.integers(2):
            return dataclasses.replace(event, direction=OPPOSITE[event.direction])
        return dataclasses.replace(event, speed=next(s for s in SPEEDS if s != event.speed))
    if event.kind == "recolour":
        others = [c for c in COLOURS if c not in (event.old, event.new)]
        return dataclasses.replace(event, new=others[int(rng.integers(len(others)))])
    others = [kind for kind in KINDS if kind not in taken]
    kind = others[int(rng.integers(len(others)))]
    if kind == "move":
        direction = tuple(DIRECTIONS)[int(rng.integers(len(DIRECTIONS)))]
        return EventFact(kind, direction, tuple(SPEEDS)[int(rng.integers(len(SPEEDS)))])
    if kind == "recolour":
        old = facts.first.colour
        colours = [c for c in COLOURS if c != old]
        return EventFact(kind, old=old, new=colours[int(rng.integers(len(colours)))])
    return EventFact(kind)


def _check(rate: float) -> None:
    if not 0 <= rate <= 1:
        raise ConfigError(f"rate {rate!r} of a caption's errors", mend="use a rate from 0 to 1")
