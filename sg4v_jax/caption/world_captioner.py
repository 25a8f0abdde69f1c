"""The world's oracle: perfect sight of its request, nothing else, and errors at set rates.

It reads the pictures' pixels (the objects have strong colours on a grey ground) and the times in
the prompt. It knows neither the video nor what came before, but for what the prompt tells: a
change that the caption before already tells of as going on is not told again as new. So an engine
that swaps frames, forgets the caption before, or makes times up gets other captions.
"""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import re
from collections.abc import Sequence

import numpy as np

from sg4v_jax.caption.captioners import CaptionRequest
from sg4v_jax.caption.compose import GAP
from sg4v_jax.errors import ConfigError, RecordError
from sg4v_jax.world.render import RGB
from sg4v_jax.world.scene import (
    CANVAS,
    COLOURS,
    DIRECTIONS,
    FPS,
    OPPOSITE,
    RADII,
    SPEEDS,
    ObjectState,
    place,
)

_ADVERBS = {"slow": "slowly", "fast": "quickly"}
# A level (of 255) between the background's colour contrast (below 30) and the objects' (145 up).
_CONTRAST = 80
_ACROSS = 27.0  # pixels: small objects are 22 across at most, large ones 31 or more
_STILL = 1.2  # pixels; a resized triangle's box moves by a third of a pixel
_SPEED_LIMIT = FPS * sum(SPEEDS.values()) / 2  # pixels a second, between slow and fast
_TIME = re.compile(r"Video frame \d+ at (\d+\.\d\d) Second\(s\)")
_LINE = re.compile(_TIME.pattern + r"(?: description)?: (.*)")
_GOING_ON = re.compile(r"\bit moves\b|\bit goes on as before\b")
_EVENT = re.compile(r"\bit ((?:moves|grows|shrinks|turns) [^.]*)\.")


@dataclasses.dataclass(frozen=True)
class WorldCaptioner:
    """A captioner for world videos.

    Rates are chances from 0 to 1: `omit` that a change is left out, `false` that it is told
    wrong (another direction, colour or size), `shuffle` that a summary's events change places.
    The same request gets the same answer.

    Raises:
      ConfigError: a rate outside 0..1.
    """

    omit: float = 0.0
    false: float = 0.0
    shuffle: float = 0.0
    seed: int = 0

    def __post_init__(self):
        for name in ("omit", "false", "shuffle"):
            if not 0 <= (rate := getattr(self, name)) <= 1:
                raise ConfigError(f"captioner world: {name}={rate}", mend="use a rate from 0 to 1")

    @classmethod
    def parse(cls, text: str) -> WorldCaptioner:
        """From "omit=0.1,false=0.2,shuffle=0,seed=3"; what is not named is 0."""
        values: dict[str, float] = {}
        known = {field.name for field in dataclasses.fields(cls)}
        for part in filter(None, text.split(",")):
            name, _, number = part.partition("=")
            try:
                values[name.strip()] = int(number) if name.strip() == "seed" else float(number)
            except ValueError as e:
                raise ConfigError(f"captioner world: {part!r} is no number") from e
        if unknown := sorted(set(values) - known):
            raise ConfigError(
                f"captioner world: unknown rate {unknown[0]!r}",
                mend=f"use some of {', '.join(sorted(known))}",
            )
        return cls(**values)

    @property
    def name(self) -> str:
        """With its rates, as `parse` reads them."""
        return "world:" + ",".join(f"{k}={v:g}" for k, v in dataclasses.asdict(self).items())

    def describe(self, requests: Sequence[CaptionRequest]) -> list[str]:
        """Raises RecordError for pictures that are not the world's."""
        return [self._describe(request) for request in requests]

    def _describe(self, request: CaptionRequest) -> str:
        rng = self._chance(request)
        images = [part for image in request.images for part in _unstack(image)]
        if not images:
            return self._summary(request, rng)
        seen = [look(image, where=request.id) for image in images]
        times = [float(t) for t in _TIME.findall(request.prompt)]
        changes = []
        for number, (before, after) in enumerate(itertools.pairwise(seen)):
            seconds = times[number + 1] - times[number] if len(times) > number + 1 else 0.0
            changes += _changes(before, after, seconds=seconds)
        fresh = [change for change in changes if not _told(change, request.prompt)]
        told = self._err(list(dict.fromkeys(fresh)), rng)
        going_on = "" if len(fresh) == len(changes) else " it goes on as before."
        here = f"it is at {place(seen[-1])}." if seen[-1] else "nothing is in view."
        start = f"there is {_look(seen[0])}." if len(seen) == 1 or len(seen) > 2 else ""
        sentences = [start, *(f"it {change}." for change in told)]
        return " ".join(filter(None, sentences)) + going_on + f" {here}"

    def _summary(self, request: CaptionRequest, rng: np.random.Generator) -> str:
        lines = _LINE.findall(request.prompt)
        if not lines:
            return request.prompt.rsplit(":", 1)[-1].strip()
        opening = [text for text in lines[0][1].split(".")[:1] if text.startswith("there is")]
        events = [event for _, text in lines for event in _EVENT.findall(text)]
        if rng.random() < self.shuffle:
            events = events[::-1]
        return " ".join(f"{sentence}." for sentence in [*opening, *(f"it {e}" for e in events)])

    def _err(self, changes: list[str], rng: np.random.Generator) -> list[str]:
        told = []
        for change in changes:
            omitted, wrong = rng.random(2) < (self.omit, self.false)
            if not omitted:
                told.append(_falsify(change, rng) if wrong else change)
        return told

    def _chance(self, request: CaptionRequest) -> np.random.Generator:
        key = f"{self.seed}|{request.id}|{request.prompt}".encode()
        return np.random.default_rng(int.from_bytes(hashlib.sha256(key).digest()[:8]))


def look(image: np.ndarray, *, where: str) -> ObjectState | None:
    """The object in a picture u8[H,W,3] of the world, None if none is in view.

    The shape is not looked at and comes back as "object"; `x` and `y` are the middle of what
    shows, in pixels of the world's canvas, and the size is exact only when all of it shows.

    Raises:
      RecordError: the picture is not square.
    """
    if image.shape[0] != image.shape[1]:
        raise RecordError(
            f"{where}: the world's captioner cannot read a picture of {list(image.shape)}",
            mend="give it the world's square frames, in sliding mode or fast mode unjoined",
        )
    red, green, blue = np.moveaxis(image, 2, 0)
    high, low = (pick(pick(red, green), blue) for pick in (np.maximum, np.minimum))
    strong = high - low > _CONTRAST
    if not strong.any():
        return None
    scale = CANVAS / image.shape[0]
    rows, columns = (np.flatnonzero(strong.any(axis)) for axis in (1, 0))
    height, width = (scale * (cells[-1] - cells[0] + 1) for cells in (rows, columns))
    colour_now = np.median(image[strong], axis=0)
    colour = min(COLOURS, key=lambda name: np.abs(colour_now - RGB[name]).sum())
    size = "large" if max(height, width) > _ACROSS else "small"
    x, y = (scale * (cells[0] + cells[-1] + 1) / 2 for cells in (columns, rows))
    return ObjectState(x, y, RADII[size], size, colour, "object")


def _unstack(image: np.ndarray) -> list[np.ndarray]:
    """Two stacked square frames apart again; anything else as it is."""
    side = image.shape[1]
    if image.shape[0] == 2 * side + GAP:
        return [image[:side], image[-side:]]
    return [image]


def _changes(before: ObjectState | None, after: ObjectState | None, *, seconds: float) -> list[str]:
    """What two looks show to have changed, in the world's words."""
    if before is None or after is None:
        return []
    changes = []
    dx, dy = after.x - before.x, after.y - before.y
    distance = max(abs(dx), abs(dy))
    if distance > _STILL:
        step = (np.sign(dx), 0) if abs(dx) >= abs(dy) else (0, np.sign(dy))
        direction = next(name for name, unit in DIRECTIONS.items() if unit == step)
        fast = seconds > 0 and distance / seconds > _SPEED_LIMIT
        changes.append(f"moves {direction} {_ADVERBS['fast' if fast else 'slow']}")
    if before.size != after.size:
        verb = "grows" if after.size == "large" else "shrinks"
        changes.append(f"{verb} from {before.size} to {after.size}")
    if before.colour != after.colour:
        changes.append(f"turns from {before.colour} to {after.colour}")
    return changes


def _told(change: str, prompt: str) -> bool:
    """Whether the prompt's caption before tells of a movement, so that `change` is not new."""
    return change.startswith("moves") and bool(_GOING_ON.search(prompt))


def _falsify(change: str, rng: np.random.Generator) -> str:
    words = change.split()
    if words[0] == "moves":
        return f"moves {OPPOSITE[words[1]]} {words[2]}"
    if words[0] in ("grows", "shrinks"):
        other = "shrinks" if words[0] == "grows" else "grows"
        return f"{other} from {words[4]} to {words[2]}"
    wrong = [colour for colour in COLOURS if colour not in (words[2], words[4])]
    return f"turns from {words[2]} to {wrong[int(rng.integers(len(wrong)))]}"


def _look(seen: ObjectState | None) -> str:
    return f"a {seen.size} {seen.colour} {seen.shape}" if seen else "nothing in view"
