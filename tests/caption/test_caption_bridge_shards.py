"""Arms as stores: the same pictures in each, to the bit; a video that cannot be read is in none."""

from __future__ import annotations

import json

import pytest

from sg4v_jax.caption.bridge import build, shards
from sg4v_jax.caption.bridge.formats import ReadOptions
from sg4v_jax.caption.bridge.work import Making
from sg4v_jax.data.inputs import InputSpec
from sg4v_jax.data.readers import read_arrayrecord
from sg4v_jax.data.store import read
from sg4v_jax.video.anyres import AnyRes
from sg4v_jax.world.dataset import make_dataset

SPEC = InputSpec(
    anyres=AnyRes.standard(16, patches=2),
    visual="anyres",
    frames=16,
    band=8,
    longest_side=0,
    template="llama_3_bare",
    preamble="",
)


@pytest.fixture
def made(tmp_path):
    """Three arms of four videos, one of which is damaged."""
    make_dataset(str(tmp_path / "w"), videos=4, seed=1)
    bad = sorted((tmp_path / "w/videos").iterdir())[1]
    bad.write_bytes(b"\0" * 400)
    making = Making(
        source="",
        target="llava_json",
        styles=("detailed", "short", "long_static"),
        read=ReadOptions(video_name="videos/{id}.mp4"),
        videos=str(tmp_path / "w"),
    )
    report = build.build(tmp_path / "w/captions.jsonl", making, out=tmp_path / "out")
    return tmp_path, report, bad.stem


@pytest.mark.parametrize("codec", ["png", "jpeg:80"])
def test_arms_show_the_same_pictures(made, codec):
    folder, report, bad = made
    how = dict(out=folder / "out", root=folder / "w", spec=SPEC, codec=codec, workers=0)
    stores = shards.write_stores(report, max_skipped=0.5, **how)
    assert list(stores) == ["detailed", "short", "long_static"]
    captions = {r["id"]: r for r in map(json.loads, (folder / "w/captions.jsonl").open())}
    arms = {name: read_arrayrecord(store, root="") for name, store in stores.items()}
    kept = [name for name in captions if name != bad]
    for name, records in arms.items():
        assert [r.id for r in records] == kept
        told = [r.turns[1].content for r in records]
        if name != "long_static":
            assert told == [captions[i][name] for i in kept]
    pictures = [[read._encoded(r.visuals[0].slot) for r in arm] for arm in arms.values()]
    assert pictures[0] == pictures[1] == pictures[2]
    again = shards.write_stores(report, max_skipped=0.5, **how)
    assert again == stores
