"""Scenes of the study: a thing, perhaps a second one at rest, two events in order, a camera.

Time. As in `world.scene`: 17 frames, of which the sampling rule takes frames 0..15. Event 1 changes
the picture on the transitions into frames 1..7, event 2 on those into frames 9..15, so that a clip
played backwards is a possible clip: the unordered set of frames says nothing about the order.

Space. The picture is a torus: what leaves on one side comes in on the other at once. So a thing
is always wholly in the picture (it may lie across an edge), its place at any frame is uniform
whatever it does, and no single frame says which way it goes. Lengths are shares of the canvas'
side, so that one scene can be drawn at any size.

Kinds of events are drawn evenly: every ordered pair of two different ones is equally likely. A thing
that both grows and shrinks begins at medium size, so that its size does not tell which came first.

Held out. `held_out(shape, colour, kind)` says which combinations never happen in the train split;
in the others half of the scenes show one.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools

import numpy as np

from sg4v_jax.errors import ConfigError

SHAPES = ("circle", "square", "triangle", "cross")
COLOURS = ("red", "green", "blue", "yellow", "purple", "cyan")
SIZES = {"small": 0.10, "medium": 0.15, "large": 0.21}  # radius
KINDS = ("move", "grow", "shrink", "blink", "recolour")
DIRECTIONS = {"left": (-1, 0), "right": (1, 0), "up": (0, -1), "down": (0, 1)}
SPEEDS = {
    "slow": 0.02,
    "fast": 0.06,
}  # a frame; fast goes 0.42 in all, so half the torus is never met
CAMERAS = ("still", "pans left", "pans right", "zooms in", "zooms out")
PAN, ZOOM = 0.015, 1.25  # a frame; the largest magnification
PAIRS = tuple(itertools.permutations(KINDS, 2))
FRAMES, SAMPLED, FPS = 17, 16, 8
WINDOWS = ((1, 7), (9, 15))
BLINK = 2  # frames out of sight
SPLITS = ("train", "dev", "test")
_SALT = 47


@dataclasses.dataclass(frozen=True)
class Event:
    """One change.

    Attributes:
      kind: one of `KINDS`.
      number: 0 or 1, which of the two windows it has.
      direction: of a `move`, one of `DIRECTIONS`; `speed`: one of `SPEEDS`.
      target: the new colour of a `recolour`.
      at: first frame of a `recolour` or `blink`.
    """

    kind: str
    number: int
    direction: str | None = None
    speed: str | None = None
    target: str | None = None
    at: int | None = None


@dataclasses.dataclass(frozen=True)
class Thing:
    """An object at frame 0; its centre `x`, `y` in 0..1 from the left top corner."""

    shape: str
    colour: str
    size: str
    x: float
    y: float


@dataclasses.dataclass(frozen=True)
class Scene:
    """The whole truth about one clip."""

    seed: int
    split: str
    thing: Thing
    events: tuple[Event, Event]
    bystander: Thing | None
    camera: str

    def event(self, kind: str) -> Event | None:
        """The event of this kind, or None."""
        return next((e for e in self.events if e.kind == kind), None)


@dataclasses.dataclass(frozen=True)
class WorldSettings:
    """How hard the world is.

    Attributes:
      bystander: chance of a second thing, at rest, of another shape and colour.
      camera: chance that the camera moves.
    """

    bystander: float = 0.5
    camera: float = 0.4

    def __post_init__(self):
        for field in ("bystander", "camera"):
            if not 0 <= (chance := getattr(self, field)) <= 1:
                raise ConfigError(f"world: {field}={chance!r}", mend="use a chance from 0 to 1")


def held_out(shape: str, colour: str, kind: str) -> bool:
    """Whether the train split never shows an event of this kind on such a thing.

    Every shape, and every kind, is in as many held-out combinations as its fellows.
    """
    return (SHAPES.index(shape) + COLOURS.index(colour) + KINDS.index(kind)) % len(COLOURS) == 0


def sample_scene(seed: int, *, split: str, settings: WorldSettings) -> Scene:
    """The scene of this seed and split, always the same.

    Raises:
      ConfigError: unknown split, or a negative seed.
    """
    if split not in SPLITS:
        raise ConfigError(f"split: unknown value {split!r}", mend=f"use one of {SPLITS}")
    if seed < 0:
        raise ConfigError(f"seed: {seed} is negative", mend="use a seed of 0 or more")
    rng = np.random.default_rng([_SALT, SPLITS.index(split), seed])
    # Half of the dev and test scenes show a held-out combination, the others only known ones.
    unseen = split != "train" and bool(rng.integers(2))
    kinds = _pick(rng, PAIRS)
    cells, chances = _looks(kinds, unseen=unseen)
    shape, colour = cells[int(rng.choice(len(cells), p=chances))]
    size = _first_size(rng, kinds)
    events = tuple(_event(rng, kind, number, colour) for number, kind in enumerate(kinds))
    camera = _pick(rng, CAMERAS[1:]) if rng.random() < settings.camera else CAMERAS[0]
    while True:
        thing = Thing(shape, colour, size, *rng.random(2).round(4).tolist())
        scene = Scene(seed, split, thing, events, None, camera)
        if all(_in_view(scene, frame) for frame in (0, SAMPLED - 1)):
            break
    if rng.random() < settings.bystander:
        scene = dataclasses.replace(scene, bystander=_bystander(rng, thing, events))
    return scene


def _in_view(scene: Scene, frame: int) -> bool:
    """Whether a good part of the thing shows. Only zooming hides any of the torus: its edges."""
    now, (_, zoom) = state(scene, frame), view(scene, frame)
    return all(abs(at - 0.5) - 0.5 / zoom < now.radius / 2 for at in (now.x, now.y))


@functools.cache
def _looks(kinds: tuple[str, str], *, unseen: bool) -> tuple[list[tuple[str, str]], np.ndarray]:
    """(shape, colour) of the things that may do both `kinds`, and their chances.

    What training shows is weighted so that every shape and every colour is as likely as the others,
    whatever happens: else "which colour does it turn from?" could be guessed.
    """
    held = np.array([[any(held_out(s, c, k) for k in kinds) for c in COLOURS] for s in SHAPES])
    weight = (held == unseen).astype(float)
    for _ in range(0 if unseen else 200):  # iterative proportional fitting
        weight /= weight.sum(0) * len(COLOURS)
        weight /= weight.sum(1, keepdims=True) * len(SHAPES)
    cells = [(SHAPES[i], COLOURS[j]) for i, j in np.argwhere(weight)]
    chances = weight[weight > 0]
    return cells, chances / chances.sum()


def _pick(rng: np.random.Generator, options):
    return options[int(rng.integers(len(options)))]


def _first_size(rng: np.random.Generator, kinds: tuple[str, str]) -> str:
    small, medium, large = SIZES
    if {"grow", "shrink"} <= set(kinds):
        return medium
    if "grow" in kinds:
        return _pick(rng, (small, medium))
    if "shrink" in kinds:
        return _pick(rng, (medium, large))
    return _pick(rng, (small, medium, large))


def _event(rng: np.random.Generator, kind: str, number: int, colour: str) -> Event:
    start, end = WINDOWS[number]
    if kind == "move":
        direction, speed = _pick(rng, tuple(DIRECTIONS)), _pick(rng, tuple(SPEEDS))
        return Event(kind, number, direction=direction, speed=speed)
    if kind == "recolour":
        target = _pick(rng, [c for c in COLOURS if c != colour])
        return Event(kind, number, target=target, at=start + 2 + int(rng.integers(3)))
    if kind == "blink":
        # Frames 2..6 or 9..13: backwards, frame t is frame 15 - t.
        first = start + 1 - number
        return Event(kind, number, at=first + int(rng.integers(end - start - BLINK)))
    return Event(kind, number)


def _bystander(rng: np.random.Generator, thing: Thing, events: tuple[Event, Event]) -> Thing:
    colours = {thing.colour, *(e.target for e in events)}
    shape = _pick(rng, [s for s in SHAPES if s != thing.shape])
    colour = _pick(rng, [c for c in COLOURS if c not in colours])
    # A third of the torus away at least along one axis, so that both are seen at first.
    x, y = rng.random(2)
    axis, away = int(rng.integers(2)), rng.uniform(1 / 3, 2 / 3)
    x, y = ((thing.x + away) % 1.0, y) if axis == 0 else (x, (thing.y + away) % 1.0)
    return Thing(shape, colour, _pick(rng, tuple(SIZES)), round(float(x), 4), round(float(y), 4))


@dataclasses.dataclass(frozen=True)
class State:
    """The thing at one frame; `x`, `y` in 0..1 on the torus, `radius` a share of the canvas."""

    x: float
    y: float
    radius: float
    colour: str
    shown: bool


def state(scene: Scene, frame: int) -> State:
    """The thing at `frame`, before the camera moves the picture.

    Raises:
      ConfigError: no such frame.
    """
    if not 0 <= frame < FRAMES:
        raise ConfigError(
            f"scene {scene.seed}: frame {frame} does not exist",
            mend=f"use a frame from 0 to {FRAMES - 1}",
        )
    thing = scene.thing
    x, y, colour, shown = thing.x, thing.y, thing.colour, True
    radius = SIZES[thing.size]
    size = list(SIZES).index(thing.size)
    for event in scene.events:
        start, end = WINDOWS[event.number]
        steps = min(max(frame - start + 1, 0), end - start + 1)
        if event.kind == "move":
            dx, dy = DIRECTIONS[event.direction]
            x = (x + dx * SPEEDS[event.speed] * steps) % 1.0
            y = (y + dy * SPEEDS[event.speed] * steps) % 1.0
        elif event.kind in ("grow", "shrink"):
            size += 1 if event.kind == "grow" else -1
            goal = tuple(SIZES.values())[size]
            radius += (goal - radius) * steps / (end - start + 1)
        elif event.kind == "recolour":
            colour = event.target if frame >= event.at else colour
        elif event.kind == "blink":
            shown = shown and not event.at <= frame < event.at + BLINK
    return State(round(x, 6), round(y, 6), radius, colour, shown)


def view(scene: Scene, frame: int) -> tuple[float, float]:
    """What the camera does by `frame`: (shift of the picture to the right, magnification).

    A camera that pans left shows more of what is on the left, so that all moves right. Zooming
    keeps the middle where it is.
    """
    if scene.camera.startswith("pans"):
        return (PAN if scene.camera == "pans left" else -PAN) * frame, 1.0
    share = frame / (SAMPLED - 1)
    if scene.camera == "zooms in":
        return 0.0, ZOOM**share
    if scene.camera == "zooms out":
        return 0.0, ZOOM ** (1 - share)
    return 0.0, 1.0
