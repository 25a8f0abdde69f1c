"""Which videos to caption: short enough, and not like one that is taken already.

In order, each candidate is compared with all that were kept before it. The result is that of the
plain loop, whatever the block sizes: fast sums decide the clear cases, and where they come close
to the threshold an exact sum does.

Source: section 3 of the ShareGPT4Video paper (duration bound, pool of class-token vectors); it
gives no threshold and no similarity, cosine is presumed.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from sg4v_jax.caption.encoders import Encoder
from sg4v_jax.errors import ConfigError, RecordError

MAX_SECONDS = 120.0
_BLOCK = 2048  # candidates compared at once
_POOL_BLOCK = 8192  # pool members compared at once: 64 MB of cosines
_DOUBT = 1e-5  # ten times what f32 sums of a thousand products are off by
LONG, ALIKE = "too long", "alike"


@dataclasses.dataclass(frozen=True)
class Candidate:
    """A video with a short caption; `seconds` is how long it is."""

    id: str
    seconds: float
    caption: str


@dataclasses.dataclass(frozen=True)
class Verdict:
    """Whether a candidate stays. `reason` is `LONG`, `ALIKE` or None.

    For `ALIKE`, `like` is the first kept candidate at or above the threshold, `cosine` to it.
    """

    id: str
    reason: str | None = None
    like: str | None = None
    cosine: float | None = None

    @property
    def kept(self) -> bool:
        """Whether it stays."""
        return self.reason is None


class Pool:
    """Vectors kept so far, each below `threshold` to all before it.

    With the threshold at 0.9 and vectors [1,0], [0.8,0.6], [0.96,0.28] of length 1:

        pool.add -> None (kept), None (cosine 0.8), (0, 0.96): like number 0

    Args:
      threshold: a cosine in (-1, 1]; at or above it a vector stays out.
      pool_block: how many members are compared at once.
    """

    def __init__(self, *, threshold: float, pool_block: int = _POOL_BLOCK):
        if not -1 < threshold <= 1:
            raise ConfigError(f"threshold={threshold}", mend="use a cosine above -1, at most 1")
        if pool_block < 1:
            raise ConfigError(f"pool_block={pool_block}", mend="use 1 or more")
        self.threshold, self._pool_block = threshold, pool_block
        self._members = np.zeros((0, 0), np.float32)
        self.size = 0

    def add(self, vectors: np.ndarray) -> list[tuple[int, float] | None]:
        """Takes in f32[n,D] in order; for each, None if kept, else (member number, cosine).

        Raises:
          RecordError: another D than before, or a value that is not finite.
        """
        vectors = np.ascontiguousarray(vectors, np.float32)
        self._check(vectors)
        like = self._first_alike(vectors, range(self.size))
        fresh = [i for i, found in enumerate(like) if found is None]
        self._grow(len(fresh), vectors.shape[1])
        near = self._doubtful(vectors[fresh], vectors[fresh])
        kept: dict[int, int] = {}  # place in `fresh` -> member number
        for place, index in enumerate(fresh):
            before = [p for p in np.flatnonzero(near[place, :place]) if p in kept]
            numbers = [kept[p] for p in before]
            like[index] = self._decide(vectors[index], numbers)
            if like[index] is None:
                kept[place] = self.size
                self._members[self.size] = vectors[index]
                self.size += 1
        return like

    def _first_alike(self, vectors: np.ndarray, members: range) -> list[tuple[int, float] | None]:
        """For each vector, the first of `members` that is alike."""
        like: list[tuple[int, float] | None] = [None] * len(vectors)
        open_ = np.arange(len(vectors))
        for start in range(0, len(members), self._pool_block):
            block = self._members[start : min(start + self._pool_block, len(members))]
            near = self._doubtful(vectors[open_], block)
            for place in np.flatnonzero(near.any(axis=1)):
                index = open_[place]
                like[index] = self._decide(vectors[index], start + np.flatnonzero(near[place]))
            open_ = np.array([i for i in open_ if like[i] is None], np.int64)
        return like

    def _doubtful(self, vectors: np.ndarray, members: np.ndarray) -> np.ndarray:
        """bool[n,m]: where the fast cosine is at or above the threshold, or nearly."""
        return vectors @ members.T >= np.float32(self.threshold - _DOUBT)

    def _decide(self, vector: np.ndarray, members: Sequence[int]) -> tuple[int, float] | None:
        """The first of `members` (numbers, rising) whose exact cosine reaches the threshold."""
        wide = vector.astype(np.float64)
        for number in members:
            other = self._members[number].astype(np.float64)
            # fsum is exact, so the cosine of a pair never depends on what else is compared.
            lengths = math.fsum(wide * wide) * math.fsum(other * other)
            cosine = math.fsum(wide * other) / math.sqrt(lengths) if lengths else 0.0
            if cosine >= self.threshold:
                return int(number), cosine
        return None

    def _grow(self, count: int, width: int) -> None:
        if self.size + count > len(self._members):
            room = max(2 * len(self._members), self.size + count, 1024)
            grown = np.zeros((room, width), np.float32)
            if self.size:
                grown[: self.size] = self._members[: self.size]
            self._members = grown

    def _check(self, vectors: np.ndarray) -> None:
        if vectors.ndim != 2 or (self.size and vectors.shape[1] != self._members.shape[1]):
            raise RecordError(f"vectors of shape {vectors.shape} do not fit the pool")
        if not np.isfinite(vectors).all():
            bad = int(np.flatnonzero(~np.isfinite(vectors).all(axis=1))[0])
            raise RecordError(f"vector {bad} is not finite", mend="see what the encoder gives")


def filter_candidates(
    candidates: Iterable[Candidate],
    *,
    encoder: Encoder,
    threshold: float | None = None,
    max_seconds: float = MAX_SECONDS,
    block: int = _BLOCK,
) -> Iterator[Verdict]:
    """Verdicts in the order of the candidates.

    Args:
      candidates: may be a stream; memory holds one block of them and the pool.
      encoder: makes vectors of their captions.
      threshold: largest cosine to the pool from which one stays out; None takes the encoder's.
      max_seconds: longer videos stay out, and do not enter the pool.
      block: candidates encoded and compared at once.

    Raises:
      ConfigError: a setting out of range.
    """
    if not max_seconds > 0 or block < 1:
        raise ConfigError(
            f"filter: max_seconds={max_seconds}, block={block}", mend="use values above 0"
        )
    pool = Pool(threshold=encoder.threshold if threshold is None else threshold)
    names: list[str] = []  # of pool members
    for part in _blocks(candidates, block):
        short = [i for i, candidate in enumerate(part) if candidate.seconds <= max_seconds]
        verdicts = [Verdict(candidate.id, LONG) for candidate in part]
        found = pool.add(encoder.encode([part[i].caption for i in short])) if short else []
        for i, like in zip(short, found, strict=True):
            if like is None:
                names.append(part[i].id)
                verdicts[i] = Verdict(part[i].id)
            else:
                verdicts[i] = Verdict(part[i].id, ALIKE, names[like[0]], like[1])
        yield from verdicts


def _blocks(candidates: Iterable[Candidate], size: int) -> Iterator[list[Candidate]]:
    part: list[Candidate] = []
    for candidate in candidates:
        part.append(candidate)
        if len(part) == size:
            yield part
            part = []
    if part:
        yield part
