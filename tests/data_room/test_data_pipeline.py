"""The loader: the same global batches for any number of threads, workers and hosts."""

from __future__ import annotations

import os
import sys

import numpy as np
import pytest

from sg4v_jax.batch import Batch
from sg4v_jax.data import pipeline
from sg4v_jax.data.record import Note
from sg4v_jax.data.rows import Read
from sg4v_jax.errors import ConfigError

STEPS = 5


class Numbered:
    """Stands for `Rows`: row `i` says `i`, which process read it, and what that one has loaded.

    Every third row has a note.
    """

    batch_rows = 8

    def read(self, row: int) -> Read:
        bridge = sys.modules.get("jax._src.xla_bridge")
        backends = len(bridge._backends) if bridge else 0
        facts = np.array([row, os.getpid(), backends], np.int32)
        notes = (Note(f"row {row}", "skipped", "gone", row),) if row % 3 == 0 else ()
        return Read(Batch(*[facts] * len(Batch._fields)), notes)


def batches(rows, **options) -> list[Batch]:
    return [read.batch for read in pipeline.batches(rows, **options)]


def numbers(rows, **options) -> np.ndarray:
    """The global row numbers of every batch: [steps, B] or [steps, A, B/A]."""
    return np.stack([b.tokens[..., 0] for b in batches(rows, **options)])


def in_order(start: int, stop: int) -> np.ndarray:
    return np.arange(start * 8, stop * 8).reshape(-1, 8)


def all_equal(got: Batch, want: Batch) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(got, want, strict=True))


@pytest.mark.smoke
def test_batches_are_the_rows_stacked(rows):
    got = batches(rows, start=0, stop=2)
    assert [b.tokens.shape for b in got] == [(4, 512)] * 2
    assert got[0].tiles.shape == (4, 15, 16, 16, 3)
    for step, batch in enumerate(got):
        assert batch.segments.any()
        for k in range(4):
            row = Batch(*(field[k] for field in batch))
            assert all_equal(row, rows[step * 4 + k])


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_any_number_of_threads(make_rows, rows, threads):
    # Past the end of the first epoch, with rows that nobody has planned yet.
    steps = rows.steps_in(0) + 2
    reference = batches(rows, start=0, stop=steps, threads=1)
    got = batches(make_rows(), start=0, stop=steps, threads=threads)
    assert len(got) == steps
    assert all(all_equal(a, b) for a, b in zip(got, reference, strict=True))


@pytest.mark.parametrize("start", [1, 3])
def test_starting_later_equals_skipping(make_rows, rows, start):
    whole = batches(rows, start=0, stop=STEPS)
    rest = batches(make_rows(), start=start, stop=STEPS)
    assert len(rest) == STEPS - start
    assert all(all_equal(a, b) for a, b in zip(rest, whole[start:], strict=True))


def test_nothing_is_left_to_read_at_the_end(rows):
    assert batches(rows, start=STEPS, stop=STEPS) == []


@pytest.mark.parametrize("accumulate", [1, 2, 4])
@pytest.mark.parametrize("count", [1, 2])
def test_shards_join_to_the_global_batch(accumulate, count):
    options = dict(start=1, stop=STEPS, accumulate=accumulate)
    parts = [numbers(Numbered(), shard=(i, count), **options) for i in range(count)]
    expected = in_order(1, STEPS)
    if accumulate > 1:
        expected = expected.reshape(len(expected), accumulate, -1)
    assert parts[0].shape == (*expected.shape[:-1], expected.shape[-1] // count)
    np.testing.assert_array_equal(np.concatenate(parts, axis=-1), expected)


def test_four_shards_join_to_the_batches_of_two():
    # Other hosts and other micro-batches read other rows, but the step sees the same ones.
    options = dict(start=0, stop=STEPS, accumulate=2)
    two = [numbers(Numbered(), shard=(i, 2), **options) for i in range(2)]
    four = [numbers(Numbered(), shard=(i, 4), **options) for i in range(4)]
    np.testing.assert_array_equal(np.concatenate(four, -1), np.concatenate(two, -1))
    assert four[1][0].tolist() == [[1], [5]]


def test_shards_of_real_rows(make_rows, rows):
    whole = batches(rows, start=0, stop=1)[0]
    halves = [batches(make_rows(), start=0, stop=1, shard=(i, 2))[0] for i in range(2)]
    joined = Batch(*(np.concatenate(pair) for pair in zip(*halves, strict=True)))
    assert all_equal(joined, whole)


@pytest.mark.parametrize(("accumulate", "count"), [(3, 1), (1, 3), (4, 4)])
def test_a_batch_that_cannot_be_cut(accumulate, count):
    with pytest.raises(ConfigError) as caught:
        batches(Numbered(), start=0, stop=1, shard=(0, count), accumulate=accumulate)
    message = f"a batch of 8 rows cannot be cut into {accumulate} micro-batches for {count} data"
    assert message in caught.value.message
    assert "data.batch_rows" in caught.value.mend


def test_three_epochs_lose_and_repeat_no_record(make_rows):
    rows = make_rows()
    steps = sum(rows.steps_in(epoch) for epoch in range(3))
    seen = 0
    for batch in batches(rows, start=0, stop=steps):
        seen += int(batch.segments.max(-1).sum())
    assert seen == 3 * len(rows.index.records)


def assert_notes_of(reads: list[Read], *, start: int) -> None:
    """The notes of `Numbered`: each with the batch of its row, in order."""
    for step, read in enumerate(reads, start):
        noted = [row for row in range(step * 8, step * 8 + 8) if row % 3 == 0]
        assert read.notes == tuple(Note(f"row {row}", "skipped", "gone", row) for row in noted)
        assert all(type(note) is Note and type(note.count) is int for note in read.notes)


def test_notes_come_with_their_batch():
    assert_notes_of(list(pipeline.batches(Numbered(), start=1, stop=STEPS)), start=1)


# Each worker process imports Grain, which takes seconds.
@pytest.mark.parametrize("workers", [pytest.param(1, marks=pytest.mark.slow), 2])
def test_any_number_of_worker_processes(workers):
    reads = list(pipeline.batches(Numbered(), start=1, stop=STEPS, workers=workers))
    got = [read.batch for read in reads]
    np.testing.assert_array_equal(np.stack([b.tokens[:, 0] for b in got]), in_order(1, STEPS))
    processes = {int(p) for b in got for p in b.tokens[:, 1]}
    assert len(processes) == workers and os.getpid() not in processes
    # Grain imports jax, but nothing may start a backend there: it would take the accelerator.
    assert not any(b.tokens[:, 2].any() for b in got)
    assert_notes_of(reads, start=1)


@pytest.mark.slow
def test_worker_processes_read_real_rows(make_rows, rows):
    reference = batches(rows, start=0, stop=3, accumulate=2)
    got = batches(make_rows(), start=0, stop=3, accumulate=2, workers=2)
    assert all(all_equal(a, b) for a, b in zip(got, reference, strict=True))
