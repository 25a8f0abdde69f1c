"""Global rows: whole epochs, the same for every reader, holes that move nothing."""

from __future__ import annotations

import dataclasses
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from sg4v_jax.batch import Batch
from sg4v_jax.data import layout, packing
from sg4v_jax.data.index import build_index
from sg4v_jax.data.packing import Budget
from sg4v_jax.data.readers import read_llava_json
from sg4v_jax.data.record import Record
from sg4v_jax.errors import BudgetError, RecordError
from sg4v_jax.text.chat import Turn


def assert_same(got: Batch, want: Batch) -> None:
    for name, value in want._asdict().items():
        np.testing.assert_array_equal(getattr(got, name), value, err_msg=name)


def test_three_epochs_of_whole_batches_hold_every_record_three_times(rows):
    everything, start = list(range(len(rows.index.records))), 0
    for epoch in range(3):
        stop = start + rows.steps_in(epoch) * rows.batch_rows
        held = [rows.records_of(row) for row in range(start, stop)]
        assert sorted(np.concatenate(held).tolist()) == everything
        assert [rows.locate(row) for row in (start, stop - 1)] == [
            (epoch, 0),
            (epoch, stop - start - 1),
        ]
        empty = [i for i, numbers in enumerate(held) if not len(numbers)]
        assert len(empty) < rows.batch_rows
        assert empty == list(range(len(held) - len(empty), len(held)))  # they end the epoch
        start = stop
    orders = [np.concatenate([rows.records_of(r) for r in range(s, s + 2)]) for s in (0, start)]
    assert orders[0].tolist() != orders[1].tolist()


def test_a_row_is_its_records_laid_out_one_after_the_other(rows):
    row = next(r for r in range(9) if len(rows.records_of(r)) > 1)
    batch, records = rows[row], [rows.index.records[i] for i in rows.records_of(row)]
    layout.check(batch, patches=2, separators=1, vocab_size=320)
    at = tile = 0
    for number, record in enumerate(records, 1):
        sizes = [rows.spec.visual_size(v) for v in record.visuals]
        sample, _ = rows.spec.record_sequence(record, sizes=sizes, tokenizer=rows.tokenizer)
        here = slice(at, at + len(sample.tokens))
        np.testing.assert_array_equal(batch.tokens[here], sample.tokens)
        assert (batch.segments[here] == number).all()
        [video] = record.visuals
        pixels = rows.spec.tiles(rows.spec.load(video).pixels)
        np.testing.assert_array_equal(batch.tiles[tile : tile + 5], pixels)
        at, tile = here.stop, tile + 5
    assert (batch.segments[at:] == 0).all() and not batch.tiles[tile:].any()
    scored = batch.loss_index[batch.loss_index >= 0]
    np.testing.assert_array_equal(batch.tokens[scored + 1], batch.targets[: len(scored)])
    assert (batch.loss_weights[: len(scored)] == 1).all()
    assert not batch.loss_weights[len(scored) :].any()


def test_a_row_that_fills_the_epoch_up_is_all_padding(make_rows):
    rows = make_rows(batch_rows=50)
    batch = rows[49]
    assert len(rows.records_of(49)) == 0
    assert not batch.segments.any() and not batch.loss_weights.any()
    assert (batch.visual_index == -1).all() and (batch.loss_index == -1).all()


def test_rows_can_be_read_in_any_order(make_rows, rows):
    wanted = {row: rows.records_of(row).tolist() for row in range(40)}
    again = make_rows()
    for row in (39, 0, 17, 3, 38, 1):
        assert again.records_of(row).tolist() == wanted[row]


def test_threads_that_plan_at_once_agree(make_rows, rows, monkeypatch):
    # Slow plans, so that every thread is in `locate` before the first one has an answer.
    real = packing.plan

    def slow(*args, **kwargs):
        time.sleep(0.02)
        return real(*args, **kwargs)

    monkeypatch.setattr(packing, "plan", slow)
    again, far = make_rows(), 3 * rows.steps_in(0) * rows.batch_rows
    with ThreadPoolExecutor(8) as pool:
        located = list(pool.map(again.locate, range(far)))
    assert located == [rows.locate(row) for row in range(far)]


def test_microbatch_weights_reach_the_rows(make_rows):
    rows = make_rows(norm="microbatch", microbatch=2)
    weights = rows.plan(0).weights
    for row in range(rows.steps_in(0) * rows.batch_rows):
        batch, numbers = rows[row], rows.records_of(row)
        expected = np.repeat(weights[numbers], rows.index.lengths[numbers, 2])
        np.testing.assert_array_equal(batch.loss_weights[: len(expected)], expected)


@pytest.fixture
def damaged(folder, tmp_path, spec, tokenizer):
    """A copy of the data set, indexed while whole: (its folder, its index)."""
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    records = read_llava_json(copy / "train.json", root=copy)
    return copy, build_index(records, spec=spec, tokenizer=tokenizer)


@pytest.mark.parametrize("how", ["missing", "truncated", "another size"])
def test_a_video_broken_since_indexing_leaves_a_hole_and_moves_no_record(
    damaged, rows, make_rows, caplog, how
):
    copy, index = damaged
    row = next(r for r in range(9) if len(rows.records_of(r)) > 1)
    victim = rows.index.records[rows.records_of(row)[0]]
    broken = copy / "videos" / victim.visuals[0].path.rpartition("/")[2]
    content = broken.read_bytes()
    broken.unlink()
    if how == "truncated":
        broken.write_bytes(content[:100])
    elif how == "another size":
        from sg4v_jax.video.encode import write_mp4

        write_mp4(str(broken), np.zeros((17, 32, 96, 3), np.uint8), fps=8)
    holed = make_rows(index=index)
    lost = [i for i, r in enumerate(rows.index.records) if r.visuals[0].path.endswith(broken.name)]
    for number in range(rows.steps_in(0) * rows.batch_rows):
        assert holed.records_of(number).tolist() == rows.records_of(number).tolist()
        got, want = holed[number], rows[number]
        gone = np.isin(want.segments, 1 + np.flatnonzero(np.isin(rows.records_of(number), lost)))
        for name in ("tokens", "visual_index", "positions"):
            padding = -1 if name == "visual_index" else 0
            expected = np.where(gone, padding, getattr(want, name))
            np.testing.assert_array_equal(getattr(got, name), expected, err_msg=name)
        np.testing.assert_array_equal(got.segments > 0, (want.segments > 0) & ~gone)
        scored = (want.loss_index >= 0) & ~gone[want.loss_index]
        np.testing.assert_array_equal(got.loss_index, np.where(scored, want.loss_index, -1))
        np.testing.assert_array_equal(got.loss_weights, want.loss_weights * scored)
    assert f"skipped {copy / 'train.json'}: record {victim.id!r}" in caplog.text


def test_more_than_a_hundredth_broken_stops_with_names(damaged, spec, tokenizer):
    _, index = damaged
    broken = index.records[0].visuals[0].path
    open(broken, "wb").close()
    with pytest.raises(RecordError) as caught:
        build_index(index.records, spec=spec, tokenizer=tokenizer)
    lost = [r for r in index.records if r.visuals[0].path == broken]
    message = str(caught.value)
    assert f"{len(lost)} of {len(index.records)} records cannot be used" in message
    assert f"train.json: record {lost[0].id!r}" in message and broken in message
    assert "data.max_skipped" in message


def test_a_few_broken_ones_are_left_out_and_named(damaged, spec, tokenizer):
    _, index = damaged
    broken = index.records[0].visuals[0].path
    open(broken, "wb").close()
    seen = []

    def progress(records):
        for record in records:
            seen.append(record.id)
            yield record

    smaller = build_index(
        index.records, spec=spec, tokenizer=tokenizer, max_skipped=0.5, progress=progress
    )
    lost = [r for r in index.records if r.visuals[0].path == broken]
    assert smaller.records == tuple(r for r in index.records if r not in lost)
    assert len(smaller.lengths) == len(smaller.sizes) == len(smaller.records)
    assert [where for where, _ in smaller.skipped] == [r.where for r in lost]
    assert all(broken in reason for _, reason in smaller.skipped)
    assert seen == [r.id for r in index.records]


def test_no_records_at_all(spec, tokenizer):
    with pytest.raises(RecordError, match="there are no records"):
        build_index([], spec=spec, tokenizer=tokenizer)


def test_text_records_and_videos_share_rows(make_rows, records, spec, tokenizer):
    text = Record("words", "b.json", (), (Turn("user", "Hi"), Turn("assistant", "Ho")))
    mixed = build_index([text, records[0]], spec=spec, tokenizer=tokenizer)
    rows = make_rows(index=mixed, batch_rows=1)
    batch = rows[0]
    assert sorted(rows.records_of(0).tolist()) == [0, 1]
    assert batch.segments.max() == 2 and batch.tiles[:5].any() and not batch.tiles[5:].any()
    only_text = make_rows(
        index=build_index([text], spec=spec, tokenizer=tokenizer), budget=Budget(64, 0, 8)
    )
    assert only_text[0].tiles.shape == (0, 16, 16, 3)
    assert (only_text[0].visual_index == -1).all()


def test_the_overview_alone_needs_one_tile_a_video(make_rows, records, spec, tokenizer):
    overview = dataclasses.replace(spec, visual="overview")
    index = build_index(records, spec=overview, tokenizer=tokenizer)
    assert (index.lengths[:, 1] == 1).all()
    rows = make_rows(index=index, spec=overview)
    number = rows.records_of(0)[0]
    [video] = index.records[number].visuals
    expected = overview.tiles(overview.load(video).pixels)
    np.testing.assert_array_equal(rows[0].tiles[:1], expected)


def test_a_record_too_long_for_a_row_stops_the_run(make_rows):
    with pytest.raises(BudgetError, match=r"train.json: record '.*': needs \d+ positions"):
        make_rows(budget=Budget(40, 15, 160))


def test_reading_rows_twice_gives_the_same(rows):
    assert_same(rows[1], rows[1])


@pytest.mark.parametrize("module", ["data.rows", "data.show"])
def test_data_workers_need_neither_jax_nor_grain(module):
    code = (
        f"import sys, sg4v_jax.{module}\n"
        "print(sorted({'jax', 'jaxlib', 'flax', 'grain', 'orbax'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
