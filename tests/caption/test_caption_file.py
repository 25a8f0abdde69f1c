"""Caption files of every form; what cannot be used is named and counted, the rest is read."""

from __future__ import annotations

import json

import pytest

from sg4v_jax.caption.caption_file import SHORT, counted, read_captions
from sg4v_jax.errors import RecordError


def lines(*rows) -> bytes:
    return b"".join(r if isinstance(r, bytes) else json.dumps(r).encode() + b"\n" for r in rows)


def test_rows_of_caption_run_in_the_files_order(tmp_path):
    file = tmp_path / "captions.jsonl"
    rows = [
        {"id": "b", "caption_detailed": " A dog runs. ", "caption_short": "a dog", "source": "v"},
        {"id": 7, "caption": "two"},
    ]
    file.write_bytes(lines(*rows) + b"\n\n")
    captions = read_captions(file)
    assert captions.texts == {"b": "A dog runs.", "7": "two"} and not captions.problems
    assert captions.rows["b"] == rows[0]
    assert read_captions(file, fields=SHORT).texts["b"] == "a dog"


@pytest.mark.parametrize(
    "value",
    [
        {"a": "A dog."},
        [{"id": "a", "conversations": [{"from": "human", "value": "?"},
                                       {"from": "gpt", "value": "A dog."}]}],
        [{"video_id": "a", "captions": [{"idx": "0", "content": "x"},
                                        {"idx": "-1", "content": "A dog."}]}],
    ],
)  # fmt: skip
def test_other_forms(tmp_path, value):
    (tmp_path / "c.json").write_text(json.dumps(value))
    assert read_captions(tmp_path / "c.json").texts == {"a": "A dog."}


def test_every_kind_of_bad_row_is_named_and_none_is_lost(tmp_path):
    file = tmp_path / "captions.jsonl"
    file.write_bytes(
        lines(
            {"id": "good", "caption": "a", "keyframe_times": [0, 1.5, 2], "start": 0, "end": 3},
            b'{"id": "l1", "caption": "caf\xe9"}\n',
            b'{"id": "cut", "cap\n',
            {"caption": "no id"},
            {"id": "good", "caption": "again"},
            {"id": "failed", "caption": "", "error": "CorruptVideoError"},
            {"id": "none", "times": []},
            {"id": "empty", "caption": " \n"},
            {"id": "number", "caption": 3},
            {"id": "back", "caption": "x", "keyframe_times": [0, 2, 1]},
            {"id": "twice", "caption": "x", "keyframe_times": [0, 0]},
            {"id": "nan", "caption": "x", "keyframe_times": ["soon"]},
            {"id": "reversed", "caption": "x", "start": 3, "end": 2},
            {"id": "half", "caption": "\ud800"},
            ["a", "list"],
            {"id": "empty", "caption": "mended"},
        )
    )
    captions = read_captions(file)
    assert captions.texts == {"good": "a", "empty": "mended"}
    found = {kind: value["count"] for kind, value in captions.counted().items()}
    assert found == {
        "not UTF-8": 2,
        "not JSON": 1,
        "not an object": 1,
        "no id": 1,
        "duplicate id": 1,
        "failed": 1,
        "no caption": 2,
        "empty caption": 1,
        "times out of order": 4,
    }
    assert captions.counted()["not UTF-8"]["first"][0].endswith("captions.jsonl: line 2")
    assert captions.counted()["failed"]["first"] == [f"{file}: line 6 (failed)"]
    unusable = ["failed", "none", "number", "back", "twice", "nan", "reversed", "half"]
    assert list(captions.unusable()) == unusable
    assert len(captions.texts) + len(captions.problems) == 16


def test_reports_name_the_first_few(tmp_path):
    (tmp_path / "c.jsonl").write_bytes(lines(*({"id": str(i)} for i in range(9))))
    report = counted(read_captions(tmp_path / "c.jsonl").problems)
    assert report["no caption"]["count"] == 9 and len(report["no caption"]["first"]) == 5


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("c.jsonl", b"\n", "holds no captions"),
        ("c.json", b"[]", "holds no captions"),
        ("c.json", b"3", "expected a list"),
        ("c.json", b'{"a": "caf\xe9"}', "not JSON in UTF-8"),
        ("other.json", b"", "no such file"),
    ],
)
def test_files_that_cannot_be_used_at_all(tmp_path, name, content, message):
    (tmp_path / name.replace("other", "c")).write_bytes(content)
    with pytest.raises(RecordError, match=message):
        read_captions(tmp_path / name)
