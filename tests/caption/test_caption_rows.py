from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest

from sg4v_jax.caption.presets import PRESETS
from sg4v_jax.caption.rows import Clip, Origin, caption_row, prompt_hash
from sg4v_jax.caption.sliding import KeyFrames, VideoCaption, sliding
from sg4v_jax.caption.wavefront import run_wavefront
from sg4v_jax.caption.world_captioner import WorldCaptioner
from sg4v_jax.errors import RecordError
from sg4v_jax.jobs import LocalStore, begin, merge, work

ORIGIN = Origin("world:", PRESETS["paper"], "sliding", decode={"max_tokens": 9})
CLIP = Clip("panda/a.mp4", 24, 71, 24.0)


def test_a_row_of_captions():
    result = VideoCaption("a", "sliding", "paper", "all", (1.0, 1.5), ("x", "y"))
    tokens = {"prompt_tokens": 5, "truncated": False}
    row = caption_row("a", CLIP, ORIGIN, result=result, short="s", tokens=tokens)
    assert (row["start"], row["end"], row["fps"]) == (1.0, 3.0, 24.0)
    assert (row["caption_detailed"], row["diff_captions"]) == ("all", ["x", "y"])
    assert (row["prompt_tokens"], row["completion_tokens"], row["truncated"]) == (5, None, False)
    assert row["keyframe_times"] == [1.0, 1.5] and row["error"] is None
    assert json.loads(json.dumps(row)) == row


def test_a_row_of_an_error_has_the_same_fields():
    good = caption_row("a", CLIP, ORIGIN, result=VideoCaption("a", "sliding", "paper", "c"))
    bad = caption_row("a", CLIP, ORIGIN, error="CorruptVideoError: cut off")
    assert list(good) == list(bad)
    assert bad["error"] == "CorruptVideoError: cut off" and bad["caption_detailed"] == ""
    for both in ({}, {"result": VideoCaption("a", "fast", "p", "c"), "error": "e"}):
        with pytest.raises(RecordError, match="row a: give either"):
            caption_row("a", CLIP, ORIGIN, **both)


def test_ids_tell_clips_apart_and_hashes_prompts():
    assert CLIP.id == Clip("panda/a.mp4", 24, 71, 30.0).id and len(CLIP.id) == 16
    others = [Clip("panda/b.mp4", 24, 71, 24.0), dataclasses.replace(CLIP, last=72)]
    assert len({CLIP.id, *(clip.id for clip in others)}) == 3
    assert len({prompt_hash(preset) for preset in PRESETS.values()}) == len(PRESETS)
    renamed = dataclasses.replace(PRESETS["paper"], name="x")
    assert prompt_hash(renamed) == prompt_hash(PRESETS["paper"])


@pytest.mark.parametrize("bad", [(5, 4, 24.0), (-1, 4, 24.0), (0, 4, 0.0)])
def test_ranges_that_cannot_be(bad):
    with pytest.raises(RecordError, match="clip of v.mp4"):
        Clip("v.mp4", *bad)


def test_a_job_of_captions_from_items_to_rows(tmp_path, videos, scenes, truths):
    by_id = {video.id: video for video in videos}
    broken = "scene-gone"
    items = [{"id": name} for name in [*by_id, broken]]

    def load(name: str) -> KeyFrames:
        if name == broken:
            raise RecordError(f"{name}: no such video")
        return by_id[name]

    def program(name: str):
        return (yield from sliding(load(name), preset=ORIGIN.preset))

    def do(items):
        work = ((item["id"], program(item["id"])) for item in items)
        for outcome in run_wavefront(work, WorldCaptioner(), batch=3):
            error = str(outcome.error) if outcome.error else None
            yield caption_row(outcome.id, CLIP, ORIGIN, result=outcome.caption, error=error)

    store = LocalStore(str(tmp_path))
    begin(store, items, shard_size=6, settings={"captioner": ORIGIN.captioner})
    report = work(store, do, attempts=1)
    rows = list(merge(store))
    assert [row["id"] for row in rows] == [item["id"] for item in items]
    assert report.errors == 1 and rows[-1]["error"] == "scene-gone: no such video"
    for row, true in zip(rows[:-1], truths, strict=True):
        assert all(f"it {event}." in row["caption_detailed"] for event in true)
        assert np.all(np.diff(row["keyframe_times"]) > 0)
