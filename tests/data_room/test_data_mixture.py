"""Parts of a mix: from a config's dicts to records that know their part."""

from __future__ import annotations

import json

import ml_collections
import pytest

from sg4v_jax.data.mixture import Part, parts_of, read_mix, read_part
from sg4v_jax.errors import ConfigError, RecordError, UnsafePathError

LINE = {"id": "x", "video": "a.mp4", "prompt": "What?", "answer": "A ball."}
TALK = [{"from": "human", "value": "<image>\nWhat?"}, {"from": "gpt", "value": "A ball."}]


@pytest.fixture
def lines(tmp_path):
    """A plain JSONL file of two records, one of them text alone."""
    file = tmp_path / "plain.jsonl"
    words = {"id": "y", "prompt": "Hi", "answer": "Ho"}
    file.write_text(f"{json.dumps(LINE)}\n{json.dumps(words)}\n")
    return str(file)


@pytest.fixture
def llava(tmp_path):
    file = tmp_path / "train.json"
    file.write_text(json.dumps([{"id": "z", "image": "a.png", "conversations": TALK}]))
    return str(file)


def test_parts_from_a_run_config(lines, llava):
    config = ml_collections.ConfigDict()
    config.data = ml_collections.ConfigDict(
        dict(
            annotations=(llava,),
            root="",
            parts=(
                dict(name="plain", file=lines, format="jsonl", root="videos", expected=2),
                ml_collections.ConfigDict(dict(name="other", file="b.json")),
            ),
        )
    )
    first, second, third = parts_of(config.data)
    assert first == Part(name="train", file=llava, format="llava_json")
    assert (second.name, second.format, second.folder, second.expected) == (
        "plain",
        "jsonl",
        "videos",
        2,
    )
    assert third.folder == "." and first.folder == str(llava).rpartition("/")[0]


def test_the_short_form_has_one_root_for_all(llava):
    [part] = parts_of({"annotations": (llava,), "root": "videos"})
    assert part.folder == "videos"
    two = parts_of({"annotations": ("a/train.json", "b/train.json")})
    assert [p.name for p in two] == ["a/train.json", "b/train.json"]
    assert parts_of({}) == ()


def test_records_know_their_part(lines, llava):
    parts = parts_of(
        {"annotations": [llava], "parts": [dict(name="p", file=lines, format="jsonl")]}
    )
    records = read_mix(parts)
    assert [(r.part, r.id) for r in records] == [("train", "z"), ("p", "x"), ("p", "y")]
    assert records[0].source == llava


def test_a_preamble_stands_where_chat_puts_it(lines):
    part = Part(name="p", file=lines, format="jsonl", preamble="A grid. ")
    seen, words = read_part(part)
    assert seen.turns[0].content == "<image>\nA grid. What?"
    assert seen.turns[1].content == "A ball." and words.turns[0].content == "Hi"


def test_the_seed_reaches_the_reader(tmp_path):
    file = tmp_path / "c.jsonl"
    file.write_text(
        "".join(json.dumps({"id": i, "video": "a", "caption": "x"}) + "\n" for i in range(20))
    )
    part = Part(name="p", file=str(file), format="jsonl")
    asked = [[r.turns[0].content for r in read_part(part, seed=seed)] for seed in (0, 0, 1)]
    assert asked[0] == asked[1] != asked[2]


@pytest.mark.parametrize(
    ("change", "message", "mend"),
    [
        ({"fromat": "jsonl"}, r"data.parts\[0\]: field 'fromat' is unknown", "'format'"),
        ({"zzz": 1}, r"data.parts\[0\]: field 'zzz' is unknown", "use name, file, format"),
        ({"format": "csv"}, "data part 'p': format 'csv' is unknown", "llava_json"),
        ({"format": None}, "data part 'p': field 'format' is None", "text"),
        ({"expected": "45K"}, "data part 'p': field 'expected' is '45K'", "whole number"),
        ({"expected": True}, "data part 'p': field 'expected' is True", "whole number"),
        ({"root": 3}, "data part 'p': field 'root' is 3", "text"),
        ({"name": ""}, "data part '': name and file must be given", "name"),
    ],
)
def test_a_part_that_cannot_be_used(change, message, mend):
    with pytest.raises(ConfigError, match=message) as caught:
        parts_of({"parts": [dict(name="p", file="a.json") | change]})
    assert mend in caught.value.mend


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        (["a.json"], r"data.parts\[0\]: expected a dict, got 'a.json'"),
        ([dict(name="p", file="a"), dict(name="q")], r"data.parts\[1\]: field 'file' is missing"),
        ([dict(file="a")], r"data.parts\[0\]: field 'name' is missing"),
        ([dict(name="p", file="a"), dict(name="p", file="b")], "2 parts have the name 'p'"),
    ],
)
def test_a_list_of_parts_that_cannot_be_used(parts, message):
    with pytest.raises(ConfigError, match=message) as caught:
        parts_of({"parts": parts})
    assert caught.value.mend


def test_a_missing_file_is_said_with_where_to_get_it(tmp_path):
    part = Part(
        name="clevrer",
        file=str(tmp_path / "none.json"),
        source="http://clevrer.csail.mit.edu",
        licence="CC0",
        next_step="download it",
    )
    with pytest.raises(
        RecordError, match="data part 'clevrer': .*none.json: no such file"
    ) as caught:
        read_part(part)
    about = "source: http://clevrer.csail.mit.edu; licence: CC0; next step: download it"
    assert about in caught.value.mend


def test_errors_keep_their_type(tmp_path):
    (tmp_path / "a.jsonl").write_text(json.dumps(LINE | {"video": "../a.mp4"}))
    with pytest.raises(UnsafePathError, match="data part 'p': .*record 'x': field 'video'"):
        read_part(Part(name="p", file=str(tmp_path / "a.jsonl"), format="jsonl"))


def test_a_mix_without_parts():
    with pytest.raises(ConfigError, match="there is no training data"):
        read_mix(())


@pytest.mark.parametrize(
    ("expected", "found", "short"),
    [(0, 0, False), (10, 9, True), (10, 10, False), (10, 11, False)]
    + [(45_000, 44_500, False), (45_000, 44_499, True), (45_001, 45_000, True)],
)
def test_expected_numbers_in_thousands_are_rounded(expected, found, short):
    assert Part(name="p", file="a", expected=expected).is_short(found) == short
