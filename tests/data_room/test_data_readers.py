"""Annotation files: what is read from them, and what is refused with which words."""

from __future__ import annotations

import json
import os

import pytest

from sg4v_jax.data.readers import read_llava_json
from sg4v_jax.data.record import Visual
from sg4v_jax.errors import RecordError, UnsafePathError
from sg4v_jax.text.chat import Turn

TALK = [{"from": "human", "value": "<image>\nWhat?"}, {"from": "gpt", "value": "A ball."}]


@pytest.fixture
def read(tmp_path):
    """`read(record, ...)`: the records of a file that holds these."""

    def read(*items, root=tmp_path):
        file = tmp_path / "a.json"
        file.write_text(json.dumps(list(items)))
        return read_llava_json(file, root=root)

    return read


def test_a_video_record(read, tmp_path):
    [record] = read({"id": "v1", "video": "clips/v1.mp4", "conversations": TALK})
    assert record.id == "v1"
    assert record.visuals == (Visual("video", str(tmp_path / "clips/v1.mp4")),)
    assert record.turns == (Turn("user", "<image>\nWhat?"), Turn("assistant", "A ball."))
    assert record.where == f"{tmp_path / 'a.json'}: record 'v1'"


def test_records_without_an_id_are_numbered(read):
    records = read({"conversations": dialogue("Hi", "Ho")}, {"conversations": TALK})
    assert [r.id for r in records] == ["0", "1"]
    assert records[0].visuals == ()


def dialogue(*contents: str) -> list[dict]:
    return [{"from": ("human", "gpt")[i % 2], "value": c} for i, c in enumerate(contents)]


def test_text_alone_needs_no_visual(read):
    [record] = read({"id": 7, "conversations": dialogue("Hi", "Ho", "Who?", "Me")})
    assert record.id == "7" and record.visuals == ()
    assert [t.content for t in record.turns] == ["Hi", "Ho", "Who?", "Me"]


def test_a_single_image_moves_to_the_front_of_its_message(read):
    talk = dialogue("Look <image> here", "Yes")
    [record] = read({"image": "a.png", "conversations": talk})
    assert record.turns[0].content == "<image>\nLook  here"


def test_of_several_images_each_stays_where_it_was_written(read):
    talk = dialogue("First <image> then <image>", "Yes", "And <image>?", "No")
    items = {"image": ["a.png", "b.png"], "video": "c.mp4", "conversations": talk}
    [record] = read(items)
    assert [t.content for t in record.turns] == [t["value"] for t in talk]
    assert [(v.kind, v.path[-5:]) for v in record.visuals] == [
        ("image", "a.png"),
        ("image", "b.png"),
        ("video", "c.mp4"),
    ]


@pytest.mark.parametrize(
    "path", ["../a.mp4", "clips/../../a.mp4", "/etc/passwd", "gs://bucket/a.mp4", "..\\a.mp4"]
)
@pytest.mark.parametrize("field", ["image", "video"])
def test_paths_that_leave_the_root_are_refused(read, field, path):
    with pytest.raises(UnsafePathError) as caught:
        read({"id": "bad", field: path, "conversations": TALK})
    assert f"a.json: record 'bad': field '{field}': path {path!r}" in str(caught.value)
    assert "mend: use a path relative to the data root" in str(caught.value)


def test_a_link_that_leads_out_of_the_root_is_refused(read, tmp_path):
    (tmp_path / "outside").mkdir()
    (tmp_path / "root").mkdir()
    os.symlink(tmp_path / "outside", tmp_path / "root" / "clips")
    item = {"id": "bad", "video": "clips/a.mp4", "conversations": TALK}
    with pytest.raises(UnsafePathError, match="'clips/a.mp4' leaves its root"):
        read(item, root=tmp_path / "root")
    os.symlink(tmp_path / "outside", tmp_path / "inside")
    [record] = read(item | {"video": "inside/a.mp4"}, root=tmp_path)
    assert record.visuals[0].path == str(tmp_path / "inside/a.mp4")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"conversations": None}, "field 'conversations' is None"),
        ({"conversations": []}, "field 'conversations' is \\[\\]"),
        ({"conversations": "hello"}, "field 'conversations' is 'hello'"),
        ({"conversations": [TALK[0], TALK[0]]}, "turn 1: 'from' is 'human' again"),
        ({"conversations": TALK + TALK[1:]}, "turn 2: 'from' is 'gpt' again"),
        ({"conversations": TALK[1:]}, "no human turn"),
        ({"conversations": [{"from": "robot", "value": "x"}]}, "turn 0: 'from' is 'robot'"),
        ({"conversations": [{"from": "human", "value": 3}]}, "turn 0: 'value' is 3"),
        ({"conversations": ["hi"]}, "turn 0: 'from' is 'hi'"),
        ({"video": 5}, "field 'video': expected a path, got 5"),
        ({"video": None}, "field 'video': expected a path, got None"),
        ({"image": ["a.png", 5]}, "field 'image': expected a path, got 5"),
        ({"image": {"path": "a.png"}}, "field 'image': expected a path, got {'path'"),
        ({"video": ""}, "field 'video': expected a path, got ''"),
        ({"video": "."}, "field 'video': expected a path, got '.'"),
        ({"video": "a.mp4", "bounds": [3, 2]}, "field 'bounds': {'bounds': .3, 2.} is no stretch"),
        ({"video": "a.mp4", "bounds": [-1, 2]}, "field 'bounds': .* is no stretch of time"),
        ({"video": "a.mp4", "bounds": [0, True]}, "field 'bounds': .* is no stretch of time"),
        ({"video": "a.mp4", "bounds": [0, 10**400]}, "field 'bounds': .* is no stretch of time"),
        ({"video": "a.mp4", "bounds": "12"}, "field 'bounds': .* is no stretch of time"),
        ({"video": "a.mp4", "start": 3}, "field 'start': {'start': 3} is no stretch of time"),
        ({"video": "a.mp4", "fps": 0}, "field 'fps': expected frames a second, got 0"),
        ({"video": "a.mp4", "fps": "3"}, "field 'fps': expected frames a second, got '3'"),
        ({"image": "a.png", "bounds": [0, 2]}, "bounds or fps without a video"),
    ],
)
def test_a_record_that_cannot_be_used(read, change, message):
    good = {"id": "fine", "conversations": TALK}
    with pytest.raises(RecordError, match=f"a.json: record 'bad': {message}") as caught:
        read(good, {"id": "bad", "conversations": TALK} | change)
    assert caught.value.mend


@pytest.mark.parametrize("given", [{"bounds": [1.5, 4]}, {"start": 1.5, "end": 4}])
def test_a_stretch_of_a_video(read, tmp_path, given):
    visuals = {"image": "a.png", "video": "frames"} | given | {"fps": 3}
    [record] = read(visuals | {"conversations": TALK})
    assert record.visuals == (
        Visual("image", str(tmp_path / "a.png")),
        Visual("video", str(tmp_path / "frames"), bounds=(1.5, 4.0), fps=3.0),
    )


def test_records_of_one_id_are_told_apart(read):
    # The published mix uses a video's name as the id of every question about it.
    records = read(*({"id": name, "conversations": TALK} for name in ("v", "w", "v", "v")))
    assert [r.where.partition(": ")[2] for r in records] == [
        "record 'v'",
        "record 'w'",
        "record 'v' (occurrence 2)",
        "record 'v' (occurrence 3)",
    ]


@pytest.mark.parametrize("name", [["a"], {"a": 1}, True])
def test_an_id_that_is_no_name(read, name):
    with pytest.raises(RecordError, match="a.json: record 0: field 'id': expected text, got"):
        read({"id": name, "conversations": TALK})


@pytest.mark.parametrize("speaker", [["human"], {"gpt": 1}, None, 3])
def test_a_speaker_that_is_no_text(read, speaker):
    with pytest.raises(RecordError, match="record 'x': turn 0: 'from' is"):
        read({"id": "x", "conversations": [{"from": speaker, "value": "Hi"}, TALK[1]]})


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "a.json: the file is empty"),
        (b" \n ", "a.json: the file is empty"),
        (b'[{"id": "caf\xe9"}]', "a.json: byte 12 is 0xe9, not UTF-8"),
        ("[]".encode("utf-16"), "a.json: the text is UTF-16"),
        (b"[" * 100_000, "a.json: brackets are nested too deep"),
        (b"[" + b'{"a":' * 20 + b"1" + b"}" * 20 + b"]", "record 0: brackets are nested deeper"),
        (b'[{"id": ' + b"9" * 5000 + b"}]", "a.json: Exceeds the limit"),
        (b'[{"id": "\\ud800"}]', r"a.json: an escape \\ud800 is half a character"),
    ],
)
def test_a_file_that_is_no_text_or_hostile(tmp_path, content, message):
    file = tmp_path / "a.json"
    file.write_bytes(content)
    with pytest.raises(RecordError, match=message) as caught:
        read_llava_json(file, root=tmp_path)
    assert caught.value.mend


def test_a_byte_order_mark_is_taken_off(tmp_path):
    file = tmp_path / "a.json"
    file.write_text(json.dumps([{"id": "x", "conversations": TALK}]), encoding="utf-8-sig")
    assert [r.id for r in read_llava_json(file, root=tmp_path)] == ["x"]


def test_a_folder_in_place_of_the_file(tmp_path):
    with pytest.raises(RecordError, match="cannot be read") as caught:
        read_llava_json(tmp_path, root=tmp_path)
    assert str(tmp_path) in str(caught.value)


def test_a_record_without_conversations(read):
    with pytest.raises(RecordError, match="record 'bad': field 'conversations' is None"):
        read({"id": "bad", "video": "a.mp4"})


@pytest.mark.parametrize("item", ["text", 3, None, ["list"]])
def test_a_record_that_is_no_object(read, item):
    with pytest.raises(RecordError, match="a.json: record 1: expected an object"):
        read({"conversations": TALK}, item)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"id": "v1"}', "expected a JSON list of records, got dict"),
        ("3", "expected a JSON list of records, got int"),
        ('[{"id": "v1"},\n oops]', "line 2: not JSON"),
    ],
)
def test_a_file_that_is_no_list(tmp_path, text, message):
    file = tmp_path / "a.json"
    file.write_text(text)
    with pytest.raises(RecordError, match=message) as caught:
        read_llava_json(file, root=tmp_path)
    assert str(file) in str(caught.value) and caught.value.mend


def test_a_missing_file(tmp_path):
    with pytest.raises(RecordError, match="none.json: no such file"):
        read_llava_json(tmp_path / "none.json", root=tmp_path)
