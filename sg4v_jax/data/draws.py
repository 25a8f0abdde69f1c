"""Which records an epoch of a weighted mix holds: each part is an endless stream of its own epochs.

A part of `n` records and weight `w` gives `n * w` records to each epoch of the mix, from where it
stopped in the epoch before. The stream goes through the part again and again, every time in an
order of its own, so that each record comes once in each of the part's epochs, whatever the weight:

    n = 4, w = 1.5       stream   2 0 3 1 | 1 3 0 2 | 0 2 ...
                         epoch 0  2 0 3 1   1 3
                         epoch 1                0 2   0 2 ...

Pure numpy; depends on names, sizes, weights, seed and epoch alone. A part's draws do not change
when other parts come or go.
"""

from __future__ import annotations

import hashlib
import json
import math
import zlib
from collections.abc import Mapping, Sequence
from fractions import Fraction

import numpy as np

from sg4v_jax.errors import ConfigError


class Draws:
    """The record numbers of each epoch.

    Args:
      parts: name of each record's part.
      weights: by part; a part that is not named has weight 1.
      seed: of the orders.

    Raises:
      ConfigError: a weight that is not above 0, or of a part that has no records.
    """

    def __init__(self, parts: Sequence[str], *, weights: Mapping[str, float], seed: int):
        self._count, self._seed = len(parts), seed
        self._weights = {name: _exact(name, w) for name, w in weights.items()}
        names = np.array(parts, dtype=object)
        unknown = [n for n in self._weights if self._weights[n] != 1 and n not in set(parts)]
        if unknown:
            raise ConfigError(
                f"data part {unknown[0]!r} has a weight, but no records that can be used",
                mend="see `sg4v data check`, or take the part out",
            )
        self._numbers = {name: np.flatnonzero(names == name) for name in dict.fromkeys(parts)}

    @property
    def plain(self) -> bool:
        """Whether each epoch holds each record once."""
        return all(w == 1 for w in self._weights.values())

    def of(self, epoch: int) -> np.ndarray:
        """i64[m]: the records of one epoch, some of them perhaps more than once or not at all.

        Raises:
          ConfigError: there are none, as the weights are too small.
        """
        if self.plain:
            return np.arange(self._count)
        drawn = [self._of_part(name, epoch) for name in self._numbers]
        whole = np.concatenate(drawn)
        if not len(whole):
            raise ConfigError(
                f"epoch {epoch} of the mix holds no record at all", mend="raise the parts' weights"
            )
        return whole

    def digest(self) -> str:
        """A short hash of what all epochs depend on; empty where each holds each record once."""
        if self.plain:
            return ""
        weights = {n: str(w) for n, w in sorted(self._weights.items()) if w != 1}
        sizes = {name: len(numbers) for name, numbers in self._numbers.items()}
        text = json.dumps([weights, sizes, self._seed], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:8]

    def _of_part(self, name: str, epoch: int) -> np.ndarray:
        numbers, weight = self._numbers[name], self._weights.get(name, Fraction(1))
        size = len(numbers)
        start, stop = math.floor(epoch * size * weight), math.floor((epoch + 1) * size * weight)
        pieces = [np.empty(0, np.int64)]
        for turn in range(start // size, -(-stop // size)):
            rng = np.random.default_rng([self._seed, zlib.crc32(name.encode()), turn])
            first = turn * size
            order = rng.permutation(size)[max(start - first, 0) : stop - first]
            pieces.append(numbers[order])
        return np.concatenate(pieces)


def repeats(drawn: np.ndarray) -> np.ndarray:
    """How often each draw's record came before in `drawn`.

    >>> repeats(np.array([5, 3, 5, 5]))
    array([0, 0, 1, 2])
    """
    order = np.argsort(drawn, kind="stable")
    ordered = drawn[order]
    starts = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]]) if len(drawn) else []
    lengths = np.diff(np.r_[starts, len(drawn)]).astype(np.int64)
    before = np.arange(len(drawn)) - np.repeat(starts, lengths)
    found = np.empty(len(drawn), np.int64)
    found[order] = before
    return found


def _exact(name: str, weight: float) -> Fraction:
    """0.1 as one tenth, and not as the double next to it."""
    if isinstance(weight, bool) or not isinstance(weight, int | float) or not 0 < weight < math.inf:
        raise ConfigError(
            f"data part {name!r}: weight {weight!r}", mend="give a number above 0, 1 for as it is"
        )
    return Fraction(str(weight))
