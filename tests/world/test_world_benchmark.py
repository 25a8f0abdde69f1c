from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from sg4v_jax import files
from sg4v_jax.errors import ConfigError, WorkdirError
from sg4v_jax.video.decode import sample_frames
from sg4v_jax.world import as_mvbench, as_videobench
from sg4v_jax.world.benchmark import SHAPES, make_benchmark
from sg4v_jax.world.facts import ASPECTS, facts_of
from sg4v_jax.world.render import RGB
from sg4v_jax.world.scene import (
    COLOURS,
    DIRECTIONS,
    SAMPLED,
    SIZES,
    from_json,
    place,
    sample_scene,
    state,
)

VIDEOS = 4


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    out = tmp_path_factory.mktemp("benchmarks")
    return {
        s: (out / s, make_benchmark(str(out / s), shape=s, videos=VIDEOS, seed=5)) for s in SHAPES
    }


def _scenes(folder):
    rows = files.read_jsonl(folder / "truth.jsonl")
    return {r["id"]: from_json({k: v for k, v in r.items() if k != "id"}) for r in rows}


def _claim_holds(claim, scene) -> bool:
    """Reads a claim back and compares it with the object's states, not with the events."""
    before, after = state(scene, 0), state(scene, SAMPLED - 1)
    moves = (before.x, before.y) != (after.x, after.y) or scene.event("move") is not None
    words = claim.removeprefix(f"the {scene.shape} ")
    if words.startswith("turns from "):
        a, _, b = words.removeprefix("turns from ").partition(" to ")
        return (a, b) in ((before.colour, after.colour), (before.size, after.size))
    if words.startswith("moves"):
        word = words.removeprefix("moves").strip()
        if not word or not moves:
            return moves
        x, y = (np.array([getattr(state(scene, t), f) for t in range(SAMPLED)]) for f in ("x", "y"))
        step = np.median(np.diff(x)[np.diff(x) != 0]) if np.ptp(x) else 0.0
        step_y = np.median(np.diff(y)[np.diff(y) != 0]) if np.ptp(y) else 0.0
        if word in DIRECTIONS:
            return (np.sign(step), np.sign(step_y)) == DIRECTIONS[word]
        return {"slowly": 3.0, "quickly": 6.0}[word] == max(abs(step), abs(step_y))
    if "comes before" in claim:
        first, second = claim.removeprefix("the ").split(" comes before the ")
        starts = {"movement": "move", "size change": "resize", "color change": "recolour"}
        return scene.event(starts[first]).start < scene.event(starts[second]).start
    return {
        "changes its size": before.size != after.size,
        "changes its color": before.colour != after.colour,
        "splits in two": False,
    }[words]


def test_exactly_the_right_claim_of_each_fact_is_true():
    seen = Counter()
    for seed in range(150):
        scene = sample_scene(seed)
        for fact in facts_of(scene, np.random.default_rng(seed)):
            holds = [_claim_holds(claim, scene) for claim in fact.claims]
            assert holds == [i == fact.number for i in range(len(holds))], (seed, fact)
            assert len(set(fact.options)) == len(fact.options)
            seen[fact.aspect, fact.number] += 1
    # The place of the right option is drawn evenly: no aspect has a favourite.
    for aspect in ASPECTS:
        counts = [n for (name, _), n in seen.items() if name == aspect]
        assert len(counts) >= 2 and max(counts) < 2.2 * min(counts), (aspect, counts)


def test_tempcompass_files_fit_the_official_rules(made):
    folder, summary = made["tempcompass"]
    tasks = {
        name: files.read_json(folder / f"questions/{name}.json")
        for name in ("multi-choice", "yes_no", "caption_matching", "captioning")
    }
    total = 0
    for task, videos in tasks.items():
        assert set(videos) == set(_scenes(folder))
        for aspects in videos.values():
            assert set(aspects) <= set(ASPECTS)
            for rows in aspects.values():
                total += len(rows)
                for row in rows:
                    lines = row["question"].split("\n")
                    if task in ("multi-choice", "caption_matching"):
                        assert row["answer"] in lines[1:]
                    if task == "caption_matching":
                        assert len(lines) == 3 and all(line.count(": ") == 1 for line in lines[1:])
                    if task == "yes_no":
                        assert row["answer"] in ("yes", "no")
                    if task == "captioning":
                        assert lines[-1] == "Generated Caption:"
    assert total == summary["questions"]
    for name, scene in _scenes(folder).items():
        fine = files.read_json(folder / "meta_info.json")[name]["eval_dim"]
        assert set(fine) == set(ASPECTS)
        assert (fine["direction"] is None) == (scene.event("move") is None)


def test_videobench_has_its_thirteen_sets_with_answers(made):
    folder, summary = made["videobench"]
    total = 0
    for name in as_videobench.SETS:
        rows = files.read_json(folder / f"Eval_QA/{name}_QA_new.json")
        assert rows, name
        total += len(rows)
        for row in rows.values():
            assert row["answer"] in row["choices"]
            assert (folder / row["vid_path"]).exists()
            assert len(set(row["choices"].values())) == len(row["choices"])
    assert total == summary["questions"]
    mot = files.read_json(folder / "Eval_QA/MOT_QA_new.json")
    assert all(len(row["choices"]) == len(COLOURS) for row in mot.values())
    for row in mot.values():
        end = state(_scenes(folder)[row["video_id"]], SAMPLED - 1)
        assert row["choices"][row["answer"]] == end.colour
    sizes = files.read_json(folder / "Eval_QA/Driving-exam_QA_new.json")
    assert all(set(row["choices"].values()) == set(SIZES) for row in sizes.values())


def test_mvbench_has_its_twenty_tasks_with_videos_and_bounds(made):
    folder, _ = made["mvbench"]
    assert len(as_mvbench.TASKS) == 20
    scenes = _scenes(folder)
    bounded = set()
    for task, (below, _) in as_mvbench.TASKS.items():
        rows = files.read_json(folder / f"json/{task}.json")
        assert rows, task
        for row in rows:
            assert row["answer"] in row["candidates"]
            assert len(set(row["candidates"])) == len(row["candidates"])
            assert (folder / "video" / below / row["video"]).exists()
            if "start" in row:
                bounded.add(task)
    assert bounded == {
        *("action_sequence", "action_prediction", "object_interaction"),
        *("action_localization", "episodic_reasoning"),
    }
    for row in files.read_json(folder / "json/object_shuffle.json"):
        scene = scenes[row["video"].removesuffix(".mp4")]
        assert row["answer"] == place(state(scene, SAMPLED - 1), canvas=scene.canvas)


def test_the_frames_that_a_bounded_question_is_about_show_its_answer(made):
    folder, _ = made["mvbench"]
    scenes = _scenes(folder)
    looked = 0
    for row in files.read_json(folder / "json/episodic_reasoning.json"):
        video = folder / "video/tvqa/frames_fps3_hq" / row["video"]
        assert min(p.name for p in video.iterdir()) == "00001.jpg"
        last = sample_frames(
            str(video), n=16, rule="mvbench", bounds=(row["start"], row["end"]), fps=3
        ).frames[-1]
        scene = scenes[row["video"]]
        obj = state(scene, SAMPLED - 1 if row["start"] else SAMPLED // 2)
        if not (0 < obj.x < 95 and 0 < obj.y < 95):
            continue
        looked += 1
        pixel = last[int(obj.y), int(obj.x)].astype(int)
        nearest = min(RGB, key=lambda c: np.abs(pixel - RGB[c]).sum())
        assert nearest == row["answer"]
    assert looked


def test_videochatgpt_has_three_lists(made):
    folder, _ = made["videochatgpt"]
    for name, count in (("generic", 2), ("temporal", 1), ("consistency", 1)):
        rows = files.read_json(folder / f"{name}_qa.json")
        assert len(rows) == count * VIDEOS
        assert all((folder / f"Test_Videos/{row['video_name']}.mp4").exists() for row in rows)


def test_the_same_arguments_give_the_same_files(made, tmp_path):
    folder, summary = made["tempcompass"]
    again = make_benchmark(str(tmp_path / "again"), shape="tempcompass", videos=VIDEOS, seed=5)
    assert again == summary == make_benchmark(str(folder), **summary["arguments"])
    for path in folder.rglob("*"):
        if path.is_file():
            other = tmp_path / "again" / path.relative_to(folder)
            assert other.read_bytes() == path.read_bytes()


def test_a_folder_of_something_else_is_refused(made, tmp_path):
    folder, _ = made["mvbench"]
    with pytest.raises(WorkdirError, match="other arguments"):
        make_benchmark(str(folder), shape="mvbench", videos=VIDEOS, seed=6)
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(WorkdirError, match="did not begin"):
        make_benchmark(str(tmp_path), shape="mvbench", videos=1, seed=0)
    with pytest.raises(ConfigError, match="shape='vbench'"):
        make_benchmark(str(tmp_path / "x"), shape="vbench", videos=1, seed=0)
