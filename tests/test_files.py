"""Files are written whole or not at all, read with the line that is wrong, and stay in their root."""

from __future__ import annotations

import json
import pathlib

import pytest

from sg4v_jax import files
from sg4v_jax.errors import RecordError, StorageError, UnsafePathError


def test_a_written_file_replaces_the_old_one_and_leaves_nothing_else(tmp_path):
    target = tmp_path / "new" / "folder" / "a.txt"
    files.write_atomic(target, "old")
    files.write_atomic(target, b"\x00new")
    assert target.read_bytes() == b"\x00new"
    assert [p.name for p in target.parent.iterdir()] == ["a.txt"]


def test_a_full_disk_leaves_the_old_file(tmp_path, small_disk):
    target = tmp_path / "a.txt"
    files.write_atomic(target, "old")
    with small_disk(100), pytest.raises(StorageError, match="a.txt: File too large") as error:
        files.write_atomic(target, "x" * 1000)
    assert "earlier file is unchanged" in error.value.mend
    assert target.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]


def test_a_failed_rename_leaves_the_old_file(tmp_path, monkeypatch):
    target = files.path(tmp_path / "a.txt")
    files.write_atomic(target, "old")

    def refuse(self, other):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(type(target), "replace", refuse)
    with pytest.raises(StorageError, match="Permission denied"):
        files.write_atomic(target, "new")
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]
    assert pathlib.Path(target).read_text() == "old"


def test_a_folder_that_is_a_file_is_said(tmp_path):
    (tmp_path / "a").write_text("")
    with pytest.raises(StorageError, match="cannot write"):
        files.write_atomic(tmp_path / "a" / "b", "x")


def test_json_round_trip(tmp_path):
    value = {"b": [1, None], "a": "Größe"}
    files.write_json(tmp_path / "x.json", value)
    assert files.read_json(tmp_path / "x.json") == value
    assert "Größe" in (tmp_path / "x.json").read_text(encoding="utf-8")


def test_broken_json_names_file_and_line(tmp_path):
    (tmp_path / "x.json").write_text('{\n "a": 1,\n}')
    with pytest.raises(RecordError, match=r"x\.json: line 3: not JSON"):
        files.read_json(tmp_path / "x.json")


def test_a_row_may_hold_any_character(tmp_path):
    """U+2028, U+0085 and a form feed end a line for Python's splitlines, but no row."""
    text = "one\u2028two\u0085three\x0cfour"
    lines = json.dumps({"a": text}, ensure_ascii=False) + "\r\n" + json.dumps({"a": 2}) + "\n"
    files.write_atomic(tmp_path / "x.jsonl", lines)
    assert files.read_jsonl(tmp_path / "x.jsonl") == [{"a": text}, {"a": 2}]


@pytest.mark.parametrize("read", [files.read_json, files.read_jsonl])
def test_a_missing_file_is_named(tmp_path, read):
    with pytest.raises(RecordError, match=r"nothing\.json: no such file"):
        read(tmp_path / "nothing.json")


def test_json_lines_skip_blank_ones(tmp_path):
    (tmp_path / "x.jsonl").write_text('{"a": 1}\n\n  \n{"a": 2}\n')
    assert files.read_jsonl(tmp_path / "x.jsonl") == [{"a": 1}, {"a": 2}]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"a": 1}\n\n{"a": \n', r"x\.jsonl: line 3: not JSON"),
        ('{"a": 1}\n[2]\n', r"x\.jsonl: line 2: expected an object, got \[2\]"),
    ],
)
def test_a_bad_line_is_named(tmp_path, text, message):
    (tmp_path / "x.jsonl").write_text(text)
    with pytest.raises(RecordError, match=message):
        files.read_jsonl(tmp_path / "x.jsonl")


@pytest.mark.parametrize("inside", ["a.mp4", "deep/er/a.mp4", "./a.mp4", "..a.mp4", "a..b/c.mp4"])
def test_paths_within_the_root(tmp_path, inside):
    joined = files.safe_join(tmp_path, inside)
    assert pathlib.Path(joined) == tmp_path / inside


@pytest.mark.parametrize(
    "outside",
    [
        "../a",
        "a/../../b",
        "a/..",
        "/etc/passwd",
        "..\\a",
        "gs://bucket/a",
        "file:///a",
        "a\0b",
        "link/a",
    ],
)
def test_paths_that_leave_the_root(tmp_path, outside):
    root = tmp_path / "root"
    root.mkdir()
    (root / "link").symlink_to(tmp_path)
    with pytest.raises(UnsafePathError) as error:
        files.safe_join(root, outside, where="x.json: record '7': field 'image'")
    assert error.value.message.startswith("x.json: record '7': field 'image': path ")
    assert repr(outside) in error.value.message
    assert str(root) in error.value.message


def test_a_link_that_stays_within_is_followed(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    assert files.safe_join(tmp_path, "link/a") == str(tmp_path / "link" / "a")


def test_a_root_in_the_cloud_is_joined_by_text():
    assert files.safe_join("gs://bucket/data", "a/b.mp4") == "gs://bucket/data/a/b.mp4"
    with pytest.raises(UnsafePathError):
        files.safe_join("gs://bucket/data", "../other/b.mp4")


def test_assets_are_files_of_the_package():
    tokenizer = files.path("asset:world/tokenizer.json")
    assert tokenizer.is_file()
    assert tokenizer.parent.parent.name == "assets"


def test_absolute_paths(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert str(files.absolute("a/b")) == str(tmp_path.resolve() / "a" / "b")
    assert str(files.absolute("gs://bucket/a")) == "gs://bucket/a"  # not behind the folder


def test_text_is_appended(tmp_path, small_disk):
    files.append(tmp_path / "log", "one\n")
    files.append(tmp_path / "log", "two\n")
    with small_disk(4), pytest.raises(StorageError, match="cannot write .*log: File too large"):
        files.append(tmp_path / "log", "three\n")
    assert (tmp_path / "log").read_text() == "one\ntwo\n"


def test_a_local_file_is_moved_whole(tmp_path):
    (tmp_path / "new").write_bytes(b"new")
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "x").write_bytes(b"old")
    files.put(tmp_path / "new", tmp_path / "there" / "x")
    assert (tmp_path / "there" / "x").read_bytes() == b"new"
    with pytest.raises(StorageError, match="cannot write"):
        files.put(tmp_path / "gone", tmp_path / "there" / "y")
    assert [p.name for p in (tmp_path / "there").iterdir()] == ["x"]
