"""Global rows: record numbers planned into rows, read by number, the same everywhere.

`Rows[i]` is row `i` of the run, counted over all epochs; each epoch is filled up with empty rows
to whole batches, so no record is lost or repeated and steps are known exactly. Worker processes
import this module, so it imports neither jax nor grain.
"""

from __future__ import annotations

import dataclasses
import functools
import logging
from collections.abc import Callable, Iterable, Sequence

import numpy as np

from sg4v_jax.batch import Batch
from sg4v_jax.data import layout, packing
from sg4v_jax.data.inputs import InputSpec, sample_lengths
from sg4v_jax.data.record import Record
from sg4v_jax.errors import RecordError, Sg4vError
from sg4v_jax.text.tokenizer import Tokenizer

log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Index:
    """The index pass over a data set: usable records with sizes and lengths, and what fell out."""

    records: tuple[Record, ...]
    sizes: tuple[tuple[tuple[int, int], ...], ...]  # of each record's pictures
    lengths: np.ndarray  # i64[records, 3]: positions, tiles, scored
    skipped: tuple[tuple[str, str], ...]  # (file and record, reason)


def build_index(
    records: Sequence[Record],
    *,
    spec: InputSpec,
    tokenizer: Tokenizer,
    max_skipped: float = 0.01,
    progress: Callable[[Iterable], Iterable] = lambda x: x,
) -> Index:
    """Measures every record; those that cannot be used are named, not replaced.

    Raises:
      RecordError: more than `max_skipped` of the records cannot be used; names the first ones.
    """
    kept, sizes, lengths, skipped = [], [], [], []
    size_of = functools.cache(spec.visual_size)
    for record in progress(records):
        try:
            size, length = sample_lengths(record, spec=spec, tokenizer=tokenizer, size_of=size_of)
        except Sg4vError as e:
            skipped.append((record.where, e.message))
            continue
        kept.append(record)
        sizes.append(size)
        lengths.append(length)
    if len(skipped) > max_skipped * len(records) or not kept:
        named = (why if where in why else f"{where}: {why}" for where, why in skipped[:3])
        first = "; ".join(named) or "there are no records"
        raise RecordError(
            f"{len(skipped)} of {len(records)} records cannot be used: {first}",
            mend="mend or remove them, or raise data.max_skipped",
        )
    array = np.array(lengths, np.int64).reshape(-1, 3)
    return Index(tuple(kept), tuple(sizes), array, tuple(skipped))


class Rows:
    """Random access to the rows of a run.

    Args:
      index: the usable records.
      batch_rows: rows of one global batch; epochs are filled up to a multiple of it.
      budget, seed, norm, microbatch: see `packing.plan`.
    """

    def __init__(
        self,
        index: Index,
        *,
        spec: InputSpec,
        tokenizer: Tokenizer,
        budget: packing.Budget,
        batch_rows: int,
        seed: int,
        norm: str = "token",
        microbatch: int = 0,
    ):
        packing.check_fits(index.lengths, budget=budget, names=[r.where for r in index.records])
        self.index, self.spec, self.tokenizer, self.budget = index, spec, tokenizer, budget
        self.batch_rows = batch_rows
        self._plan_settings = dict(seed=seed, norm=norm, microbatch=microbatch)
        self._plans: dict[int, packing.Plan] = {}
        self._ends = (0,)  # global row at which each planned epoch begins

    def plan(self, epoch: int) -> packing.Plan:
        """The plan of one epoch (kept, as several threads read from the same two or three)."""
        planned = self._plans.get(epoch)
        if planned is None:
            planned = packing.plan(
                self.index.lengths, budget=self.budget, epoch=epoch, **self._plan_settings
            )
            self._plans[epoch] = planned
            for old in [e for e in list(self._plans) if e < epoch - 2]:
                self._plans.pop(old, None)
        return planned

    def steps_in(self, epoch: int) -> int:
        """Global batches of one epoch."""
        return -(-len(self.plan(epoch).rows) // self.batch_rows)

    def locate(self, row: int) -> tuple[int, int]:
        """Global row -> (epoch, row within it)."""
        ends = self._ends
        while ends[-1] <= row:
            ends = (*ends, ends[-1] + self.steps_in(len(ends) - 1) * self.batch_rows)
        self._ends = ends  # whole: threads that come here together must not both append
        epoch = int(np.searchsorted(ends, row, side="right")) - 1
        return epoch, row - ends[epoch]

    def records_of(self, row: int) -> np.ndarray:
        """The record numbers in a global row; empty where the epoch is filled up."""
        epoch, local = self.locate(row)
        rows = self.plan(epoch).rows
        return rows[local] if local < len(rows) else np.array([], np.int64)

    def __getitem__(self, row: int) -> Batch:
        """One row, a `Batch` without the leading axis.

        A record that cannot be read now leaves its place empty and moves no other.
        """
        epoch, _ = self.locate(row)
        weights = self.plan(epoch).weights
        placed = [
            layout.Placed(*self._read(int(number)), float(weights[number]))
            for number in self.records_of(row)
        ]
        anyres = self.spec.anyres
        return layout.place(placed, budget=self.budget, side=anyres.side, patches=anyres.patches)

    def _read(self, number: int) -> tuple[layout.Sequence1D, np.ndarray | None]:
        """A record laid out, and its tiles: None where its pictures cannot be read."""
        record = self.index.records[number]
        sequence, _ = self.spec.record_sequence(
            record, sizes=self.index.sizes[number], tokenizer=self.tokenizer
        )
        try:
            pixels = [self.spec.tiles(self.spec.load(v)) for v in record.visuals]
        except Sg4vError as e:
            log.warning("skipped %s: %s", record.where, e.message)
            return sequence, None
        side = self.spec.anyres.side
        empty = np.zeros((0, side, side, 3), np.uint8)
        tiles = np.concatenate([empty, *pixels])
        if len(tiles) != sequence.tiles:
            log.warning("skipped %s: its pictures changed size since indexing", record.where)
            return sequence, None
        return sequence, tiles
