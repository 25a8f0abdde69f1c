"""Rows made readable: what is written must be what the arrays hold."""

from __future__ import annotations

import dataclasses
import io
import re
import shutil

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from sg4v_jax.data import show
from sg4v_jax.data.index import build_index
from sg4v_jax.data.layout import SEPARATOR, anyres_index
from sg4v_jax.data.packing import Budget
from sg4v_jax.data.readers import read_llava_json
from sg4v_jax.data.record import Record, Visual
from sg4v_jax.text.chat import Turn
from sg4v_jax.video.anyres import AnyRes, geometry


def runs(*index: int, tiles: int = 3, patches: int = 2) -> list[str]:
    return show.visual_runs(np.array(index), tiles=tiles, patches=patches)


def test_visual_runs_worked_example():
    image = (0, 1, 2, 3, 4, 5, 8, 9, 12, 6, 7, 10, 11, 12)
    plane = "tiles 1..2 plane: 2 rows x (4 + newline)"
    assert runs(*image) == ["tile 0: 4 patches", plane]


def test_visual_runs_of_tiles_without_planes_and_of_pictures_side_by_side():
    assert runs(0, 1, 2, 3, 8, 9, 10, 11) == ["tile 0: 4 patches", "tile 2: 4 patches"]
    narrow = [0, 1, 2, 3, 4, 5, 16, 6, 7, 16]  # one tile, so its rows are two wide
    following = [8, 9, 10, 11, 12, 13, 16, 14, 15, 16]
    assert runs(*narrow, *following, tiles=4) == [
        "tile 0: 4 patches",
        "tile 1 plane: 2 rows x (2 + newline)",
        "tile 2: 4 patches",
        "tile 3 plane: 2 rows x (2 + newline)",
    ]


def test_visual_runs_that_no_layout_makes_are_still_told_truly():
    assert runs(5, 6) == ["from patch 5 on: 2 patches"]
    assert runs(12, 13) == ["newline", "separator 1"]
    assert runs(5, 12, 6, 12, 7, 13) == [
        "tile 1 plane: 2 rows x (1 + newline)",
        "tile 1 plane: 1 rows x (1 + separator 1)",
    ]


def test_visual_runs_of_the_large_model():
    shape = geometry((1920, 1103), AnyRes.standard(336, patches=24))
    index = anyres_index(shape, patches=24)
    index = np.where(index == SEPARATOR, 5 * 576, index)
    assert show.visual_runs(index, tiles=5, patches=24) == [
        "tile 0: 576 patches",
        "tiles 1..4 plane: 28 rows x (48 + newline)",
    ]


@pytest.fixture(scope="module")
def full_row(rows) -> int:
    """A row of more than one sample."""
    return next(r for r in range(9) if len(rows.records_of(r)) > 1)


def test_a_view_tells_places_words_and_targets(rows, full_row):
    batch = rows[full_row]
    view = show.view_row(rows, full_row, batch)
    numbers = rows.records_of(full_row)
    lengths = rows.index.lengths[numbers]
    assert (view.row, view.epoch, view.step) == (full_row, 0, full_row // 4)
    totals = lengths.sum(0).tolist()
    budget = {"positions": 512, "tiles": 15, "scored": 160}
    assert view.used == {n: (u, budget[n]) for n, u in zip(budget, totals, strict=True)}
    for k, (sample, number) in enumerate(zip(view.samples, numbers, strict=True)):
        record = rows.index.records[number]
        assert sample.where == record.where
        assert sample.sources == (record.visuals[0].path,)
        assert sample.positions == range(lengths[:k, 0].sum(), lengths[: k + 1, 0].sum())
        assert sample.tiles == range(5 * k, 5 * k + 5)
        questions = [t.content.removeprefix("<image>") for t in record.turns[::2]]
        answers = [t.content for t in record.turns[1::2]]
        trained = [s.text for s in sample.spans if s.kind == "trained"]
        assert trained == [f"{a}<|eot_id|>" for a in answers]
        plain = "".join(s.text for s in sample.spans if s.kind == "text")
        assert all(q.replace("\n", "\\n") in plain for q in questions)
        visual = [s.text for s in sample.spans if s.kind == "visual"]
        first = 5 * k
        plane = f"tiles {first + 1}..{first + 4} plane: 4 rows x (4 + newline)"
        assert visual == [f"tile {first}: 4 patches", plane]
        assert "".join(t.word for t in sample.targets) == "".join(trained)
        assert len(sample.targets) == lengths[k, 2]
        for target in sample.targets:
            said = rows.tokenizer.decode([int(batch.tokens[target.position + 1])])
            assert target.position in sample.positions
            assert target.word == said or target.word.startswith("<|")


def test_targets_are_read_from_the_targets_not_from_the_tokens(rows, full_row):
    batch = rows[full_row]
    batch.targets[0] = rows.tokenizer.encode("Z", special=False)[0]
    batch.loss_weights[0] = 0.25
    view = show.view_row(rows, full_row, batch)
    first = view.samples[0].targets[0]
    assert (first.word, first.weight) == ("Z", 0.25)
    assert f"  {first.position:8}  0.25      'Z'\n" in show.as_text(view)


def test_text_marks_what_is_trained_and_where_pictures_lie(rows, full_row):
    view = show.view_row(rows, full_row, rows[full_row])
    text = show.as_text(view)
    record = rows.index.records[rows.records_of(full_row)[0]]
    question, answer = (t.content for t in record.turns[:2])
    asked = question.removeprefix("<image>\n")
    pictures = "<tile 0: 4 patches><tiles 1..4 plane: 4 rows x (4 + newline)>"
    assert f"user<|end_header_id|>\\n\\n{pictures}\\n{asked}<|eot_id|>" in text
    assert f"assistant<|end_header_id|>\\n\\n[[{answer}<|eot_id|>]]" in text
    used, whole = view.used["positions"]
    assert f"used: {used} of {whole} positions ({used / whole:.0%})" in text
    tiles = 5 * len(view.samples)
    assert f", {tiles} of 15 tiles ({tiles / 15:.0%})" in text
    scored = re.findall(r"^ +(\d+)  1 +'.+'$", text, re.MULTILINE)
    assert len(scored) == view.used["scored"][0]


def test_the_panel_says_the_same(rows, full_row):
    view = show.view_row(rows, full_row, rows[full_row])
    console = Console(width=4000, file=io.StringIO())
    console.print(show.as_panel(view))
    shown = console.file.getvalue()
    assert f"row {full_row} (epoch 0, step" in shown
    for sample in view.samples:
        assert "".join(s.marked for s in sample.spans) in shown
        assert f"{sample.where}; positions {sample.positions.start}.." in shown


def test_files_hold_the_pictures_that_the_model_gets(rows, full_row, tmp_path):
    [view] = show.write_rows(rows, start=full_row, count=1, out=tmp_path / "out")
    prefix = f"row_{full_row:04d}"
    names = [f"{prefix}.txt"]
    batch = rows[full_row]
    for k, sample in enumerate(view.samples):
        names += [f"{prefix}_sample_{k}_grid.png", f"{prefix}_sample_{k}_tiles.png"]
        grid, tiles = (np.asarray(Image.open(tmp_path / "out" / name)) for name in names[-2:])
        np.testing.assert_array_equal(
            grid, rows.spec.load(Visual("video", sample.sources[0])).pixels
        )
        assert tiles.shape == (16, 5 * 16 + 4 * 4, 3)
        for i in range(5):
            np.testing.assert_array_equal(tiles[:, 20 * i : 20 * i + 16], batch.tiles[5 * k + i])
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == sorted(names)
    assert (tmp_path / "out" / names[0]).read_text() == show.as_text(view)


def test_several_rows_are_written_one_by_one(rows, tmp_path):
    views = show.write_rows(rows, start=1, count=2, out=tmp_path)
    assert next(views).row == 1
    assert (tmp_path / "row_0001.txt").exists() and not (tmp_path / "row_0002.txt").exists()
    assert next(views).row == 2 and next(views, None) is None


def test_several_pictures_and_text_alone(make_rows, records, spec, tokenizer, tmp_path):
    Image.new("RGB", (40, 40), (200, 10, 10)).save(tmp_path / "red.png")
    visuals = (*records[0].visuals, Visual("image", str(tmp_path / "red.png")))
    turns = (Turn("user", "<image> and <image>?"), Turn("assistant", "No"))
    two = Record("two", "b.json", visuals, turns)
    words = Record("words", "b.json", (), (Turn("user", "Hi"), Turn("assistant", "Ho")))
    index = build_index([two, words], spec=spec, tokenizer=tokenizer)
    rows = make_rows(index=index, batch_rows=1)
    [view] = show.write_rows(rows, start=0, count=1, out=tmp_path / "out")
    order = rows.records_of(0).tolist()
    at = order.index(0)
    text = view.samples[order.index(1)]
    assert not text.tiles and not text.sources and "no tiles" in show.as_text(view)
    assert "user<|end_header_id|>\\n\\nHi<|eot_id|>" in show.as_text(view)
    stem = f"row_0000_sample_{at}"
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == [
        "row_0000.txt",
        f"{stem}_grid.png",
        f"{stem}_grid_1.png",
        f"{stem}_tiles.png",
    ]
    red = np.asarray(Image.open(tmp_path / "out" / f"{stem}_grid_1.png"))
    assert red.shape == (40, 40, 3) and (red == (200, 10, 10)).all()


def test_a_hole_is_shown_as_one(folder, make_rows, spec, tokenizer, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    records = read_llava_json(copy / "train.json", root=copy)[:2]
    index = build_index(records, spec=spec, tokenizer=tokenizer)
    moved = copy / "videos" / "elsewhere.mp4"
    broken = [dataclasses.replace(records[0], visuals=(Visual("video", str(moved)),)), records[1]]
    index = dataclasses.replace(index, records=tuple(broken))
    rows = make_rows(index=index, budget=Budget(1024, 10, 320), batch_rows=1)
    [view] = show.write_rows(rows, start=0, count=1, out=tmp_path / "out")
    hole = view.samples[rows.records_of(0).tolist().index(0)]
    assert hole.spans == () and hole.targets == ()
    assert view.used["tiles"] == (5, 10)
    assert view.used["positions"][0] == index.lengths[1, 0]
    text = show.as_text(view)
    assert "could not be read; its place is empty" in text
    assert f"skipped (1): {hole.where}: {moved}: " in text
    assert len(list((tmp_path / "out").glob("*.png"))) == 2


def test_a_row_that_fills_the_epoch_up(make_rows, tmp_path):
    rows = make_rows(batch_rows=50)
    [view] = show.write_rows(rows, start=49, count=1, out=tmp_path)
    assert view.samples == () and view.used["positions"] == (0, 512)
    assert "row 49 (epoch 0, step 0): empty, fills the epoch up" in show.as_text(view)
    assert [p.name for p in tmp_path.iterdir()] == ["row_0049.txt"]
