"""Which frames of a video to look at.

Frames are numbered from 0 in the order shown. Halves round to even, as in numpy and Python.
"""

from __future__ import annotations

import math

import numpy as np

from sg4v_jax.errors import ConfigError, EmptyVideoError

RULES = ("run", "mvbench", "tempcompass", "rand")


def sample_indices(
    total: int,
    *,
    rule: str,
    n: int = 16,
    fps: float | None = None,
    bounds: tuple[float, float] | None = None,
    rng: np.random.Generator | None = None,
    first: int = 0,
) -> list[int]:
    """The `n` frames that `rule` picks of `total`.

    Args:
      total: frames in the video.
      rule: one of `RULES`; see the function of that name.
      n: frames wanted.
      fps: frames a second, for `bounds`.
      bounds: (start, end) in seconds, for `mvbench` alone.
      rng: the source of chance, for `rand` alone, which needs it.
      first: see `mvbench_indices`.

    Raises:
      EmptyVideoError: `total` is below 1.
      ConfigError: an unknown rule, an argument that the rule does not take or lacks, or bounds
        that are reversed or outside the video.
    """
    if rule not in RULES:
        raise ConfigError(f"sampling rule {rule!r} is unknown", mend=f"use {', '.join(RULES)}")
    if bounds is not None and rule != "mvbench":
        raise ConfigError(
            f"sampling rule {rule!r} takes no bounds, got {bounds}", mend="use the rule 'mvbench'"
        )
    if (rng is not None) != (rule == "rand"):
        raise ConfigError(
            f"sampling rule {rule!r} with rng={rng}",
            mend="give a numpy Generator to the rule 'rand', and to no other",
        )
    if rule == "mvbench":
        return mvbench_indices(total, n=n, fps=fps, bounds=bounds, first=first)
    if rule == "tempcompass":
        return tempcompass_indices(total, n=n)
    if rule == "rand":
        return rand_indices(total, n=n, rng=rng)
    return run_indices(total, n=n)


def run_indices(total: int, *, n: int = 16) -> list[int]:
    """The `n` frames that the released `run.py` shows the model, spread evenly.

    With the step `s = (total - 1) / n`, frame `i` is `int(s / 2) + round(s * i)`. A clip shorter
    than `n` repeats frames; a long one never shows its last frame.

        run_indices(8)       -> [0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 4, 5, 5, 6, 6, 7]
        run_indices(9, n=4)  -> [1, 3, 5, 7]

    Source: `run.py` of ShareGPT4Video; its MVBench and VideoBench scripts agree on whole clips.

    Args:
      total: frames in the video.
      n: frames wanted.

    Raises:
      EmptyVideoError: `total` is below 1.
      ConfigError: `n` is below 1.
    """
    _check(total, n)
    step = (total - 1) / n
    return [int(step / 2) + round(step * i) for i in range(n)]


def mvbench_indices(
    total: int,
    *,
    n: int = 16,
    fps: float | None = None,
    bounds: tuple[float, float] | None = None,
    first: int = 0,
) -> list[int]:
    """The `n` frames of the whole clip, or of `bounds` = (start, end) in seconds.

    From the frame `a = round(start * fps)` to the frame `b = round(end * fps)`, both kept within
    the video, with the step `s = (b - a) / n`, frame `i` is `int(a + s / 2 + round(s * i))`.

        mvbench_indices(100, n=4, fps=25, bounds=(1.0, 3.5))  -> [32, 48, 64, 79]   a = 25, b = 88

    Frame folders of MVBench (3 frames a second, names from `00001.jpg`) apply the formula to the
    numbers in the names, so that second `t` is the file `3 * t`, the frame `3 * t - 1`:

        mvbench_indices(180, n=4, fps=3, bounds=(5, 20), first=1)
        -> [19, 30, 41, 53]   the files 20, 31, 42 and 54

    Source: OpenGVLab's MVBench reader, which the evaluation scripts of ShareGPT4Video share.

    Args:
      total: frames in the video.
      n: frames wanted.
      fps: frames a second; needed with `bounds`.
      bounds: seconds; an end past the video's end means its last frame.
      first: the number that the first frame goes by, 1 for folders that count from 1. The
        frames returned count from 0 all the same.

    Raises:
      EmptyVideoError: `total` is below 1.
      ConfigError: `n` is below 1; bounds that are reversed, not finite or outside the video;
        bounds without a frame rate.
    """
    _check(total, n)
    start, end = first, first + total - 1
    if bounds is not None:
        start, end = _bounded(bounds, fps=fps, first=start, last=end)
    step = (end - start) / n
    return [int(start + step / 2 + round(step * i)) - first for i in range(n)]


def tempcompass_indices(total: int, *, n: int = 16) -> list[int]:
    """The `n` frames of the TempCompass script: the middle between two rounded borders.

    With the step `s = (total - 1) / n`, frame `i` is `(round(s * i) + round(s * (i + 1))) // 2`,
    at most one frame away from `run_indices`.

        tempcompass_indices(10, n=4)  -> [1, 3, 5, 8]   borders 0, 2, 4, 7, 9

    Source: `model_vqa_tempcompass.py` of ShareGPT4Video.

    Raises:
      EmptyVideoError: `total` is below 1.
      ConfigError: `n` is below 1.
    """
    _check(total, n)
    step = (total - 1) / n
    return [(round(step * i) + round(step * (i + 1))) // 2 for i in range(n)]


def rand_indices(total: int, *, n: int = 16, rng: np.random.Generator) -> list[int]:
    """One moment drawn evenly from each of `n` equal parts of the video, for training.

    Part `i` runs from `i * total / n` to `(i + 1) * total / n`, and the moment `x` shows the
    frame `int(x)`. So every frame of the video is as likely as any other, frames come in order,
    and a clip shorter than `n` repeats frames.

        total 8,  n=4   -> one of 0 and 1, one of 2 and 3, one of 4 and 5, one of 6 and 7
        total 2,  n=4   -> [0, 0, 1, 1]

    Raises:
      EmptyVideoError: `total` is below 1.
      ConfigError: `n` is below 1.
    """
    _check(total, n)
    moments = (np.arange(n) + rng.random(n)) * total / n
    return [min(int(x), total - 1) for x in moments]  # the last may round up to the end


def _bounded(
    bounds: tuple[float, float], *, fps: float | None, first: int, last: int
) -> tuple[int, int]:
    """The numbers of the first and the last frame within `bounds` seconds."""
    start, end = bounds
    if not (math.isfinite(start) and math.isfinite(end) and 0 <= start <= end):
        raise ConfigError(
            f"bounds {start}..{end} seconds are reversed or not times",
            mend="give 0 <= start <= end",
        )
    if fps is None or not (math.isfinite(fps) and fps > 0):
        raise ConfigError(
            f"bounds {start}..{end} seconds with fps={fps}",
            mend="give the frame rate: folders of frames and some files tell none",
        )
    if round(start * fps) > last:
        raise ConfigError(
            f"bounds {start}..{end} seconds start after the last frame, {last} at {fps:g} a second",
            mend="check the bounds and the frame rate",
        )
    return max(first, round(start * fps)), max(first, min(round(end * fps), last))


def _check(total: int, n: int) -> None:
    if n < 1:
        raise ConfigError(f"cannot sample n={n} frames", mend="ask for at least one frame")
    if total < 1:
        raise EmptyVideoError(
            f"cannot sample from a video of {total} frames", mend="leave this video out"
        )
