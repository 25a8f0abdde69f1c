"""The readers of other formats than LLaVA's: JSONL, captions, VideoChatGPT."""

from __future__ import annotations

import json
from collections import Counter

import pytest

from sg4v_jax.data.readers import (
    READERS,
    read_jsonl,
    read_sharegpt4video_jsonl,
    read_videochatgpt_json,
)
from sg4v_jax.data.readers.sharegpt4video import CAPTION_PROMPTS
from sg4v_jax.data.record import Visual
from sg4v_jax.errors import RecordError, UnsafePathError
from sg4v_jax.text.chat import Turn

CAPTIONS = [{"idx": "0", "content": "A cat."}, {"idx": "-1", "content": "A cat runs, then sits."}]
VIDEO = {"video_id": "a1", "video_path": "panda/a1.mp4", "captions": CAPTIONS}
ASKED = {"q": "What is shown?", "a": "A man.", "video_id": "v_1"}
PLAIN = {"id": "x", "video": "a.mp4", "prompt": "What?", "answer": "A ball."}


@pytest.fixture
def lines(tmp_path):
    """`lines(read, item, ...)`: the records of a JSONL file that holds these, one a line."""

    def read_lines(read, *items, **options):
        file = tmp_path / "a.jsonl"
        file.write_text("".join(json.dumps(item) + "\n\n" for item in items))
        return read(file, root=tmp_path, **options)

    return read_lines


def test_every_reader_is_called_alike(tmp_path):
    for read in READERS.values():
        with pytest.raises(RecordError, match="none: no such file"):
            read(tmp_path / "none", root=tmp_path, seed=3)


def test_a_published_caption(lines, tmp_path):
    [record] = lines(read_sharegpt4video_jsonl, VIDEO | {"keyframe": [0], "timestamp": ["0"]})
    assert record.id == "a1"
    assert record.visuals == (Visual("video", str(tmp_path / "panda/a1.mp4")),)
    asked, said = record.turns
    assert asked.role == "user" and asked.content.startswith("<image>\n")
    assert asked.content.removeprefix("<image>\n") in CAPTION_PROMPTS
    assert said == Turn("assistant", "A cat runs, then sits.")


def test_caption_prompts_are_drawn_by_seed_and_id_alone(lines):
    items = [VIDEO | {"video_id": f"v{i}"} for i in range(160)]

    def prompts(items, seed):
        records = lines(read_sharegpt4video_jsonl, *items, seed=seed)
        return {r.id: r.turns[0].content for r in records}

    first = prompts(items, 0)
    assert prompts(items[::-1], 0) == first
    assert prompts(items, 1) != first
    assert len(CAPTION_PROMPTS) == len(set(CAPTION_PROMPTS))
    counted = Counter(first.values())
    assert len(counted) == len(CAPTION_PROMPTS) and max(counted.values()) < 60


@pytest.mark.parametrize(
    ("there", "expected"),
    [
        (["panda/a1.mp4", "panda_videos_1/a1.mp4"], "panda/a1.mp4"),
        (["panda_videos_1/a1.mp4"], "panda_videos_1/a1.mp4"),
        ([], "panda/a1.mp4"),
    ],
)
def test_a_video_unpacked_into_the_folder_of_its_archive(lines, tmp_path, there, expected):
    for name in there:
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_bytes(b"x")
    [record] = lines(read_sharegpt4video_jsonl, VIDEO | {"zip_folder": "panda_videos_1.zip"})
    assert record.visuals[0].path == str(tmp_path / expected)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"video_id": 3}, "a.jsonl: line 3: field 'video_id': expected text, got 3"),
        ({"video_path": None}, "record 'a1': field 'video_path': expected a path, got None"),
        ({"zip_folder": 4}, "record 'a1': field 'zip_folder': expected text, got 4"),
        ({"captions": None}, "field 'captions': expected a list of objects, got None"),
        ({"captions": ["A cat."]}, "field 'captions': expected a list of objects"),
        ({"captions": CAPTIONS[:1]}, "field 'captions': 0 of 1 have idx '-1'"),
        ({"captions": CAPTIONS[1:] * 2}, "field 'captions': 2 of 2 have idx '-1'"),
        ({"captions": [{"idx": "-1"}]}, "field 'captions': field 'content': expected text"),
    ],
)
def test_a_published_caption_that_cannot_be_used(lines, change, message):
    with pytest.raises(RecordError, match=message) as caught:
        lines(read_sharegpt4video_jsonl, VIDEO, VIDEO | change)
    assert caught.value.mend


@pytest.mark.parametrize(
    "change",
    [{"video_path": "../a.mp4"}, {"zip_folder": "../x.zip", "video_path": "/etc/passwd"}],
)
def test_a_published_caption_whose_video_leaves_the_root(lines, change):
    with pytest.raises(UnsafePathError, match="record 'a1': field 'video_path'"):
        lines(read_sharegpt4video_jsonl, VIDEO | change)


def test_questions_of_videochatgpt(tmp_path):
    file, root = tmp_path / "q.json", tmp_path / "videos"
    root.mkdir()
    for name in ("v_1.mkv", "v_2.webm", "v_2.mp4", "v_1.txt"):
        (root / name).write_bytes(b"x")
    (root / "v_3").mkdir()
    items = [ASKED | {"video_id": f"v_{i}"} for i in (1, 2, 3, 4, 1)]
    file.write_text(json.dumps(items))
    records = read_videochatgpt_json(file, root=root)
    names = ["v_1.mkv", "v_2.mp4", "v_3", "v_4.mp4", "v_1.mkv"]
    assert [r.visuals for r in records] == [(Visual("video", str(root / n)),) for n in names]
    expected = (Turn("user", "<image>\nWhat is shown?"), Turn("assistant", "A man."))
    assert all(r.turns == expected for r in records)
    assert records[4].where.endswith("record 'v_1' (occurrence 2)")
    # Without the folder every video is missing, which the index pass then says of each.
    assert read_videochatgpt_json(file, root=tmp_path / "none")[0].id == "v_1"


@pytest.mark.parametrize("name", ["../v_1", "a/b", "..", "", "/etc/passwd"])
def test_a_videochatgpt_id_is_a_name_and_no_path(tmp_path, name):
    (tmp_path / "q.json").write_text(json.dumps([ASKED | {"video_id": name}]))
    with pytest.raises(RecordError, match="field 'video_id': .* is no name of a file"):
        read_videochatgpt_json(tmp_path / "q.json", root=tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [({"q": 1}, "record 'v_1': field 'q'"), ({"a": None}, "field 'a': expected text, got None")],
)
def test_a_videochatgpt_question_that_cannot_be_used(tmp_path, change, message):
    (tmp_path / "q.json").write_text(json.dumps([ASKED | change]))
    with pytest.raises(RecordError, match=message):
        read_videochatgpt_json(tmp_path / "q.json", root=tmp_path)


def test_plain_lines(lines, tmp_path):
    records = lines(
        read_jsonl,
        PLAIN,
        {"video": "b.mp4", "bounds": [1, 2], "question": "Who?", "caption": "A dog."},
        {"image": ["c.png", "d.png"], "prompt": "First <image>, then <image>?", "answer": "No."},
        {"image": "c.png", "prompt": "In <image>?", "answer": "Yes."},
        {"id": 7, "prompt": "Hi", "answer": "Ho"},
        {"image": ["c.png", "d.png"], "prompt": "Alike?", "answer": "No."},
    )
    assert [r.id for r in records] == ["x", "1", "2", "3", "7", "5"]
    assert [r.turns[0].content for r in records] == [
        "<image>\nWhat?",
        "<image>\nWho?",
        "First <image>, then <image>?",
        "<image>\nIn ?",
        "Hi",
        "<image>\n<image>\nAlike?",
    ]
    assert [r.turns[1].content for r in records[:2]] == ["A ball.", "A dog."]
    assert records[1].visuals == (Visual("video", str(tmp_path / "b.mp4"), bounds=(1, 2)),)
    assert [len(r.visuals) for r in records] == [1, 1, 2, 1, 0, 2]


def test_a_caption_alone_is_asked_for(lines):
    [record] = lines(read_jsonl, {"id": "x", "video": "a.mp4", "caption": "A dog."}, seed=5)
    assert record.turns[0].content.removeprefix("<image>\n") in CAPTION_PROMPTS
    assert record.turns[1].content == "A dog."


def test_a_line_of_llavas_kind(lines):
    talk = [{"from": "human", "value": "Look <image>"}, {"from": "gpt", "value": "Yes."}]
    [record] = lines(read_jsonl, {"id": "y", "image": "a.png", "conversations": talk})
    assert record.turns == (Turn("user", "<image>\nLook"), Turn("assistant", "Yes."))


@pytest.mark.parametrize(
    ("item", "message"),
    [
        ({"video": "a.mp4", "prompt": "What?"}, "record '1': field 'answer' is missing"),
        ({"video": "a.mp4", "answer": "A dog."}, "record '1': field 'prompt' is missing"),
        ({"caption": "A dog."}, "record '1': field 'prompt' is missing"),
        (PLAIN | {"question": "Who?"}, "fields 'prompt' and 'question' both given"),
        (PLAIN | {"caption": "A cat."}, "fields 'answer' and 'caption' both given"),
        (PLAIN | {"prompt": ["What?"]}, "record 'x': field 'prompt': expected text, got"),
        (PLAIN | {"answer": None}, "record 'x': field 'answer': expected text, got None"),
        (PLAIN | {"conversations": []}, "record 'x': field 'conversations' is"),
        (["a list"], "a.jsonl: line 3: expected an object"),
    ],
)
def test_a_plain_line_that_cannot_be_used(lines, item, message):
    with pytest.raises(RecordError, match=message) as caught:
        lines(read_jsonl, PLAIN, item)
    assert caught.value.mend


def test_a_broken_line_is_named(tmp_path):
    (tmp_path / "a.jsonl").write_text(json.dumps(PLAIN) + '\n{"id": oops}\n')
    with pytest.raises(RecordError, match="a.jsonl: line 2: not JSON .*column 8"):
        read_jsonl(tmp_path / "a.jsonl", root=tmp_path)


def test_a_line_ends_at_its_line_end_alone(tmp_path):
    line = json.dumps(PLAIN | {"answer": "one\u2028two\x85three"}, ensure_ascii=False)
    (tmp_path / "a.jsonl").write_text(line + "\r\n", encoding="utf-8", newline="")
    [record] = read_jsonl(tmp_path / "a.jsonl", root=tmp_path)
    assert record.turns[1].content == "one\u2028two\x85three"
