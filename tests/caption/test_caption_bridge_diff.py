"""The proof that two files differ in text alone, and what breaks it."""

from __future__ import annotations

import copy
import json
import pathlib

import pytest

from sg4v_jax.caption.bridge import diff, proof
from sg4v_jax.errors import RecordError

GOLDEN = pathlib.Path(__file__).parents[1] / "data/golden"
RECORDS = [
    {"id": f"v{i}", "video": f"{i}.mp4", "conversations": [
        {"from": "human", "value": "<image>\nWhat?"}, {"from": "gpt", "value": f"A dog {i} runs."}]}
    for i in range(6)
]  # fmt: skip


def change(number: int, edit) -> list:
    records = copy.deepcopy(RECORDS)
    edit(records[number])
    return records


def text(record) -> None:
    record["conversations"][1]["value"] = "A cat."


def compared(tmp_path, records) -> diff.Diff:
    for name, rows in (("a.json", RECORDS), ("b.json", records)):
        (tmp_path / name).write_text(json.dumps(rows, indent=1 if name == "a.json" else None))
    return diff.compare(tmp_path / "a.json", tmp_path / "b.json")


def test_only_text_differs(tmp_path):
    found = compared(tmp_path, change(2, text))
    assert found.text_alone and found.texts == 1 and found.records == (6, 6)
    assert found.examples == [("v2", "A dog 2 runs.", "A cat.")]
    assert found.words == (24, 22) and str(found).endswith("only text differs")
    same = compared(tmp_path, RECORDS)
    assert same.text_alone and str(same).endswith("all the same")


@pytest.mark.parametrize(
    ("edit", "check", "place"),
    [
        (lambda r: r.update(id="x"), "order and ids", "record 3 (v2): v2 | x"),
        (lambda r: r.update(video="x"), "videos", 'record 3 (v2): {"video": "2.mp4"} | {"video"'),
        (lambda r: r.update(bounds=[0, 1]), "videos", "record 3 (v2)"),
        (lambda r: r["conversations"][0].update(value="<image>\nHow?"), "questions", "record 3"),
        (lambda r: r["conversations"].append({"from": "human", "value": "x"}), "questions", "rec"),
        (lambda r: r["conversations"][1].update(weight=2), "questions", "record 3"),
        (lambda r: r.update(model="m"), "other fields", 'record 3 (v2): {} | {"model": "m"}'),
    ],
)
def test_what_else_differs_is_named(edit, check, place, tmp_path):
    found = compared(tmp_path, change(2, edit))
    assert [name for name, n in found.differ.items() if n] == [check]
    assert found.differ[check] == 1 and found.first[check][0].startswith(place)
    assert not found.text_alone and str(found).endswith("more than text differs")


def test_count_and_order(tmp_path):
    fewer = compared(tmp_path, RECORDS[:4])
    assert fewer.differ["records"] == 2 and fewer.records == (6, 4)
    assert "records: 6 and 4" in str(fewer)
    swapped = compared(tmp_path, [*RECORDS[1:], RECORDS[0]])
    assert swapped.other_order and swapped.differ["order and ids"] == 6
    assert "(the same ids in another order)" in str(swapped)
    other = compared(tmp_path, change(0, lambda r: r.update(id="new")))
    assert not other.other_order


def test_what_cannot_be_compared(tmp_path):
    with pytest.raises(RecordError, match="is llava_json, .* is osp"):
        diff.compare(GOLDEN / "llava.json", GOLDEN / "osp.json")
    (tmp_path / "a.jsonl").write_text('{"id": 1, "caption": "x"}\n{broken\n')
    with pytest.raises(RecordError, match="a.jsonl: line 2: not JSON"):
        diff.compare(tmp_path / "a.jsonl", tmp_path / "a.jsonl")


@pytest.mark.parametrize("name", sorted(p.name for p in GOLDEN.iterdir()))
def test_text_of_every_format(name, tmp_path):
    """A change within a caption is text; a change of anything else is not."""
    whole = (GOLDEN / name).read_bytes()
    other = tmp_path / name
    other.write_bytes(whole.replace(b"picks", b"lifts").replace(b"falls, twice", b"drops, once"))
    found = diff.compare(GOLDEN / name, other)
    assert found.text_alone and found.texts >= 1, str(found)
    other.write_bytes(whole.replace(b"ball.mp4", b"cube.mp4").replace(b"Ab3", b"Ab4")
                      .replace(b'"video_id": "ball"', b'"video_id": "cube"'))  # fmt: skip
    assert not diff.compare(GOLDEN / name, other).text_alone


def test_the_page(tmp_path):
    alone = compared(tmp_path, change(2, text))
    more = compared(tmp_path, change(3, lambda r: r.update(video="<script>")))
    proof.page([alone, more]).save(tmp_path / "x.html")
    html = (tmp_path / "x.html").read_text()
    assert "More than text differs" in html and "A cat." in html and "<script>" not in html
    assert "1 differ" in html and "the same" in html


def test_arms_that_differ_in_more_are_refused(tmp_path):
    compared(tmp_path, change(2, lambda r: r.update(video="x")))
    report = {"arms": {"a": {"file": "a.json"}, "b": {"file": "b.json"}}}
    with pytest.raises(RecordError, match="the arms differ in more than text"):
        proof.write(tmp_path, report)
    assert json.loads((tmp_path / "diff.json").read_text())[0]["text_alone"] is False
    assert proof.write(tmp_path, {"arms": {"a": {"file": "a.json"}}}) == []
