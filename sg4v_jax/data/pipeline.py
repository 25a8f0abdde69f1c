"""The Grain pipeline over global rows: batches by number, whatever the workers and hosts.

The data state is the number of global rows consumed; there is no iterator state to save. Grain's
own packers give other rows for other worker and host counts, so packing is planned (`packing`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import grain
import numpy as np
from absl import flags

from sg4v_jax.batch import Batch
from sg4v_jax.data.rows import Read, Rows
from sg4v_jax.errors import ConfigError


class _LocalRows:
    """The rows that one shard reads, in order, as a Grain source: item -> global row -> `Read`.

    With accumulation A a global batch is [A, B/A]; shard `i` of `n` holds the i-th part of the
    second axis of every micro-batch.
    """

    def __init__(
        self, rows: Rows, *, shard: tuple[int, int], accumulate: int, start: int, stop: int
    ):
        self._rows, self._shard = rows, shard
        self._accumulate, self._start, self._stop = accumulate, start, stop
        self._part = rows.batch_rows // accumulate // shard[1]

    def __len__(self) -> int:
        return (self._stop - self._start) * self._accumulate * self._part

    def global_row(self, item: int) -> int:
        micro, k = divmod(item, self._part)  # counted over all steps
        index, count = self._shard
        first = self._start * self._rows.batch_rows
        return first + micro * self._part * count + index * self._part + k

    def __getitem__(self, item: int) -> Read:
        return self._rows.read(self.global_row(int(item)))


def batches(
    rows: Rows,
    *,
    start: int,
    stop: int,
    shard: tuple[int, int] = (0, 1),
    accumulate: int = 1,
    workers: int = 0,
    threads: int = 2,
) -> Iterator[Read]:
    """This process' part of the global batches `start` .. `stop - 1`.

    Args:
      rows: the run's rows.
      start: first global step, from a checkpoint or 0.
      shard: (index, count) of `sharding.batch_shard`.
      accumulate: micro-batches a step; more than 1 gives a leading axis.
      workers: processes that decode, each in `threads` threads; 0 decodes in this one.

    Yields:
      `Read`: a `Batch` of numpy arrays [B/count, ...], or [A, B/A/count, ...], and the notes of
        its rows in their order: records skipped, frames substituted.

    Raises:
      ConfigError: the batch cannot be cut into `accumulate` x shards.
    """
    if rows.batch_rows % (accumulate * shard[1]):
        raise ConfigError(
            f"a batch of {rows.batch_rows} rows cannot be cut into {accumulate} micro-batches "
            f"for {shard[1]} data shards",
            mend="make data.batch_rows a multiple of both",
        )
    source = _LocalRows(rows, shard=shard, accumulate=accumulate, start=start, stop=stop)
    data, stack = grain.MapDataset.source(source), _Stack(accumulate)
    per_step = rows.batch_rows // shard[1]
    if not workers:  # the threads share the rows of a batch
        options = grain.ReadOptions(num_threads=threads, prefetch_buffer_size=2 * per_step)
        return _closed(iter(data.to_iter_dataset(options).batch(per_step, batch_fn=stack)))
    # Grain deals items out to the workers, so that an item must be a whole batch here: dealt
    # single rows, two workers would batch rows 0 2 4 6 and 1 3 5 7.
    options = grain.ReadOptions(num_threads=threads, prefetch_buffer_size=2)
    data = data.batch(per_step, batch_fn=stack).to_iter_dataset(options)
    if not flags.FLAGS.is_parsed():  # Grain reads its own flags, also where absl runs no main
        flags.FLAGS.mark_as_parsed()
    return _closed(iter(data.mp_prefetch(grain.MultiprocessingOptions(num_workers=workers))))


def _closed(iterator: grain.DatasetIterator) -> Iterator[Read]:
    """`iterator`, whose threads, worker processes and shared memory go when it is left."""
    try:
        yield from iterator
    finally:
        iterator.close()


class _Stack:
    """Stacks rows to a batch; a class, so that worker processes can receive it."""

    def __init__(self, accumulate: int):
        self._accumulate = accumulate

    def __call__(self, reads: Sequence[Read]) -> Read:
        fields = [np.stack(values) for values in zip(*(r.batch for r in reads), strict=True)]
        if self._accumulate > 1:
            fields = [f.reshape(self._accumulate, -1, *f.shape[1:]) for f in fields]
        return Read(Batch(*fields), tuple(note for r in reads for note in r.notes))
