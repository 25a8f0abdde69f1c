"""Global rows: record numbers planned into rows, read by number, the same everywhere.

`Rows[i]` is row `i` of the run, counted over all epochs; each epoch is filled up with empty rows
to whole batches, so no record is lost or repeated (unless parts have weights) and steps are known
exactly. Worker processes
import this module, so it imports neither jax nor grain.
"""

from __future__ import annotations

import json
import logging
import zlib
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from sg4v_jax.batch import Batch
from sg4v_jax.data import layout, packing
from sg4v_jax.data.draws import Draws, repeats
from sg4v_jax.data.index import Index
from sg4v_jax.data.inputs import InputSpec, Picture
from sg4v_jax.data.record import Note, Record
from sg4v_jax.errors import ConfigError, Sg4vError
from sg4v_jax.text.tokenizer import Tokenizer
from sg4v_jax.video.decode import TIME_LIMIT

log = logging.getLogger(__name__)


class Read(NamedTuple):
    """A row, or a stack of rows, and what went wrong when it was read."""

    batch: Batch
    notes: tuple[Note, ...]


class _Epoch(NamedTuple):
    """The plan of an epoch, over its draws: record numbers, and how often each came before."""

    plan: packing.Plan
    drawn: np.ndarray
    repeats: np.ndarray


class Rows:
    """Random access to the rows of a run.

    Args:
      index: the usable records.
      batch_rows: rows of one global batch; epochs are filled up to a multiple of it.
      budget, seed, norm, microbatch: see `packing.plan`.
      sampling: `rand` draws other frames of a video in each epoch, from the seed, the epoch and
        the record alone; empty: the frames that `spec` says, as chat sees them.
      seconds: how long one video may take.
      weights: of the parts of the mix, by name (`draws.Draws`); a part has 1 unless named.
      loss_weights: of the parts' trained tokens, by name; 1 unless named.

    Raises:
      BudgetError: a sample longer than a row.
      ConfigError: an unknown `sampling`, or `rand` for pictures that were stored.
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
        sampling: str = "",
        seconds: float = TIME_LIMIT,
        weights: Mapping[str, float] | None = None,
        loss_weights: Mapping[str, float] | None = None,
    ):
        if sampling not in ("", "rand"):
            raise ConfigError(
                f"training-time sampling {sampling!r} is unknown",
                mend="use 'rand', or leave it out",
            )
        if sampling == "rand" and any(v.slot for r in index.records for v in r.visuals):
            raise ConfigError(
                "training-time sampling 'rand' with stored pictures, whose frames were picked once",
                mend="leave data.train_sampling empty, or train from the videos",
            )
        packing.check_fits(index.lengths, budget=budget, names=[r.where for r in index.records])
        self.index, self.spec, self.tokenizer, self.budget = index, spec, tokenizer, budget
        self.batch_rows, self.seed = batch_rows, seed
        self.sampling, self.seconds = sampling, seconds
        self._plan_settings = dict(seed=seed, norm=norm, microbatch=microbatch)
        self._plans: dict[int, _Epoch] = {}
        parts = [record.part for record in index.records]
        self._draws = Draws(parts, weights=weights or {}, seed=seed)
        self._loss_weights = {n: w for n, w in sorted((loss_weights or {}).items()) if w != 1}
        self._ends = (0,)  # global row at which each planned epoch begins

    def plan(self, epoch: int) -> packing.Plan:
        """The plan of one epoch; its rows count the epoch's draws, which are all records in their
        order unless parts have weights."""
        return self._epoch(epoch).plan

    def digest(self) -> str:
        """A short hash of the plan; equal ones give equal rows in all epochs."""
        counts = self._loss_weights and zlib.crc32(json.dumps(self._loss_weights).encode())
        return self.plan(0).digest() + self._draws.digest() + (f"{counts:08x}" if counts else "")

    def _epoch(self, epoch: int) -> _Epoch:
        """Kept, as several threads read from the same two or three."""
        planned = self._plans.get(epoch)
        if planned is None:
            drawn = self._draws.of(epoch)
            plan = packing.plan(
                self.index.lengths[drawn], budget=self.budget, epoch=epoch, **self._plan_settings
            )
            planned = _Epoch(plan, drawn, repeats(drawn))
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
        epoch, _ = self.locate(row)
        return self._epoch(epoch).drawn[self._places(row)]

    def repeats_of(self, row: int) -> np.ndarray:
        """How often each record of a global row came before in its epoch, by `records_of`."""
        epoch, _ = self.locate(row)
        return self._epoch(epoch).repeats[self._places(row)]

    def _places(self, row: int) -> np.ndarray:
        """The draws in a global row, counted within the epoch."""
        epoch, local = self.locate(row)
        rows = self.plan(epoch).rows
        return rows[local] if local < len(rows) else np.array([], np.int64)

    def __getitem__(self, row: int) -> Batch:
        """One row, a `Batch` without the leading axis."""
        return self.read(row).batch

    def read(self, row: int) -> Read:
        """One row, a `Batch` without the leading axis, and what went wrong.

        A record that cannot be read now leaves its place empty and moves no other.
        """
        epoch, _ = self.locate(row)
        planned, placed, notes = self._epoch(epoch), [], []
        for place in self._places(row).tolist():
            number, repeat = int(planned.drawn[place]), int(planned.repeats[place])
            sequence, tiles, said = self._read(number, epoch=epoch, repeat=repeat)
            counts = self._loss_weights.get(self.index.records[number].part, 1.0)
            weight = float(planned.plan.weights[place]) * counts
            placed.append(layout.Placed(sequence, tiles, weight))
            notes += said
        anyres = self.spec.anyres
        batch = layout.place(placed, budget=self.budget, side=anyres.side, patches=anyres.patches)
        return Read(batch, tuple(notes))

    def pictures(self, number: int, *, epoch: int, repeat: int = 0) -> list[Picture]:
        """What stands at each image place of record `number` in `epoch`, where it may come again.

        Raises:
          Sg4vError: a picture that cannot be read.
        """
        return [
            self.spec.load(
                visual, rng=self._rng(epoch, number, place, repeat), seconds=self.seconds
            )
            for place, visual in enumerate(self.index.records[number].visuals)
        ]

    def _read(
        self, number: int, *, epoch: int, repeat: int
    ) -> tuple[layout.Sequence1D, np.ndarray | None, list[Note]]:
        """A record laid out; its tiles, None where its pictures cannot be read; what to note."""
        record, sizes = self.index.records[number], self.index.sizes[number]
        sequence, _ = self.spec.record_sequence(
            record, sizes=sizes, tokenizer=self.tokenizer, positions=self.index.limit
        )
        try:
            shown = [
                self.spec.show(
                    visual, rng=self._rng(epoch, number, place, repeat), seconds=self.seconds
                )
                for place, visual in enumerate(record.visuals)
            ]
        except Sg4vError as e:
            return sequence, None, [_skipped(record, e.message)]
        for visual, now, size in zip(record.visuals, shown, sizes, strict=True):
            if now.size != size:
                changed = "{}: the picture is {}x{}, it was {}x{} at first"
                reason = changed.format(visual.path, *now.size, *size)
                return sequence, None, [_skipped(record, reason)]
        side = self.spec.anyres.side
        empty = np.zeros((0, side, side, 3), np.uint8)
        tiles = np.concatenate([empty, *(s.tiles for s in shown)])
        substituted = [
            Note(record.where, "substituted", f"{v.path}: frames lost to damage", s.substituted)
            for v, s in zip(record.visuals, shown, strict=True)
            if s.substituted
        ]
        return sequence, tiles[: sequence.tiles], substituted

    def _rng(self, epoch: int, number: int, place: int, repeat: int) -> np.random.Generator | None:
        """What draws the frames of one image place; None where the spec's rule picks them."""
        if self.sampling != "rand":
            return None
        again = [repeat] if repeat else []
        return np.random.default_rng([self.seed, epoch, number, place, *again])


def _skipped(record: Record, reason: str) -> Note:
    log.warning("skipped %s: %s", record.where, reason)
    return Note(record.where, "skipped", reason, 1)
