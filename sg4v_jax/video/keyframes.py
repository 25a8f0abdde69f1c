"""Which frames of a video are key frames, given one feature vector for each candidate.

Two rules. Both take candidates about every two seconds and keep one whose cosine similarity to the
key frame kept last is below a threshold; they differ in the end.

    paper      the last frame of the video is always a key frame
    released   the example script: the last frame counts if nothing but the first was kept, or if
               it comes at least one step after the last key frame

The threshold 0.93 belongs to the class token of CLIP ViT-L/14-336 before its last layer norm;
another tower needs another one.

Source: the ShareGPT4Video paper, and the key-frame example of its repository.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from sg4v_jax.errors import ConfigError, EmptyVideoError, RecordError

RULES = ("paper", "released")
THRESHOLD = 0.93
INTERVAL = 2.0  # seconds
SHORTEST, LONGEST = 10.0, 120.0  # seconds that the released script accepts, or reads


def candidates(
    total: int, *, fps: float, interval: float = INTERVAL, rule: str = "paper"
) -> list[int]:
    """The frames to compute features of, in order; frame 0 always, the last one apart.

    `paper` takes the frames nearest to 0, `interval`, 2 `interval`, ... seconds. `released` takes
    multiples of `ceil(int(fps) * interval)`, so at 29.97 frames a second every 58th, and nothing
    beyond 120 s.

        candidates(100, fps=10)                          -> [0, 20, 40, 60, 80]
        candidates(200, fps=29.97)                       -> [0, 60, 120, 180]
        candidates(200, fps=29.97, rule="released")      -> [0, 58, 116, 174]

    Args:
      total: frames in the video.
      fps: frames a second.
      interval: seconds between candidates.
      rule: one of `RULES`.

    Raises:
      EmptyVideoError: `total` is below 1.
      ConfigError: `fps` or `interval` is not positive, or the rule is unknown.
    """
    _check_rule(rule)
    if total < 1:
        raise EmptyVideoError(f"a video of {total} frames has no key frames", mend="leave it out")
    if rule == "released":
        return list(range(0, readable(total, fps=fps), step(fps=fps, interval=interval)))
    _check_positive(fps=fps, interval=interval)
    count = math.floor((total - 1) / (fps * interval) + 1e-9) + 1
    found = (math.floor(k * interval * fps + 0.5) for k in range(count))
    return sorted({min(frame, total - 1) for frame in found})


def step(*, fps: float, interval: float = INTERVAL) -> int:
    """The released script's frames between candidates: `ceil(int(fps) * interval)`, at least 1."""
    _check_positive(fps=fps, interval=interval)
    return max(1, math.ceil(int(fps) * interval))


def readable(total: int, *, fps: float) -> int:
    """How many frames the released script reads: those of the first 120 seconds."""
    return min(total, max(1, math.ceil(int(fps) * LONGEST)))


def long_enough(total: int, *, fps: float) -> bool:
    """Whether the released script keeps a video: more than `ceil(int(fps) * 10)` frames."""
    return total > math.ceil(int(fps) * SHORTEST)


def leading_pure(pure: Sequence[bool], *, step: int) -> int:
    """How many frames of one plain colour the released script leaves out at the start.

    At most one step of them, and none unless the very first frame is plain.

        leading_pure([True, True, False], step=58)  -> 2
        leading_pure([True] * 100, step=58)         -> 58
        leading_pure([False, True], step=58)        -> 0
    """
    count = next((i for i, plain in enumerate(pure) if not plain), len(pure))
    return min(count, step)


def select(
    frames: Sequence[int],
    features: np.ndarray,
    *,
    last: int,
    rule: str = "paper",
    step: int = 1,
    threshold: float = THRESHOLD,
) -> list[int]:
    """The key frames among `frames`, and `last` where the rule adds it.

    With unit features at angles of 0, 5, 40, 42 degrees (cosines to the frame kept last: 0.996,
    0.766, 0.999):

        select([0, 20, 40, 60], features, last=69)                            -> [0, 40, 69]
        select([0, 20, 40, 60], features, last=59, rule="released", step=20)  -> [0, 40]

    Args:
      frames: candidate frame numbers, rising; the first is a key frame.
      features: f[N,D], one row a candidate.
      last: the number of the video's last frame (that was read).
      rule: one of `RULES`.
      step: for "released", the frames between candidates.
      threshold: a candidate at this similarity or above is no key frame.

    Raises:
      ConfigError: unknown rule, a threshold outside [-1, 1], or a step below 1.
      RecordError: features that are not finite or not one row a candidate, or unordered frames.
    """
    _check_rule(rule)
    if not -1 <= threshold <= 1 or step < 1:
        raise ConfigError(
            f"key frames: threshold={threshold}, step={step} cannot be used",
            mend="use a cosine between -1 and 1 and a step of 1 or more",
        )
    features = np.asarray(features, np.float64)
    if features.ndim != 2 or len(features) != len(frames) or not len(frames):
        raise RecordError(f"key frames: features {features.shape} for {len(frames)} candidates")
    if not np.isfinite(features).all():
        bad = int(frames[int(np.argmin(np.isfinite(features).all(1)))])
        raise RecordError(f"key frames: the feature of frame {bad} is not finite")
    if any(a >= b for a, b in zip(frames, [*frames[1:], last + 1], strict=True)):
        raise RecordError(f"key frames: {list(frames)!r:.80} up to {last} do not rise")

    # As torch's cosine_similarity: a feature of length zero is like nothing.
    unit = features / np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-8)
    kept = [0]
    for number in range(1, len(frames)):
        if unit[kept[-1]] @ unit[number] < threshold:
            kept.append(number)
    chosen = [int(frames[number]) for number in kept]
    far = rule == "paper" or len(chosen) == 1 or last - chosen[-1] >= step
    return [*chosen, last] if far and last != chosen[-1] else chosen


def _check_rule(rule: str) -> None:
    if rule not in RULES:
        raise ConfigError(f"key frames: unknown rule {rule!r}", mend=f"use one of {RULES}")


def _check_positive(**values: float) -> None:
    for name, value in values.items():
        if not value > 0 or not math.isfinite(value):
            raise ConfigError(f"key frames: {name}={value} is not positive", mend="give a number")
