from __future__ import annotations

import json
import re
from collections import Counter

import numpy as np
import pytest

from sg4v_jax import files
from sg4v_jax.errors import ConfigError, RecordError, WorkdirError
from sg4v_jax.world import dataset
from sg4v_jax.world.dataset import choose_kinds, make_dataset, qa_records, read_truth, scene_seed
from sg4v_jax.world.questions import GROUPS, TOPICS, make_questions
from sg4v_jax.world.scene import sample_scene, state

_ARGUMENTS = {"videos": 5, "seed": 3}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    out = tmp_path_factory.mktemp("world") / "train"
    seen = []
    summary = make_dataset(str(out), **_ARGUMENTS, progress=lambda *done: seen.append(done))
    assert seen == [(number, 5) for number in range(1, 6)]
    return out, summary


def _contents(folder) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if not p.is_dir()}


def test_files_agree_with_each_other(made):
    out, summary = made
    names = [f"train-{6000000 + i}" for i in range(5)]
    videos = {f"videos/{name}.mp4" for name in names}
    assert {str(p.relative_to(out)) for p in out.glob("videos/*")} == videos
    truth = read_truth(str(out))
    assert list(truth) == names
    assert all(truth[n] == sample_scene(6000000 + i) for i, n in enumerate(names))
    captions = files.read_jsonl(out / "captions.jsonl")
    assert [row["id"] for row in captions] == names
    assert all(set(row) == {"id", "short", "detailed", "static"} for row in captions)
    asked = files.read_jsonl(out / "questions.jsonl")
    assert len({row["id"] for row in asked}) == len(asked) == sum(summary["questions"].values())
    for row in asked:
        assert row["video"] == f"videos/train-{row['id'].partition('-')[0]}.mp4"
        assert row["answer"] in row["options"]
    assert not (out / "making.json").exists()


def test_training_records_hold_the_questions_and_captions(made):
    out, summary = made
    records = files.read_json(out / "train.json")
    assert len(records) == summary["train_records"]
    assert len({r["id"] for r in records}) == len(records)
    turns = Counter()
    for record in records:
        said = [turn["value"] for turn in record["conversations"]]
        speakers = [turn["from"] for turn in record["conversations"]]
        assert speakers == ["human", "gpt"] * (len(said) // 2)
        assert said[0].startswith("<image>\n")
        assert not any("<image>" in text for text in said[1:])
        said[0] = said[0].removeprefix("<image>\n")
        turns.update((record["video"], *pair) for pair in zip(said[::2], said[1::2], strict=True))
    expected = Counter()
    for row in files.read_jsonl(out / "questions.jsonl"):
        expected[row["video"], row["text"], row["told"]] += 1
    for row in files.read_jsonl(out / "captions.jsonl"):
        video = f"videos/{row['id']}.mp4"
        expected[video, "Describe this video in detail.", row["detailed"]] += 1
    assert turns == expected


def test_order_answers_tell_what_was_seen_first_and_stand_alone(made):
    out, _ = made
    scenes = read_truth(str(out))
    told = {row["told"]: row for row in files.read_jsonl(out / "questions.jsonl")}
    orders = 0
    for record in files.read_json(out / "train.json"):
        first = record["conversations"][1]["value"]
        if first in told and told[first]["kind"].startswith("order"):
            assert len(record["conversations"]) == 2
            scene = scenes[record["id"].rpartition("-")[0]]
            looks = [state(scene, frame) for frame in (0, 8, 15)]
            seen = ", ".join(f"{look.size} {look.colour}" for look in looks)
            assert first == f"{seen}: {told[first]['answer']}"
            orders += 1
    assert orders


def test_videos_decode_to_the_rendered_scene(made):
    av = pytest.importorskip("av")
    out, _ = made
    name, scene = next(iter(read_truth(str(out)).items()))
    with av.open(str(out / "videos" / f"{name}.mp4")) as container:
        stream = container.streams.video[0]
        frames = np.stack([f.to_ndarray(format="rgb24") for f in container.decode(stream)])
        assert stream.average_rate == 8
    truth = dataset.render(scene)
    assert frames.shape == truth.shape
    assert np.abs(frames.astype(int) - truth).mean() < 4


def test_same_arguments_do_nothing_and_others_are_refused(made, monkeypatch):
    out, summary = made
    before = _contents(out)
    monkeypatch.setattr(dataset, "render", None)  # would fail if it were called
    assert make_dataset(str(out), **_ARGUMENTS) == summary
    with pytest.raises(WorkdirError, match="videos: 5 -> 6") as e:
        make_dataset(str(out), videos=6, seed=3)
    assert "seed" not in str(e.value)
    with pytest.raises(WorkdirError, match="captions: 'detailed' -> 'short'"):
        make_dataset(str(out), **_ARGUMENTS, captions="short")
    assert _contents(out) == before


def test_an_interrupted_data_set_is_completed(made, tmp_path, monkeypatch):
    class Stop(Exception):
        pass

    def stop(done: int, total: int) -> None:
        if done == 3:
            raise Stop

    out = tmp_path / "again"
    with pytest.raises(Stop):
        make_dataset(str(out), **_ARGUMENTS, progress=stop)
    assert not (out / "dataset.json").exists()
    with pytest.raises(WorkdirError, match="seed: 3 -> 4"):
        make_dataset(str(out), videos=5, seed=4)
    rendered = []
    render = dataset.render
    monkeypatch.setattr(dataset, "render", lambda scene: rendered.append(scene) or render(scene))
    make_dataset(str(out), **_ARGUMENTS)
    assert len(rendered) == 2
    assert _contents(out) == _contents(made[0])


def test_a_folder_of_other_origin_is_refused(tmp_path):
    (tmp_path / "train.json").write_text("[]")
    with pytest.raises(WorkdirError, match="did not begin"):
        make_dataset(str(tmp_path), **_ARGUMENTS)
    assert (tmp_path / "train.json").read_text() == "[]"


def test_data_sets_share_no_scene():
    seeds = [
        scene_seed(seed, index, split=split)
        for seed in range(3)
        for split in ("train", "heldout")
        for index in (0, 1, dataset.MAX_VIDEOS - 1)
    ]
    assert len(set(seeds)) == len(seeds)


def test_heldout_items_are_at_least_half_temporal(tmp_path):
    arguments = {"videos": 8, "seed": 0, "split": "heldout", "captions": "none"}
    summary = make_dataset(str(tmp_path / "heldout"), **arguments)
    counts = summary["questions"]
    assert sum(counts[kind] for kind in GROUPS["temporal"] if kind in counts) == 16
    assert set(counts) <= {*GROUPS["temporal"], *GROUPS["static"]}
    records = json.loads((tmp_path / "heldout" / "train.json").read_text())
    assert not any("Describe" in turn["value"] for r in records for turn in r["conversations"])


def test_records_never_hold_two_questions_of_one_topic():
    for seed in range(200):
        scene, rng = sample_scene(seed), np.random.default_rng(seed)
        asked = make_questions(scene, rng)
        records = qa_records("x", "videos/x.mp4", asked, rng)
        topic_of = {q.text: TOPICS[q.kind] for q in asked}
        told = 0
        for record in records:
            texts = [turn["value"].removeprefix("<image>\n") for turn in record["conversations"]]
            topics = [topic_of[text] for text in texts[::2]]
            assert len(set(topics)) == len(topics)
            told += len(topics)
        assert told == len(asked)
        assert [r["id"] for r in records] == [f"x-qa{i}" for i in range(len(records))]


def test_kinds_follow_the_mix():
    mix = {"temporal": 2, "static": 1, "frame": 1}
    for seed in range(200):
        scene, rng = sample_scene(seed), np.random.default_rng(seed)
        kinds = choose_kinds(scene, rng, count=4, mix=mix)
        topics = [TOPICS[kind] for kind in kinds]
        # Only a question about order, which is a record of its own, may share its topic.
        others = [topic for topic in topics if topic != "order"]
        assert len(set(others)) == len(others)
        assert len(set(kinds)) == len(kinds) == 4
        dense = choose_kinds(scene, rng, count=8, mix={"frame_place": 1})
        assert dense == ["frame_place"] * 8
        uneven = choose_kinds(scene, rng, count=3, mix={"order": 1, "frame": 1})
        assert uneven[0] == "order"
        assert sum(kind.startswith("frame_") for kind in uneven) == 1
    still = next(s for s in map(_heldout, range(50)) if s.event("move") is None)
    kinds = choose_kinds(still, np.random.default_rng(0), count=4, mix={"temporal": 1, "static": 1})
    assert sorted(kinds[:2]) == ["order", "order_yesno"]


def _heldout(seed: int):
    return sample_scene(seed, split="heldout")


@pytest.mark.parametrize(
    "change",
    [
        {"videos": 0},
        {"videos": 10**6 + 1},
        {"seed": -1},
        {"split": "test"},
        {"questions_per_video": -1},
        {"mix": {"speed": 1}},
        {"mix": {"order": 0}},
        {"mix": {}},
        {"captions": "long"},
    ],
)
def test_bad_arguments_are_refused_before_anything_is_written(tmp_path, change):
    out = tmp_path / "out"
    with pytest.raises(ConfigError, match=re.escape(next(iter(change)))):
        make_dataset(str(out), **(_ARGUMENTS | change))
    assert not out.exists()


def test_damaged_truth_is_refused(tmp_path):
    (tmp_path / "truth.jsonl").write_text('{"id": "train-000000", "seed": 0}\n')
    with pytest.raises(RecordError, match="truth.jsonl: record 1: missing fields"):
        read_truth(str(tmp_path))
