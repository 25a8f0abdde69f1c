"""What `check_mix` finds of a mix whose parts are whole, partly missing, or damaged."""

from __future__ import annotations

import io
import json
import os
import shutil
import threading

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from sg4v_jax.data import check
from sg4v_jax.data.check import as_json, as_table, check_mix, exit_code
from sg4v_jax.data.mixture import Part


@pytest.fixture
def copy(folder, tmp_path):
    """A copy of the data set, to be damaged."""
    return shutil.copytree(folder, tmp_path / "copy")


def part_of(folder, **fields) -> Part:
    given = dict(name="world", file=str(folder / "train.json"), root=str(folder)) | fields
    return Part(**given)


def printed(reports) -> str:
    console = Console(width=300, file=io.StringIO())
    console.print(as_table(reports))
    return console.file.getvalue()


def videos(folder) -> list[str]:
    items = json.loads((folder / "train.json").read_text())
    return sorted({str(folder / item["video"]) for item in items})


def test_all_is_there(folder):
    records = len(json.loads((folder / "train.json").read_text()))
    part = part_of(folder, expected=records, source="made here", licence="CC0", next_step="none")
    [report] = reports = check_mix([part])
    assert report.complete and exit_code(reports) == 0
    assert (report.found, report.media, report.annotations) == (records, 6, "ok")
    assert report.missing == report.broken == () and not report.repeated
    shown = printed(reports)
    assert all(text in shown for text in ("world", str(records), "CC0", "made here"))
    assert "next step" not in shown


def test_missing_and_broken_files_are_named(copy):
    gone, cut, *_ = videos(copy)
    os.truncate(cut, 200)
    os.remove(gone)
    [report] = reports = check_mix([part_of(copy, next_step="render it again")])
    assert report.missing == (gone,)
    [(path, reason)] = report.broken
    assert path == cut and cut in reason
    assert exit_code(reports) == 1 and not report.complete
    shown = printed(reports)
    assert f"  missing {gone}" in shown and f"  broken {reason}" in shown
    assert "  next step: render it again" in shown
    [quick] = check_mix([part_of(copy)], quick=True)
    assert quick.missing == (gone,) and not quick.broken


def test_images_are_read_whole(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (20, 50, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    whole = (tmp_path / "a.png").read_bytes()
    (tmp_path / "b.png").write_bytes(whole[: len(whole) // 2])
    lines = [{"image": n, "prompt": "What?", "answer": "A."} for n in ("a.png", "b.png", "c.png")]
    file = tmp_path / "a.jsonl"
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    [report] = check_mix([Part(name="p", file=str(file), format="jsonl")])
    assert report.missing == (str(tmp_path / "c.png"),)
    [(path, reason)] = report.broken
    assert path == str(tmp_path / "b.png") and "not a whole image" in reason


def test_missing_annotations_are_no_crash(tmp_path, folder):
    lost = Part(name="lost", file=str(tmp_path / "none.json"), next_step="ask the authors")
    reports = check_mix([lost, part_of(folder)])
    assert [r.annotations for r in reports] == ["missing", "ok"]
    assert exit_code(reports) == 1
    assert "  next step: ask the authors" in printed(reports)
    assert f"{tmp_path / 'none.json'}: no such file" in reports[0].problem


def test_annotations_that_cannot_be_read_are_bad_input(tmp_path, folder):
    (tmp_path / "bad.json").write_text("[oops")
    reports = check_mix([Part(name="bad", file=str(tmp_path / "bad.json")), part_of(folder)])
    assert [r.annotations for r in reports] == ["unreadable", "ok"]
    assert exit_code(reports) == 2
    assert "bad.json: line 1: not JSON" in reports[0].problem and "bad.json" in printed(reports)


def test_fewer_records_than_expected(folder):
    [report] = reports = check_mix([part_of(folder, expected=99, next_step="get the rest")])
    assert not report.complete and exit_code(reports) == 1
    shown = printed(reports)
    assert f"  {report.found} records, 99 expected" in shown and "get the rest" in shown


def test_each_file_is_looked_into_once(folder, monkeypatch):
    looked, lock = [], threading.Lock()

    def count(visual, *, seconds):
        with lock:
            looked.append((visual.path, seconds))

    monkeypatch.setattr(check, "check_media", count)
    steps = []

    def progress(results, total):
        for result in results:
            steps.append(total)
            yield result

    parts = [part_of(folder), part_of(folder, name="again")]
    reports = check_mix(parts, seconds=5.0, progress=progress, threads=3)
    assert sorted(looked) == [(path, 5.0) for path in videos(folder)]
    assert steps == [6] * 6 and [r.media for r in reports] == [6, 6]


def test_repeated_ids_are_told(tmp_path):
    file = tmp_path / "a.jsonl"
    file.write_text('{"id": "x", "prompt": "Hi", "answer": "Ho"}\n' * 3)
    [report] = reports = check_mix([Part(name="p", file=str(file), format="jsonl")])
    assert report.repeated == 2 and report.complete
    assert "  2 records repeat the id of an earlier one" in printed(reports)


def test_long_lists_are_cut_in_the_table_and_whole_in_the_json(copy):
    shutil.rmtree(copy / "videos")
    reports = check_mix([part_of(copy, expected=3000)])
    shown = printed(reports)
    assert shown.count("  missing ") == 5 and "  and 1 more missing" in shown
    value = json.loads(json.dumps(as_json(reports)))
    assert value["complete"] is False
    [part] = value["parts"]
    assert part["missing"] == videos(copy) and part["broken"] == []
    assert (part["name"], part["expected"], part["found"]) == ("world", 3000, reports[0].found)
    assert {"source", "licence", "next_step", "format", "file", "annotations"} <= part.keys()
