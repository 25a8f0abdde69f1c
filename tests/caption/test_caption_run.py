"""The caption job in all modes, with the world's oracle and with captioners of its own."""

from __future__ import annotations

import json
import pickle

import numpy as np
import pytest

from sg4v_jax.caption import run_items
from sg4v_jax.caption.job import run_job
from sg4v_jax.caption.run import CaptionWork
from sg4v_jax.endpoint.client import Answer
from sg4v_jax.errors import ConfigError, RecordError, StorageError
from sg4v_jax.video.encode import write_mp4
from sg4v_jax.world.parse import caption_events
from sg4v_jax.world.render import render
from sg4v_jax.world.scene import FPS


@pytest.fixture(scope="module")
def folder(tmp_path_factory, scenes):
    """Six world videos, and two that cannot be read."""
    folder = tmp_path_factory.mktemp("world")
    for number, scene in enumerate(scenes[::3] + scenes[1::3][:1]):
        write_mp4(folder / f"v/{number}.mp4", render(scene), fps=FPS)
    (folder / "v/bad.mp4").write_bytes(b"\x00" * 500)
    (folder / "v/none.mp4").touch()
    return folder


def captions(folder, out, *, mode="sliding", captioner="world:", preset="paper", **options):
    root, items = run_items.video_items(folder / "v", keyframes=None)
    work = CaptionWork(mode, preset, captioner, root=root, interval=0.25, batch=2, **options)
    return job(items, work, out)


def job(items, work, out):
    finished = run_job(
        items,
        work,
        job=out / "job",
        file=out / "captions.jsonl",
        settings=work.settings,
        shard_size=3,
    )
    rows = [json.loads(line) for line in (out / "captions.jsonl").read_text().splitlines()]
    return finished, {row["id"]: row for row in rows}


def test_sliding_over_videos_and_clips_of_it(folder, scenes, tmp_path):
    finished, rows = captions(folder, tmp_path)
    assert finished.rows == 8 and [name for name, _ in finished.failed] == ["bad", "none"]
    assert list(rows) == ["0", "1", "2", "3", "4", "5", "bad", "none"]
    for number, scene in enumerate(scenes[::3]):
        row = rows[str(number)]
        told = caption_events(row["caption_detailed"])
        assert sorted(told) == sorted(event.family for event in scene.events)
        assert row["keyframe_times"] == pytest.approx(np.arange(9) / 4)
        assert (row["source"], row["first_frame"], row["last_frame"]) == (f"{number}.mp4", 0, 16)
        assert len(row["diff_captions"]) == 9 and row["fps"] == 8
    bad = rows["none"]
    assert bad["error"].startswith("EmptyVideoError") and bad["source"] == "none.mp4"
    assert bad["clip_id"] == "" and bad["fps"] is None and bad["attempts"] == 2

    items = run_items.clip_items(tmp_path / "captions.jsonl", start=0.5, end=1.5)
    finished, parts = job(items, CaptionWork("clip", "paper", "world:"), tmp_path / "clips")
    part = parts["1@0.5-1.5"]
    assert part["diff_captions"] == rows["1"]["diff_captions"][2:7]
    assert part["keyframe_times"] == pytest.approx([0, 0.25, 0.5, 0.75, 1.0])
    assert (part["first_frame"], part["last_frame"]) == (4, 12)
    failed = dict(finished.failed)
    assert failed["none@0.5-1.5"].startswith("RecordError: the whole video has no captions: Empty")


def test_a_clip_without_end_goes_to_the_end(folder, tmp_path):
    _, rows = captions(folder, tmp_path)
    items = run_items.clip_items(tmp_path / "captions.jsonl", start=1.0, end=None)
    _, parts = job(items, CaptionWork("clip", "paper", "world:"), tmp_path / "clips")
    assert parts["0@1-end"]["diff_captions"] == rows["0"]["diff_captions"][4:]
    items = run_items.clip_items(tmp_path / "captions.jsonl", start=60.0, end=70.0)
    finished, _ = job(items, CaptionWork("clip", "paper", "world:"), tmp_path / "late")
    assert "no key frame between 60.0 and 70.0 s" in dict(finished.failed)["0@60-70"]


class Told:
    """Says how many images it saw, and what that cost."""

    name, decode, weights_hash = "told", {"temperature": 0.5}, "abc"

    def describe(self, requests):
        return [
            Answer(
                f"{len(r.images)} images", prompt_tokens=10, completion_tokens=2, truncated=not i
            )
            for i, r in enumerate(requests)
        ]


def test_fast_mode_and_what_answers_cost(folder, tmp_path):
    _, rows = captions(folder, tmp_path, mode="fast", opened=Told())
    row = rows["0"]
    assert row["caption_detailed"] == "9 images" and row["diff_captions"] == []
    assert (row["captioner"], row["weights_hash"], row["decode"]) == ("told", "abc", Told.decode)
    assert (row["prompt_tokens"], row["completion_tokens"]) == (10, 2)
    assert {rows[str(n)]["truncated"] for n in range(6)} == {True, False}
    _, rows = captions(folder, tmp_path / "s", opened=Told())
    assert (rows["0"]["prompt_tokens"], rows["0"]["completion_tokens"]) == (100, 20)


def test_the_batch_script_s_fast_mode_needs_thirty_frames(folder, tmp_path):
    finished, rows = captions(folder, tmp_path, mode="fast", preset="batch", opened=Told())
    assert len(finished.failed) == 8 and "17 frames, 30 are wanted" in rows["0"]["error"]


def test_prompts_of_three_kinds(tmp_path):
    (tmp_path / "p.txt").write_text("a dog runs\n\n a cat \n")
    items = run_items.prompt_items(tmp_path / "p.txt")
    assert items == [{"id": "000001", "text": "a dog runs"}, {"id": "000003", "text": " a cat "}]
    finished, rows = job(items, CaptionWork("recaption", "model", "world:"), tmp_path)
    assert rows["000001"]["caption_detailed"] == "a dog runs" and not finished.failed
    (tmp_path / "p.jsonl").write_text('{"id": "x", "caption": "c"}\n{"prompt": " "}\n')
    items = run_items.prompt_items(tmp_path / "p.jsonl")
    finished, rows = job(items, CaptionWork("recaption", "model", "world:"), tmp_path / "j")
    assert [name for name, _ in finished.failed] == ["000002"]
    assert "the text is empty" in rows["000002"]["error"]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("p.txt", b"\xff\n", "not UTF-8"),
        ("p.txt", b" \n", "no prompts"),
        ("p.jsonl", b'{"id": "x"}\n', "line 1: field 'text'"),
        ("gone.txt", None, "no such file"),
    ],
)
def test_prompts_that_cannot_be_used(tmp_path, name, content, message):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(RecordError, match=message):
        run_items.prompt_items(tmp_path / name)


def test_parts_that_are_none(tmp_path):
    for start, end in ((3.0, 2.0), (float("nan"), None), (1.0, 1.0)):
        with pytest.raises(ConfigError, match="is no part of a video"):
            run_items.clip_items(tmp_path / "c.jsonl", start=start, end=end)


def test_times_out_of_order_are_the_row_s_own_failure(tmp_path):
    row = {"id": "v", "source": "v.mp4", "first_frame": 0, "last_frame": 9, "fps": 5.0}
    row |= {"keyframe_times": [0, 2, 1], "diff_captions": ["a", "b", "c"], "error": None}
    (tmp_path / "c.jsonl").write_text(json.dumps(row) + "\n" + json.dumps({"id": "w"}) + "\n")
    items = run_items.clip_items(tmp_path / "c.jsonl", start=0, end=2)
    finished, _ = job(items, CaptionWork("clip", "paper", "world:"), tmp_path)
    failed = dict(finished.failed)
    assert "do not rise" in failed["v@0-2"] and "no differential captions" in failed["w@0-2"]


class Full(Told):
    """Meets a full disk at its third call."""

    calls = 0

    def describe(self, requests):
        self.calls += 1
        if self.calls == 3:
            raise StorageError("cannot write x: No space left on device")
        return super().describe(requests)


def test_a_fault_of_the_machine_is_no_fault_of_the_videos(folder, tmp_path):
    with pytest.raises(StorageError, match="No space left"):
        captions(folder, tmp_path, opened=Full())
    finished, _ = captions(folder, tmp_path, opened=Told())
    assert finished.rows == 8 and [name for name, _ in finished.failed] == ["bad", "none"]


def test_the_work_travels_without_its_captioner():
    work = CaptionWork("sliding", "paper", "world:omit=0.5", opened=Told())
    assert pickle.loads(pickle.dumps(work)).open().name == "world:omit=0.5,false=0,shuffle=0,seed=0"
