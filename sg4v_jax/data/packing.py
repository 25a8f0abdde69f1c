"""Planned packing: which samples share a row, known before the first step and on every host.

Pure numpy. `plan` depends on the lengths, budgets, seed and epoch alone, so rows do not change
with hosts or workers, and the steps of an epoch are counted exactly.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Sequence

import numpy as np

from sg4v_jax.errors import BudgetError, ConfigError

_PARTS = ("positions", "tiles", "scored")
OPEN_ROWS = 32  # rows that stay open for a small sample while larger ones arrive


@dataclasses.dataclass(frozen=True)
class Budget:
    """What one row may hold."""

    positions: int  # S
    tiles: int  # T
    scored: int  # L

    def as_array(self) -> np.ndarray:
        return np.array([self.positions, self.tiles, self.scored])


@dataclasses.dataclass(frozen=True)
class Plan:
    """One epoch: rows of record numbers, and each record's loss weight."""

    rows: tuple[np.ndarray, ...]
    weights: np.ndarray  # f32[records]

    def digest(self) -> str:
        """A short hash; equal plans give equal data, in equal order."""
        h = hashlib.sha256(self.weights.tobytes())
        for row in self.rows:
            h.update(row.astype(np.int64).tobytes() + b";")
        return h.hexdigest()[:16]


def check_fits(lengths: np.ndarray, *, budget: Budget, names: Sequence[str]) -> None:
    """Checks that every sample fits an empty row.

    Args:
      lengths: i64[records, 3], positions, tiles and scored positions of each.

    Raises:
      BudgetError: names the first sample that does not, by how much, and how many there are.
    """
    over = (lengths > budget.as_array()).any(1)
    if not over.any():
        return
    record = int(over.argmax())
    part, why = excess(lengths[record], budget=budget)
    raise BudgetError(
        f"record {names[record]}: {why} ({int(over.sum())} of {len(lengths)} records too long)",
        mend=f"raise data.{_PARTS[part]} to {int(lengths[:, part].max())}, or leave such records "
        "out with data.too_long",
    )


def excess(lengths: Sequence[int], *, budget: Budget) -> tuple[int, str] | None:
    """Which part of the budget one sample exceeds first, and by how much; None where it fits.

    >>> excess((700, 5, 20), budget=Budget(512, 10, 160))
    (0, 'needs 700 positions, a row has 512')
    """
    for part, (need, room) in enumerate(zip(lengths, budget.as_array(), strict=True)):
        if need > room:
            return part, f"needs {need} {_PARTS[part]}, a row has {room}"
    return None


def plan(
    lengths: np.ndarray,
    *,
    budget: Budget,
    seed: int,
    epoch: int,
    norm: str = "token",
    microbatch: int = 0,
) -> Plan:
    """Packs all records once, in an order drawn from (seed, epoch).

    Records are taken in that order; each goes into the fullest of the open rows that has room
    under all three budgets; the oldest row closes when too many are open.

    Args:
      lengths: i64[records, 3], positions, tiles and scored positions of each; all fit a row.
      norm: `token`: weight 1 for each scored position. `microbatch`: the original's mean of
        micro-batch means: the order is cut into groups of `microbatch` samples, and a sample
        weighs 1 / (scored positions of its group), however it is packed.

    >>> lengths = np.array([[5, 1, 2], [3, 1, 2], [4, 0, 1]])
    >>> plan(lengths, budget=Budget(8, 2, 4), seed=0, epoch=0).rows  # 5 + 3 fit, 4 is alone
    (array([0, 1]), array([2]))

    Raises:
      ConfigError: unknown `norm`, or `microbatch` without a size.
    """
    rng = np.random.default_rng([seed, epoch])
    order = rng.permutation(len(lengths))
    weights = np.ones(len(lengths), np.float32)
    if norm == "microbatch":
        if microbatch < 1:
            raise ConfigError("norm='microbatch' without a size", mend="set data.microbatch")
        group = np.arange(len(order)) // microbatch
        scored = np.bincount(group, weights=lengths[order, 2])
        weights[order] = 1 / np.maximum(scored[group], 1)
    elif norm != "token":
        raise ConfigError(f"norm {norm!r} is unknown", mend="use 'token' or 'microbatch'")
    rows = _fill(lengths, order, budget.as_array())
    return Plan(tuple(rows[i] for i in rng.permutation(len(rows))), weights)


def _fill(lengths: np.ndarray, order: np.ndarray, budget: np.ndarray) -> list[np.ndarray]:
    room = np.empty((0, len(budget)), np.int64)  # what is left in each open row, oldest first
    held: list[list[int]] = []
    closed: list[list[int]] = []
    for record in order:
        need = lengths[record]
        fits = np.flatnonzero((room >= need).all(1))
        if len(fits):
            best = fits[np.argmin(room[fits, 0])]
            held[best].append(record)
            room[best] -= need
            continue
        if len(held) == OPEN_ROWS:
            closed.append(held.pop(0))
            room = room[1:]
        held.append([record])
        room = np.concatenate([room, (budget - need)[None]])
    return [np.array(row, np.int64) for row in closed + held]
