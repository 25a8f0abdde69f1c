"""Scenes: one object on a still background, two events in order, and the state at any frame.

Time. A clip has 17 frames; the `run` sampling rule takes frames 0..15. An event changes the state
on transitions into the frames of its window:

    frame   0  1  2  3  4  5  6  7  8  9 10 11 12 13 14 15 16
    event 1    [------window------]
    event 2                            [-------window-------]

Transition t (into frame t) seen backwards is transition 16 - t, so the two windows swap places
when the 16 sampled frames are reversed. Jumps may fall on frames 3, 4, 5 or 11, 12, 13, which swap
as well. Hence the reversed frames are again those of a possible scene, with the same probability
and with the opposite direction and the opposite order: the unordered set of frames says nothing
about either.

Space. Along the axis of motion the position lives on a torus of circumference
`canvas + 2 * RADII["large"]`: an object that leaves on one side is fully gone, then comes back
from the other. Its start is uniform there, so its place at any frame is uniform whatever the
direction and speed. Along an axis without motion it is uniform over the places where even a large
object is wholly visible. Size and colour jump at once, from values uniform before and after the
jump. So no single frame, even with its number, says anything about direction or order.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
from typing import Any

import numpy as np

from sg4v_jax.errors import ConfigError, RecordError

SHAPES = ("circle", "square", "triangle", "cross")
COLOURS = ("red", "green", "blue", "yellow", "purple", "cyan")
RADII = {"small": 11.0, "large": 18.0}  # pixels
SIZES = tuple(RADII)
FAMILIES = ("move", "resize", "recolour")
DIRECTIONS = {"left": (-1, 0), "right": (1, 0), "up": (0, -1), "down": (0, 1)}
OPPOSITE = {"left": "right", "right": "left", "up": "down", "down": "up"}
SPEEDS = {"slow": 3.0, "fast": 6.0}  # pixels a frame
CANVAS, FRAMES, FPS, SAMPLED = 96, 17, 8, 16
WINDOWS = ((1, 7), (9, 15))  # first and last frame that event 1, event 2 may change
JUMP_OFFSETS = (2, 3, 4)  # frames after the window's first

# Never shown in the train split. Each colour once, each shape once or twice.
HELD_OUT = (
    ("circle", "red"),
    ("square", "green"),
    ("square", "purple"),
    ("triangle", "blue"),
    ("triangle", "cyan"),
    ("cross", "yellow"),
)
_SPLIT_SALTS = {"train": 1, "heldout": 2}
SPLITS = tuple(_SPLIT_SALTS)


@dataclasses.dataclass(frozen=True)
class Event:
    """One change. A `move` has `direction` and `speed`; a jump has `target` and `at`.

    Attributes:
      family: one of `FAMILIES`.
      start: first frame that the event may change.
      end: last frame that it may change.
      direction: for `move`, one of `DIRECTIONS`.
      speed: for `move`, one of `SPEEDS`; constant in all frames `start..end`.
      target: for `resize` the new size, for `recolour` the new colour.
      at: for jumps, the first frame that shows `target`.
    """

    family: str
    start: int
    end: int
    direction: str | None = None
    speed: str | None = None
    target: str | None = None
    at: int | None = None


@dataclasses.dataclass(frozen=True)
class Scene:
    """The whole truth about one clip: how things are at frame 0, and two events.

    `x` and `y` are the object's centre in pixels, (0, 0) the canvas' top left corner; `frames`
    counts frames and `canvas` is the side of the square picture in pixels.
    """

    seed: int
    split: str
    shape: str
    colour: str
    size: str
    x: float
    y: float
    events: tuple[Event, ...]
    frames: int = FRAMES
    canvas: int = CANVAS

    def event(self, family: str) -> Event | None:
        """The event of this family, or None."""
        return next((e for e in self.events if e.family == family), None)


@dataclasses.dataclass(frozen=True)
class ObjectState:
    """The object at one frame; `x`, `y` (centre) and `radius` in pixels."""

    x: float
    y: float
    radius: float
    size: str
    colour: str
    shape: str


@functools.cache
def colours_shown(shape: str, *, split: str) -> tuple[str, ...]:
    """The colours that a scene of this shape and split may have all the time."""
    held = {c for s, c in HELD_OUT if s == shape}
    return tuple(c for c in COLOURS if (c in held) == (split == "heldout"))


@functools.cache
def colour_pairs(shape: str, *, split: str) -> tuple[tuple[str, str], ...]:
    """The (first, second) colours that a recoloured object may have; all are equally likely.

    The set is closed under swapping, so that the colour at a frame does not tell whether the
    change is still to come. In the train split both colours make known combinations. In the
    held-out split at least one of the two does not, the first or the second: were it always
    the first, a known combination in the middle frame would mean that the change came early.
    """
    shown = colours_shown(shape, split=split)
    keep = all if split == "train" else any
    pairs = itertools.permutations(COLOURS, 2)
    return tuple(pair for pair in pairs if keep(colour in shown for colour in pair))


def sample_scene(seed: int, *, split: str = "train") -> Scene:
    """The scene of this seed and split, always the same.

    The two families are an ordered pair of different ones, all six equally likely.

    Raises:
      ConfigError: unknown split or negative seed.
    """
    if split not in _SPLIT_SALTS:
        raise ConfigError(f"split: unknown value {split!r}", mend=f"use one of {SPLITS}")
    if seed < 0:
        raise ConfigError(f"seed: {seed} is negative", mend="use a seed of 0 or more")
    rng = np.random.default_rng([seed, _SPLIT_SALTS[split]])
    shape, size = _pick(rng, SHAPES), _pick(rng, SIZES)
    families = [FAMILIES[i] for i in rng.permutation(len(FAMILIES))[:2]]
    pair = _pick(rng, colour_pairs(shape, split=split))
    colour = _pick(rng, colours_shown(shape, split=split))
    targets = {"resize": _other_size(size), "recolour": pair[1]}
    if "recolour" in families:
        colour = pair[0]
    direction, speed = _pick(rng, tuple(DIRECTIONS)), _pick(rng, tuple(SPEEDS))

    events = []
    for family, (start, end) in zip(families, WINDOWS, strict=True):
        if family == "move":
            events.append(Event(family, start, end, direction=direction, speed=speed))
        else:
            at = start + _pick(rng, JUMP_OFFSETS)
            events.append(Event(family, start, end, target=targets[family], at=at))
    moving_axis = (0 if DIRECTIONS[direction][0] else 1) if "move" in families else None
    x, y = (_start(rng, moving=axis == moving_axis) for axis in (0, 1))
    return Scene(seed, split, shape, colour, size, x, y, tuple(events))


def _pick(rng: np.random.Generator, options):
    return options[int(rng.integers(len(options)))]


def _other_size(size: str) -> str:
    return SIZES[1 - SIZES.index(size)]


def _start(rng: np.random.Generator, *, moving: bool) -> float:
    """A start coordinate: on the torus along the axis of motion, else well inside the canvas."""
    margin = RADII["large"]
    low, high = (-margin, CANVAS + margin) if moving else (margin, CANVAS - margin)
    return round(float(rng.uniform(low, high)), 2)


def wrap(value: float, *, canvas: int = CANVAS) -> float:
    """`value` on the torus, in [-r, canvas + r) with r the large radius: 111.0 -> -13.0."""
    margin = RADII["large"]
    return (value + margin) % (canvas + 2 * margin) - margin


def state(scene: Scene, frame: int) -> ObjectState:
    """The object at `frame`, 0 <= frame < scene.frames.

    Raises:
      ConfigError: no such frame.
    """
    if not 0 <= frame < scene.frames:
        raise ConfigError(
            f"scene {scene.seed}: frame {frame} does not exist",
            mend=f"use a frame from 0 to {scene.frames - 1}",
        )
    x, y, size, colour = scene.x, scene.y, scene.size, scene.colour
    for event in scene.events:
        if event.family == "move":
            steps = min(max(frame - event.start + 1, 0), event.end - event.start + 1)
            dx, dy = DIRECTIONS[event.direction]
            # Round-off would otherwise grow differently forwards and backwards.
            x = round(wrap(x + dx * SPEEDS[event.speed] * steps, canvas=scene.canvas), 2)
            y = round(wrap(y + dy * SPEEDS[event.speed] * steps, canvas=scene.canvas), 2)
        elif frame >= event.at:
            size = event.target if event.family == "resize" else size
            colour = event.target if event.family == "recolour" else colour
    return ObjectState(x, y, RADII[size], size, colour, scene.shape)


def in_view(state: ObjectState, *, canvas: int = CANVAS) -> bool:
    """Whether the object's centre lies on the canvas, so that about half of it shows or more."""
    return 0 <= state.x <= canvas and 0 <= state.y <= canvas


def place(state: ObjectState, *, canvas: int = CANVAS) -> str:
    """The place in words: one of `PLACES`, by thirds of the canvas; see `in_view`."""
    if not in_view(state, canvas=canvas):
        return "out of view"
    column = min(int(state.x * 3 / canvas), 2)
    row = min(int(state.y * 3 / canvas), 2)
    return PLACES[3 * row + column]


PLACES = (
    *("top left", "top", "top right"),
    *("left", "center", "right"),
    *("bottom left", "bottom", "bottom right"),
    "out of view",
)


def to_json(scene: Scene) -> dict[str, Any]:
    """The scene as JSON values; `from_json` gives the scene back."""
    return dataclasses.asdict(scene) | {"events": [_without_none(e) for e in scene.events]}


def _without_none(event: Event) -> dict[str, Any]:
    return {k: v for k, v in dataclasses.asdict(event).items() if v is not None}


def from_json(value: dict[str, Any], *, where: str = "scene") -> Scene:
    """The scene written by `to_json`.

    Args:
      value: the JSON object.
      where: file and record, for the message.

    Raises:
      RecordError: a field is missing, unknown, or has a value that no scene can have.
    """
    fields = {f.name for f in dataclasses.fields(Scene)}
    if set(value) != fields:
        raise RecordError(
            f"{where}: missing fields {sorted(fields - set(value))}, "
            f"unknown fields {sorted(set(value) - fields)}",
            mend="make the data set again with this version",
        )
    allowed = {"split": SPLITS, "shape": SHAPES, "colour": COLOURS, "size": SIZES}
    for field, options in allowed.items():
        _check(value[field], options, where=f"{where}: field {field!r}")
    try:
        events = tuple(Event(**e) for e in value["events"])
    except TypeError as e:
        raise RecordError(f"{where}: field 'events': {e}", mend="make the data set again") from e
    for number, event in enumerate(events):
        _check_event(event, where=f"{where}: field 'events[{number}]'")
    return Scene(**(value | {"events": events}))


def _check_event(event: Event, *, where: str) -> None:
    _check(event.family, FAMILIES, where=f"{where}.family")
    if event.family == "move":
        _check(event.direction, DIRECTIONS, where=f"{where}.direction")
        _check(event.speed, SPEEDS, where=f"{where}.speed")
    else:
        targets = SIZES if event.family == "resize" else COLOURS
        _check(event.target, targets, where=f"{where}.target")
        _check(event.at, range(event.start, event.end + 1), where=f"{where}.at")


def _check(value: Any, options, *, where: str) -> None:
    if value not in options:
        raise RecordError(
            f"{where}: unknown value {value!r}", mend=f"use one of {', '.join(map(str, options))}"
        )
