"""Lengths of a mix whose data is not at hand: counts and frame sizes as published, text assumed.

    released_181k   the mix of the released model: 13 + 45 + 8 + 34 + 53 + 28 thousand samples

Counts are the paper's. CLEVRER's frames are 480x320, those of BDD100K and Panda-70M's and Ego4D's
downloads 16:9 for the most part; the other shares of aspects, and all lengths of text but the mean
of the captions (273 words, at 1.35 tokens a word), are assumptions, shown with every result.
"""

from __future__ import annotations

import dataclasses
import functools

import numpy as np

from sg4v_jax.data.inputs import InputSpec
from sg4v_jax.errors import ConfigError
from sg4v_jax.video.grid import grid_size

# The template around a sample of one question: two bos, system block, headers, ends of turns.
OVERHEAD = 52
_SPREAD = 0.35  # of the logarithm of text lengths


@dataclasses.dataclass(frozen=True)
class Assumed:
    """One part of a mix.

    Attributes:
      count: samples.
      frames: ((width, height), share of the samples) of its videos' frames.
      asked, answered: mean tokens of a sample's questions and answers.
    """

    name: str
    count: int
    frames: tuple[tuple[tuple[int, int], float], ...]
    asked: int
    answered: int


_HD, _SD, _TALL = (1280, 720), (640, 480), (720, 1280)
MIXES = {
    "released_181k": (
        Assumed("VideoChatGPT", 13_000, ((_HD, 0.6), (_SD, 0.25), ((320, 240), 0.15)), 16, 90),
        Assumed("CLEVRER", 45_000, (((480, 320), 1.0),), 48, 6),
        Assumed("EgoQA", 8_000, ((_HD, 0.8), (_SD, 0.2)), 40, 12),
        Assumed("NExT-QA", 34_000, (((640, 360), 0.55), (_SD, 0.35), (_TALL, 0.1)), 60, 8),
        Assumed(
            "TGIF-Transition",
            53_000,
            (((640, 360), 0.45), ((320, 240), 0.35), ((480, 480), 0.15), ((1920, 800), 0.05)),
            60,
            8,
        ),
        Assumed("ShareGPT4Video captions", 28_000, ((_HD, 0.95), (_TALL, 0.05)), 14, 369),
    )
}


def lengths_of(name: str, *, spec: InputSpec, records: int = 0, seed: int = 0) -> np.ndarray:
    """i64[records, 3]: positions, tiles and scored positions of samples drawn as assumed.

    Args:
      name: a key of `MIXES`.
      spec: how videos are shown.
      records: how many, in the mix's proportions; 0 for all.

    Raises:
      ConfigError: no such mix.
    """
    if name not in MIXES:
        raise ConfigError(f"mix {name!r} is unknown", mend=f"use one of {', '.join(MIXES)}")
    parts = MIXES[name]
    whole = sum(p.count for p in parts)
    rng = np.random.default_rng(seed)
    visual = functools.cache(lambda frame: _visual(frame, spec))
    drawn = []
    for part in parts:
        count = part.count if not records else max(round(part.count * records / whole), 1)
        sizes = [visual(frame) for frame, _ in part.frames]
        chosen = rng.choice(len(sizes), count, p=[share for _, share in part.frames])
        positions, tiles = np.array(sizes)[chosen].T
        asked, answered = (_tokens(rng, mean, count) for mean in (part.asked, part.answered))
        scored = answered + 1  # the end of the turn is trained too
        drawn.append(np.stack([positions + OVERHEAD + asked + scored, tiles, scored], axis=1))
    return np.concatenate(drawn).astype(np.int64)


def _visual(frame: tuple[int, int], spec: InputSpec) -> tuple[int, int]:
    """Visual positions and tiles of a video of such frames."""
    size = grid_size(*frame, n=spec.frames, band=spec.band, longest_side=spec.longest_side or None)
    index, tiles = spec.positions(size)
    return len(index), tiles


def _tokens(rng: np.random.Generator, mean: float, count: int) -> np.ndarray:
    """Log-normal around `mean`, at least one."""
    drawn = rng.lognormal(np.log(mean) - _SPREAD**2 / 2, _SPREAD, count)
    return np.maximum(np.rint(drawn), 1).astype(np.int64)


def described(name: str) -> list[tuple[str, int, str, int, int]]:
    """What is assumed: (part, samples, frames with shares, question tokens, answer tokens)."""
    return [
        (
            p.name,
            p.count,
            ", ".join(f"{w}x{h} {share:.0%}" for (w, h), share in p.frames),
            p.asked,
            p.answered,
        )
        for p in MIXES[name]
    ]
