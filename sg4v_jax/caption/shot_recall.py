"""How many of a video's shots have a key frame: recall, for a list of known cut times.

{"clip-1": {"cuts": [5.18], "duration": 7.6}, ...}      seconds, by video id
"""

from __future__ import annotations

import itertools
import math
import os
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from sg4v_jax import files
from sg4v_jax.errors import RecordError


class Shot(NamedTuple):
    """From `start` to `end` seconds, the end not in it."""

    start: float
    end: float


class Recall(NamedTuple):
    """`found` of `shots` have a key frame; `frames` key frames in all; the `missed` by id."""

    found: int
    shots: int
    frames: int
    missed: dict[str, list[Shot]]


def read_cuts(file: str | os.PathLike) -> dict[str, list[Shot]]:
    """The shots of each video, by id.

    Raises:
      RecordError: not such a file, or cuts that do not rise between 0 and the duration.
    """
    value = files.read_json(file)
    if not isinstance(value, dict):
        raise RecordError(f"{file}: not an object of videos", mend="see the module's head")
    shots = {}
    for name, row in value.items():
        try:
            shots[name] = shots_of(row["cuts"], duration=row["duration"])
        except (KeyError, TypeError) as e:
            raise RecordError(f"{file}: {name}: {e!r}", mend="give cuts and duration") from e
        except RecordError as e:
            raise RecordError(f"{file}: {name}: {e.message}", mend=e.mend) from e
    return shots


def shots_of(cuts: Sequence[float], *, duration: float) -> list[Shot]:
    """The shots between cuts: cuts 5, 7 in 10 s -> (0, 5), (5, 7), (7, 10).

    Raises:
      RecordError: cuts that do not rise between 0 and the duration.
    """
    ends = [0.0, *map(float, cuts), float(duration)]
    if not all(a < b for a, b in itertools.pairwise(ends)) or not math.isfinite(duration):
        raise RecordError(f"cuts {list(cuts)} of {duration} s do not rise", mend="sort them")
    return [Shot(a, b) for a, b in itertools.pairwise(ends)]


def recall(
    key_times: Mapping[str, Sequence[float]],
    shots: Mapping[str, Sequence[Shot]],
    *,
    longer_than: float,
) -> Recall:
    """Of the shots longer than `longer_than` seconds, how many have a key frame in them.

    A shot that is shorter than twice the interval may lie between two candidates.

    Args:
      key_times: seconds of the key frames, by video id.
      shots: as `read_cuts` gives them; videos without key frames count as missed.
      longer_than: twice the interval, for the rule of the paper.
    """
    missed: dict[str, list[Shot]] = {}
    total = 0
    for name, own in shots.items():
        long = [shot for shot in own if shot.end - shot.start > longer_than]
        total += len(long)
        times = key_times.get(name, ())
        empty = [s for s in long if not any(s.start <= t < s.end for t in times)]
        if empty:
            missed[name] = empty
    frames = sum(len(times) for times in key_times.values())
    return Recall(total - sum(map(len, missed.values())), total, frames, missed)
