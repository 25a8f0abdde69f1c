"""Lists of videos, and what is wrong with them."""

from __future__ import annotations

import json

import pytest

from sg4v_jax.caption.videos import folder_of, list_videos, open_path
from sg4v_jax.errors import RecordError, UnsafePathError


def test_a_folder_gives_every_video_below_it(tmp_path):
    for name in ("b/2.mp4", "a.webm", "a.mp4", "b/notes.txt", "B.MKV"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    videos = list_videos(tmp_path)
    assert videos.root == str(tmp_path)
    assert [(i["id"], i["video"]) for i in videos.items] == [
        ("B", "B.MKV"),
        ("a.mp4", "a.mp4"),  # two videos are called a, so both keep their suffix
        ("a.webm", "a.webm"),
        ("b/2", "b/2.mp4"),
    ]


def test_lists_of_three_kinds(tmp_path):
    (tmp_path / "x.txt").write_text("v/one.mp4\n\nv/two.mp4\n")
    rows = [{"video": "v/one.mp4"}, {"id": "second", "video": "v/two.mp4"}]
    (tmp_path / "x.json").write_text(json.dumps(rows))
    (tmp_path / "x.jsonl").write_text("\n".join(map(json.dumps, rows)))
    assert [i["id"] for i in list_videos(tmp_path / "x.txt").items] == ["v/one", "v/two"]
    for name in ("x.json", "x.jsonl"):
        videos = list_videos(tmp_path / name)
        assert [i["id"] for i in videos.items] == ["v/one", "second"]
        assert open_path(videos.root, videos.items[1]) == str(tmp_path / "v/two.mp4")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("x.txt", b"\xff\xfe\n", "not UTF-8"),
        ("x.txt", b"\n", "no videos"),
        ("x.json", b'{"video": "a"}', "not a list"),
        ("x.json", b'[{"id": "a"}]', "record 1: field 'video': None"),
        ("x.json", b'[{"video": "a.mp4"}, 7]', "record 2: field 'video'"),
        ("x.json", b'[{"id": 1, "video": "a"}, {"id": "1", "video": "b"}]', "first is '1'"),
        ("x.csv", b"a", "no list of videos"),
    ],
)
def test_lists_that_cannot_be_used(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(RecordError, match=message):
        list_videos(tmp_path / name)


def test_nothing_there(tmp_path):
    with pytest.raises(RecordError, match="no videos"):
        list_videos(tmp_path)
    with pytest.raises(RecordError, match="no such file"):
        list_videos(tmp_path / "gone.txt")


def test_paths_and_ids_that_climb_out(tmp_path):
    with pytest.raises(UnsafePathError, match="video 'x': path '../a.mp4' leaves"):
        open_path(str(tmp_path), {"id": "x", "video": "../a.mp4"})
    for name in ("../x", "/etc/x", "a/../../x"):
        with pytest.raises(UnsafePathError):
            folder_of(str(tmp_path), name)
    for name in (".", "a//b", "a/", "./a"):
        with pytest.raises(RecordError, match="cannot name a folder"):
            folder_of(str(tmp_path), name)
    assert folder_of(str(tmp_path), "a/b c") == str(tmp_path / "a/b c")
