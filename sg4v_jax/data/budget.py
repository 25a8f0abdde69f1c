"""How large a row should be: the share of useful flops, by arithmetic and packing, on real lengths.

Legend: `S` positions, `T` tiles, `L` scored positions of a row; `n`, `t`, `m` those of a sample.

Flops of the forward pass, a multiply-add counted as two. The backward pass multiplies every kind by
about the same, so that shares stand for the whole step:

    executed of a row    S * position + A(S) * pair + T * tile + L * scored
    useful of a sample   n * position + n (n + 1) / 2 * pair + t * tile + m * scored

`A(S)` are the (query, key) pairs that the attention kernel computes:

    segments  blocks of b x b on and below the diagonal in which two positions of one sample meet;
              a row's padding, up to whole blocks, is one sample more. So `models.splash`
    causal    all blocks on and below the diagonal: b^2 k (k + 1) / 2, k = ceil(S / b); a kernel
              that masks what lies between samples, and does not skip it
    dense     S^2: the XLA reference

What a share leaves out: norms, rotary angles and softmax, which move bytes rather than flops.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable, Sequence

import numpy as np

from sg4v_jax.data import packing
from sg4v_jax.data.packing import Budget
from sg4v_jax.errors import BudgetError, ConfigError

ATTENTION = ("segments", "causal", "dense")
KINDS = ("positions", "attention", "tiles", "scored")
_TRIED = 2000  # records that the search packs; what it offers is measured on all
_MEASURED = 3


@dataclasses.dataclass(frozen=True)
class Flops:
    """What one of each costs forward, as the module says.

    Attributes:
      position: through the decoder's matrices. pair: a query and a key, in all layers and heads.
      tile: through tower and projector. scored: a position through the vocabulary head.
      block: `b`, the side of an attention block, for a row of S positions.
      attention: one of `ATTENTION`.
    """

    position: float
    pair: float
    tile: float
    scored: float
    block: Callable[[int], int] = lambda positions: 512
    attention: str = "segments"

    def __post_init__(self):
        if self.attention not in ATTENTION:
            raise ConfigError(
                f"attention {self.attention!r} is unknown", mend=f"use {', '.join(ATTENTION)}"
            )

    def useful(self, lengths: np.ndarray) -> np.ndarray:
        """f64[4]: flops by `KINDS` that samples need, i64[k, 3] of them."""
        n, t, m = lengths.astype(np.float64).T
        pairs = n * (n + 1) / 2
        return np.array([n.sum(), pairs.sum(), t.sum(), m.sum()]) * self._costs()

    def executed(self, budget: Budget, rows: Sequence[np.ndarray], *, empty: int = 0) -> np.ndarray:
        """f64[4]: flops by `KINDS` of rows, given the positions of the samples in each.

        Args:
          rows: i64[k] each, positions of the samples in their order.
          empty: rows that hold nothing and are computed all the same.
        """
        count = len(rows) + empty
        pairs = count * self.pairs(budget.positions)
        if self.attention == "segments" and len(rows):
            block = self.block(budget.positions)
            filled = _filled(rows, to=-(-budget.positions // block) * block)
            pairs = computed_blocks(filled, block=block) * block**2
            pairs += empty * self.pairs(budget.positions)
        counts = [count * budget.positions, pairs, count * budget.tiles, count * budget.scored]
        return np.array(counts, np.float64) * self._costs()

    def pairs(self, positions: int) -> float:
        """`A(S)` of one row that holds one sample, or nothing but padding."""
        if self.attention == "dense":
            return float(positions) ** 2
        block = self.block(positions)
        blocks = -(-positions // block)
        return block**2 * blocks * (blocks + 1) / 2

    def _costs(self) -> np.ndarray:
        return np.array([self.position, self.pair, self.tile, self.scored])


def computed_blocks(samples: Sequence[int] | np.ndarray, *, block: int) -> int:
    """Causal blocks in which two positions of one sample meet, of samples one behind the other.

    >>> computed_blocks([512, 512, 512], block=512), computed_blocks([700, 700], block=512)
    (3, 5)
    """
    lengths = np.asarray(samples, np.int64)
    ends = np.cumsum(lengths)
    ends, lengths = ends[lengths > 0], lengths[lengths > 0]
    low, high = (ends - lengths) // block, (ends - 1) // block
    spans = high - low + 1
    # Neighbours in one block have that block of the diagonal in common, and no other.
    return int((spans * (spans + 1) // 2).sum() - (low[1:] == high[:-1]).sum())


def _filled(rows: Sequence[np.ndarray], *, to: int) -> np.ndarray:
    """The samples of all rows, one row behind the other, each with its padding as the last one."""
    ends = np.cumsum([len(row) for row in rows])
    lengths = np.concatenate(rows)
    sums = np.diff(np.concatenate([[0], np.cumsum(lengths)])[np.concatenate([[0], ends])])
    return np.insert(lengths, ends, to - sums)


@dataclasses.dataclass(frozen=True)
class Result:
    """How one way of making rows does on a data set.

    Attributes:
      name: of the way.
      budget: of a row; None where rows differ in size.
      rows: an epoch's, the empty ones that fill its last batch included; `filled`: without them.
      batch_rows: of one global batch, samples: in it, on average.
      useful, executed: flops by `KINDS`.
    """

    name: str
    budget: Budget | None
    rows: int
    filled: int
    batch_rows: int
    samples: float
    useful: tuple[float, ...]
    executed: tuple[float, ...]

    @property
    def share(self) -> float:
        """Useful of executed flops, all kinds together."""
        return sum(self.useful) / sum(self.executed)

    @property
    def shares(self) -> dict[str, float]:
        """Useful of executed flops by kind."""
        pairs = zip(KINDS, self.useful, self.executed, strict=True)
        return {kind: u / e if e else 1.0 for kind, u, e in pairs}


def packed(
    lengths: np.ndarray,
    *,
    budget: Budget,
    flops: Flops,
    batch: int,
    shards: int,
    seed: int = 0,
) -> Result:
    """Packs an epoch as training does, and counts.

    Args:
      lengths: i64[records, 3].
      batch: samples that a global batch should hold.
      shards: data shards, each of which needs a row: the batch is a multiple of them, the one
        whose samples are nearest to `batch`.

    Raises:
      BudgetError: a sample longer than a row.
    """
    packing.check_fits(lengths, budget=budget, names=[str(i) for i in range(len(lengths))])
    rows = packing.plan(lengths, budget=budget, seed=seed, epoch=0).rows
    a_row = len(lengths) / len(rows)
    batch_rows = max(round(batch / a_row / shards), 1) * shards
    empty = -len(rows) % batch_rows
    return Result(
        name="packed rows",
        budget=budget,
        rows=len(rows) + empty,
        filled=len(rows),
        batch_rows=batch_rows,
        samples=a_row * batch_rows,
        useful=tuple(flops.useful(lengths)),
        executed=tuple(flops.executed(budget, [lengths[r, 0] for r in rows], empty=empty)),
    )


def choose(
    lengths: np.ndarray,
    *,
    flops: Flops,
    batch: int,
    shards: int,
    longest: int = 16384,
    step: int = 128,
    seed: int = 0,
    progress: Callable[[Sequence], Iterable] = lambda x: x,
) -> list[Result]:
    """The best rows, the best first.

    For each number of positions (multiples of `step`) some records are packed with no other limit;
    what their rows then need decides which tiles and scored positions are tried. Sizes of which a
    batch would not give each shard a row are left out, but for the smallest.

    Args:
      longest: most positions of a row.

    Raises:
      BudgetError: a sample is longer than `longest`.
    """
    most = lengths.max(axis=0)
    if most[0] > longest:
        raise BudgetError(
            f"a sample has {most[0]} positions, a row at most {longest}",
            mend="raise --longest, or cut such samples",
        )
    some = _sample(lengths, count=_TRIED, seed=seed)
    how = dict(flops=flops, batch=batch, shards=shards, seed=seed)
    tried: list[Result] = []
    for positions in progress(range(-(-int(most[0]) // step) * step, longest + 1, step)):
        found = [
            packed(some, budget=b, **how) for b in _candidates(some, most, positions, seed=seed)
        ]
        best = max(found, key=lambda r: r.share)
        if tried and batch * best.filled < shards * len(some):  # less than a row a shard
            break
        tried.append(best)
    tried.sort(key=lambda r: -r.share)
    best = [packed(lengths, budget=r.budget, **how) for r in tried[:_MEASURED]]
    return sorted(best, key=lambda r: -r.share)


def _candidates(
    some: np.ndarray, most: np.ndarray, positions: int, *, seed: int
) -> Iterable[Budget]:
    """Budgets worth trying: what nearly all rows of that many positions use."""
    endless = Budget(positions, int(some[:, 1].sum()) + 1, int(some[:, 2].sum()) + 1)
    rows = packing.plan(some, budget=endless, seed=seed, epoch=0).rows
    used = np.array([some[row, 1:].sum(axis=0) for row in rows])
    tiles = {max(int(most[1]), _up(q, to=1)) for q in np.quantile(used[:, 0], (0.75, 0.9, 1.0))}
    scored = {max(int(most[2]), int(q)) for q in np.quantile(used[:, 1], (0.9, 1.0))}
    return [Budget(positions, t, _up(m, to=64)) for t in sorted(tiles) for m in sorted(scored)]


def _up(value: float, *, to: int) -> int:
    return math.ceil(value / to) * to


def buckets(
    lengths: np.ndarray, *, flops: Flops, batch: int, shards: int, count: int = 6, step: int = 128
) -> Result:
    """One sample a row, rows of `count` lengths that waste least (by dynamic programming).

    Batches hold rows of one length; each epoch leaves the last batch of each length part empty.
    A row of a bucket has the tiles and scored positions that its samples need at most.
    """
    order = np.argsort(lengths[:, 0], kind="stable")
    ordered = lengths[order]
    tops = -(-ordered[:, 0] // step) * step
    borders = [0, *(np.flatnonzero(np.diff(tops)) + 1).tolist(), len(ordered)]
    batch_rows = max(round(batch / shards), 1) * shards

    def cost(low: int, high: int) -> np.ndarray:
        part = ordered[borders[low] : borders[high]]
        budget = Budget(int(tops[borders[high] - 1]), *map(int, part[:, 1:].max(axis=0)))
        empty = -len(part) % batch_rows
        return flops.executed(budget, list(part[:, :1]), empty=empty)

    groups = len(borders) - 1
    best: list[dict[int, tuple[float, np.ndarray, int]]] = [{0: (0.0, np.zeros(4), 0)}]
    for _ in range(min(count, groups)):
        level = {}
        for high in range(1, groups + 1):
            for low, (paid, kinds, rows) in best[-1].items():
                if low < high:
                    own = cost(low, high)
                    size = borders[high] - borders[low]
                    option = (paid + own.sum(), kinds + own, rows + size + -size % batch_rows)
                    if high not in level or option[0] < level[high][0]:
                        level[high] = option
        best.append(level)
    _, kinds, rows = min((b[groups] for b in best[1:] if groups in b), key=lambda o: o[0])
    return Result(
        name=f"one sample a row, {min(count, groups)} lengths",
        budget=None,
        rows=rows,
        filled=len(lengths),
        batch_rows=batch_rows,
        samples=float(batch_rows),
        useful=tuple(flops.useful(lengths)),
        executed=tuple(kinds),
    )


def original(
    lengths: np.ndarray, *, flops: Flops, batch: int, microbatch: int, seed: int = 0
) -> Result:
    """The original's way: random micro-batches, padded to their longest sample.

    Its attention leaves padding out and its tower takes ragged lists (one blank tile for a sample
    without any); its vocabulary head runs at every position, padding included.
    """
    order = np.random.default_rng(seed).permutation(len(lengths))
    order = order[: len(order) // microbatch * microbatch]
    groups = lengths[order].reshape(-1, microbatch, 3)
    positions = float((groups[:, :, 0].max(axis=1) * microbatch).sum())
    kept = groups.reshape(-1, 3)
    useful = flops.useful(kept)
    tiles = float(np.maximum(kept[:, 1], 1).sum())
    executed = [
        positions * flops.position,
        useful[1],
        tiles * flops.tile,
        positions * flops.scored,
    ]
    return Result(
        name=f"the original: micro-batches of {microbatch}, padded",
        budget=None,
        rows=len(kept),
        filled=len(kept),
        batch_rows=batch,
        samples=float(batch),
        useful=tuple(useful),
        executed=tuple(executed),
    )


def _sample(lengths: np.ndarray, *, count: int, seed: int) -> np.ndarray:
    """Some of the samples."""
    if len(lengths) <= count:
        return lengths
    rng = np.random.default_rng([seed, 1])
    return lengths[np.sort(rng.choice(len(lengths), count, replace=False))]
