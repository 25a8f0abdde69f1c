"""Where the time goes: the real code run in one process, its stages timed from outside.

Functions at the stages' borders are wrapped while this runs. A stage's time is its own: what a
stage inside it takes is not counted twice.
"""

from __future__ import annotations

import contextlib
import functools
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

from PIL import Image

from sg4v_jax.bench import original
from sg4v_jax.data import inputs, layout
from sg4v_jax.data.inputs import InputSpec
from sg4v_jax.data.rows import Rows
from sg4v_jax.video import anyres, resample
from sg4v_jax.video.stream import StreamSource

OTHER = "rest"

# (owner, attribute, stage). A stage that starts with ":" is named after the one around it.
OURS = (
    (StreamSource, "__init__", "open, index"),
    (StreamSource, "_upright", "convert to RGB"),
    (inputs, "sample_frames", "decode"),
    (inputs, "make_grid", "grid"),
    (inputs, "make_tiles", "tiles"),
    (anyres, "resize_each", ": resize"),
    (resample.Canvas, "resize", ": resize"),
    (InputSpec, "record_sequence", "text, layout"),
    (layout, "place", "place in row"),
)
ORIGINAL = (
    (original, "read", "open, index, decode, convert"),
    (original, "lay_out", "grid"),
    (original, "cap", "grid"),
    (original, "cut", "tiles"),
    (Image.Image, "resize", ": resize"),
    (original, "normalise", "normalise"),
)


class Clock:
    """Seconds by stage, each without the stages inside it."""

    def __init__(self):
        self.wall: dict[str, float] = defaultdict(float)
        self.cpu: dict[str, float] = defaultdict(float)
        self._inside: list[str] = [OTHER]
        self._since = (0.0, 0.0)

    def start(self) -> None:
        self._since = _now()

    def stop(self) -> None:
        """Books what ran since the last border to the stage that it ran in."""
        now = _now()
        self.wall[self._inside[-1]] += now[0] - self._since[0]
        self.cpu[self._inside[-1]] += now[1] - self._since[1]
        self._since = now

    @contextlib.contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Books what runs inside to `name`, then goes on with the stage around it."""
        self.stop()
        self._inside.append(self._inside[-1] + name if name.startswith(":") else name)
        try:
            yield
        finally:
            self.stop()
            self._inside.pop()


def _now() -> tuple[float, float]:
    return time.perf_counter(), time.process_time()


@contextlib.contextmanager
def watched(borders: Sequence[tuple[Any, str, str]], *, clock: Clock) -> Iterator[None]:
    """Wraps the functions of `borders` so that `clock` books their time."""
    originals = [(owner, name, getattr(owner, name)) for owner, name, _ in borders]
    try:
        for (owner, name, function), (_, _, stage) in zip(originals, borders, strict=True):
            setattr(owner, name, _timed(function, stage=stage, clock=clock))
        yield
    finally:
        for owner, name, function in originals:
            setattr(owner, name, function)


def _timed(function, *, stage: str, clock: Clock):
    @functools.wraps(function)
    def timed(*args, **kwargs):
        with clock.stage(stage):
            return function(*args, **kwargs)

    return timed


def by_clip(
    rows: Rows, paths: Sequence[str], *, spec: InputSpec, repeats: int, with_original: bool
) -> list[dict]:
    """Stage times of each clip, in ms a grid, the two ways in turn.

    Returns:
      for each of `paths`: clip, and for `ours` and (with decord) `original` a dict of
      stage -> {wall, cpu}, the median over `repeats`.
    """
    row_of = {r.visuals[0].path: i for i, r in _rows_of_an_epoch(rows)}
    values = original.PixelValues(paths, spec=spec, length=len(paths))
    ways = {"ours": (OURS, lambda i: rows[row_of[paths[i]]])}
    if with_original:
        ways["original"] = (ORIGINAL, values.__getitem__)
    found = []
    for number, path in enumerate(paths):
        runs = {way: [] for way in ways}
        for _ in range(repeats):
            for way, (borders, make) in ways.items():
                clock = Clock()
                with watched(borders, clock=clock):
                    clock.start()
                    make(number)
                    clock.stop()
                runs[way].append(clock)
        found.append({"clip": path} | {way: _medians(clocks) for way, clocks in runs.items()})
    return found


def _rows_of_an_epoch(rows: Rows):
    for row in range(len(rows.index.records)):
        yield row, rows.index.records[int(rows.records_of(row)[0])]


def _medians(clocks: Sequence[Clock]) -> dict[str, dict[str, float]]:
    stages = dict.fromkeys(name for clock in clocks for name in clock.wall)
    return {
        name: {
            "wall": 1e3 * _median([clock.wall[name] for clock in clocks]),
            "cpu": 1e3 * _median([clock.cpu[name] for clock in clocks]),
        }
        for name in stages
    }


def _median(values: Sequence[float]) -> float:
    return sorted(values)[len(values) // 2]
