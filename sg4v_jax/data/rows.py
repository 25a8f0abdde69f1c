"""Global rows: record numbers planned into rows, read by number, the same everywhere.

`Rows[i]` is row `i` of the run, counted over all epochs; each epoch is filled up with empty rows
to whole batches, so no record is lost or repeated and steps are known exactly. Worker processes
import this module, so it imports neither jax nor grain.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import numpy as np

from sg4v_jax import files
from sg4v_jax.batch import Batch
from sg4v_jax.data import layout, packing
from sg4v_jax.data.inputs import InputSpec, Picture, measure
from sg4v_jax.data.record import Note, Record, Visual
from sg4v_jax.data.store import catalog
from sg4v_jax.errors import ConfigError, RecordError, Sg4vError
from sg4v_jax.text.tokenizer import Tokenizer
from sg4v_jax.video.decode import TIME_LIMIT

log = logging.getLogger(__name__)


TOO_LONG = ("error", "drop", "truncate")


@dataclasses.dataclass(frozen=True)
class Index:
    """The index pass over a data set: usable records with sizes and lengths, and what fell out.

    Attributes:
      records: the usable ones.
      sizes: (width, height) of each record's pictures.
      lengths: i64[records, 3]: positions, tiles, scored.
      skipped: (file and record, reason) of the others.
      limit: positions that samples are cut to; None where none is cut.
      truncated: how many that cut.
    """

    records: tuple[Record, ...]
    sizes: tuple[tuple[tuple[int, int], ...], ...]
    lengths: np.ndarray
    skipped: tuple[tuple[str, str], ...]
    limit: int | None = None
    truncated: int = 0


def build_index(
    records: Sequence[Record],
    *,
    spec: InputSpec,
    tokenizer: Tokenizer,
    max_skipped: float = 0.01,
    progress: Callable[[Iterable], Iterable] = lambda x: x,
    too_long: str = "error",
    budget: packing.Budget | None = None,
    seconds: float = TIME_LIMIT,
) -> Index:
    """Measures every record; those that cannot be used are named, not replaced.

    Args:
      max_skipped: share of the records that may fall out.
      progress: wraps the records, to show how far it is.
      too_long: what becomes of a sample longer than a row. `error`: `Rows` refuses it. `drop`: it
        is skipped, with how long it is. `truncate`: it is cut to the row's positions as the
        original does (`layout.truncate`), and skipped if nothing to train on is left; too many
        tiles or scored positions in what is left are an error all the same.
      budget: what a row holds; needed unless `too_long` is `error`.
      seconds: how long one video may take.

    Raises:
      RecordError: more than `max_skipped` of the records cannot be used; names the first ones.
      ConfigError: an unknown `too_long`, no budget for it, or records of a store whose pictures
        were made otherwise than `spec` says.
    """
    if too_long not in TOO_LONG or (too_long != "error" and budget is None):
        raise ConfigError(
            f"too_long {too_long!r} with budget {budget}", mend=f"use one of {TOO_LONG}, a budget"
        )
    limit = budget.positions if too_long == "truncate" else None
    check_stores(records, spec=spec)
    kept, sizes, lengths, skipped, truncated = [], [], [], [], 0
    size_of = _Sizes(spec, seconds=seconds)
    for record in progress(records):
        try:
            found = measure(
                record, spec=spec, tokenizer=tokenizer, size_of=size_of, positions=limit
            )
        except Sg4vError as e:
            skipped.append((record.where, e.message))
            continue
        if too_long == "drop" and (over := packing.excess(found.lengths, budget=budget)):
            skipped.append((record.where, f"too long: {over[1]}"))
            continue
        kept.append(record)
        sizes.append(found.sizes)
        lengths.append(found.lengths)
        truncated += found.cut
    if len(skipped) > max_skipped * len(records) or not kept:
        named = (why if where in why else f"{where}: {why}" for where, why in skipped[:3])
        first = "; ".join(named) or "there are no records"
        raise RecordError(
            f"{len(skipped)} of {len(records)} records cannot be used: {first}",
            mend="mend or remove them, or raise data.max_skipped",
        )
    array = np.array(lengths, np.int64).reshape(-1, 3)
    return Index(tuple(kept), tuple(sizes), array, tuple(skipped), limit, truncated)


def check_stores(records: Iterable[Record], *, spec: InputSpec) -> None:
    """Checks that stored pictures are what `spec` would make of the videos.

    Raises:
      ConfigError: they were made otherwise; names the store and the fields.
    """
    shards = {v.slot.shard for r in records for v in r.visuals if v.slot is not None}
    for folder in sorted({str(files.path(shard).parent) for shard in shards}):
        catalog.check_inputs(catalog.load(folder), spec)


class _Sizes:
    """Sizes of pictures by file; each file is opened once, the broken ones too."""

    def __init__(self, spec: InputSpec, *, seconds: float):
        self._spec, self._seconds = spec, seconds
        self._known: dict[str, tuple[int, int] | Sg4vError] = {}

    def __call__(self, visual: Visual) -> tuple[int, int]:
        if visual.slot is not None:
            return visual.slot.size
        key = f"{visual.kind}:{visual.path}"
        if key not in self._known:
            try:
                self._known[key] = self._spec.visual_size(visual, seconds=self._seconds)
            except Sg4vError as e:
                self._known[key] = e
        found = self._known[key]
        if isinstance(found, Sg4vError):
            raise found
        return found


class Read(NamedTuple):
    """A row, or a stack of rows, and what went wrong when it was read."""

    batch: Batch
    notes: tuple[Note, ...]


class Rows:
    """Random access to the rows of a run.

    Args:
      index: the usable records.
      batch_rows: rows of one global batch; epochs are filled up to a multiple of it.
      budget, seed, norm, microbatch: see `packing.plan`.
      sampling: `rand` draws other frames of a video in each epoch, from the seed, the epoch and
        the record alone; empty: the frames that `spec` says, as chat sees them.
      seconds: how long one video may take.

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
        """One row, a `Batch` without the leading axis."""
        return self.read(row).batch

    def read(self, row: int) -> Read:
        """One row, a `Batch` without the leading axis, and what went wrong.

        A record that cannot be read now leaves its place empty and moves no other.
        """
        epoch, _ = self.locate(row)
        weights = self.plan(epoch).weights
        placed, notes = [], []
        for number in self.records_of(row).tolist():
            sequence, tiles, said = self._read(number, epoch=epoch)
            placed.append(layout.Placed(sequence, tiles, float(weights[number])))
            notes += said
        anyres = self.spec.anyres
        batch = layout.place(placed, budget=self.budget, side=anyres.side, patches=anyres.patches)
        return Read(batch, tuple(notes))

    def pictures(self, number: int, *, epoch: int) -> list[Picture]:
        """What stands at each image place of record `number` in `epoch`.

        Raises:
          Sg4vError: a picture that cannot be read.
        """
        return [
            self.spec.load(visual, rng=self._rng(epoch, number, place), seconds=self.seconds)
            for place, visual in enumerate(self.index.records[number].visuals)
        ]

    def _read(
        self, number: int, *, epoch: int
    ) -> tuple[layout.Sequence1D, np.ndarray | None, list[Note]]:
        """A record laid out; its tiles, None where its pictures cannot be read; what to note."""
        record, sizes = self.index.records[number], self.index.sizes[number]
        sequence, _ = self.spec.record_sequence(
            record, sizes=sizes, tokenizer=self.tokenizer, positions=self.index.limit
        )
        try:
            shown = [
                self.spec.show(visual, rng=self._rng(epoch, number, place), seconds=self.seconds)
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

    def _rng(self, epoch: int, number: int, place: int) -> np.random.Generator | None:
        """What draws the frames of one image place; None where the spec's rule picks them."""
        if self.sampling != "rand":
            return None
        return np.random.default_rng([self.seed, epoch, number, place])


def _skipped(record: Record, reason: str) -> Note:
    log.warning("skipped %s: %s", record.where, reason)
    return Note(record.where, "skipped", reason, 1)
