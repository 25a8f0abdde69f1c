"""The index pass: what each record of a data set needs of a row, and which cannot be used.

Every video is opened once, in threads, to learn its size and length; no frame is decoded. A cache
(`index_cache`) spares that at the next start.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Self

import numpy as np

from sg4v_jax import files
from sg4v_jax.data import packing
from sg4v_jax.data.index_cache import IndexCache
from sg4v_jax.data.inputs import InputSpec, Measured, measure
from sg4v_jax.data.record import Record, Visual
from sg4v_jax.data.store import catalog
from sg4v_jax.errors import ConfigError, RecordError, Sg4vError
from sg4v_jax.text.tokenizer import Tokenizer
from sg4v_jax.video.decode import TIME_LIMIT

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
    threads: int = 4,
    cache: str | os.PathLike | None = None,
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
      threads: how many videos are opened at a time.
      cache: a file where what was learnt is kept for the next start; used for each record that,
        like its files, has not changed. It may be missing, old or damaged.

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
    how = dict(spec=spec, tokenizer=tokenizer, positions=limit)
    known = IndexCache(cache, records, **how)
    with _Sizes(spec, seconds=seconds, threads=threads) as size_of:
        size_of.ahead(r for r in records if known.get(r) is None)
        for record in progress(records):
            found = known.get(record)
            if found is None:
                found = _measured(record, size_of=size_of, **how)
                known.put(record, found)
            if isinstance(found, Sg4vError):
                skipped.append((record.where, found.message))
                continue
            if too_long == "drop" and (over := packing.excess(found.lengths, budget=budget)):
                skipped.append((record.where, f"too long: {over[1]}"))
                continue
            kept.append(record)
            sizes.append(found.sizes)
            lengths.append(found.lengths)
            truncated += found.cut
    known.save()
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


def _measured(record: Record, **how) -> Measured | Sg4vError:
    try:
        return measure(record, **how)
    except Sg4vError as e:
        return e


class _Sizes:
    """Sizes of pictures by file; each file is opened once, the broken ones too."""

    def __init__(self, spec: InputSpec, *, seconds: float, threads: int):
        self._spec, self._seconds = spec, seconds
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="index")
        self._known: dict[tuple[str, str], Future] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_) -> None:
        self._pool.shutdown(cancel_futures=True)  # Ctrl-C: do not wait for files not yet begun

    def ahead(self, records: Iterable[Record]) -> None:
        """Begins to look into the files of `records`."""
        for record in records:
            for visual in record.visuals:
                if visual.slot is None:
                    self._future(visual)

    def __call__(self, visual: Visual) -> tuple[int, int]:
        return visual.slot.size if visual.slot is not None else self._future(visual).result()

    def _future(self, visual: Visual) -> Future:
        key = (visual.kind, visual.path)
        if key not in self._known:
            look = self._spec.visual_size
            self._known[key] = self._pool.submit(look, visual, seconds=self._seconds)
        return self._known[key]
