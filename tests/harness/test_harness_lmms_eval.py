"""A real lmms-eval with our plug-in: `launch/lmms_eval.sh --test` sets it up and runs this.

Only made-up data is at hand, and no network: the built-in tasks (Video-MME, MLVU, VDC) run from
their own definitions, but on rows and videos of the world.
"""

from __future__ import annotations

import importlib.util
import json
import math
import os
import pathlib
import shutil
import subprocess
import sys

import pytest

from sg4v_jax.evals.benchmarks import get_protocol
from sg4v_jax.evals.run_files import prediction_row
from sg4v_jax.evals.score import load_questions, score
from sg4v_jax.harness import plugin, tasks

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not importlib.util.find_spec("lmms_eval"),
        reason="needs lmms-eval and the extra [lmms-eval]: launch/lmms_eval.sh --test",
    ),
]
OUR_TASKS = [
    *("sg4v_tempcompass_multi_choice", "sg4v_tempcompass_yes_no", "sg4v_tempcompass_captioning"),
    *("sg4v_mvbench_action_prediction", "sg4v_mvbench_episodic_reasoning"),
    *("sg4v_mvbench_object_existence", "sg4v_videobench_mot", "sg4v_videobench_sqa3d"),
]


@pytest.fixture(scope="module")
def folders(mini):
    return {benchmark: mini(benchmark, videos=4) for benchmark in tasks.FOLDERS}


def _lmms_eval(out: pathlib.Path, *words: str, folders=None, env=None, processes=1):
    """Runs lmms-eval away from the checkout; gives results by task, and samples by task."""
    variables = {tasks.FOLDERS[b]: str(p) for b, p in (folders or {}).items()}
    offline = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "HF_HOME": str(out / "hf")}
    lists = [sys.executable]
    if processes > 1:
        run = "torch.distributed.run"
        lists += ["-m", run, "--nproc_per_node", str(processes), "--master_port", "29571"]
    done = subprocess.run(
        [*lists, "-m", "lmms_eval", *words, "--output_path", str(out), "--log_samples"],
        check=False,
        cwd=out,
        env={**os.environ, "XLA_FLAGS": "", **offline, **variables, **(env or {})},
        capture_output=True,
        text=True,
        timeout=1200,
    )
    # It also exits with 0 where it fails.
    written = list(out.rglob("*_results.json"))
    assert done.returncode == 0 and written, done.stdout[-3000:] + done.stderr[-6000:]
    [results] = written
    samples = {}
    for path in out.rglob("*_samples_*.jsonl"):
        name = path.stem.partition("_samples_")[2]
        samples[name] = [json.loads(line) for line in path.read_text().splitlines()]
    return json.loads(results.read_text())["results"], samples


def _ours(path, **more):
    words = ["--include_path", str(plugin.TASKS), "--batch_size", "8"]
    return _lmms_eval(path, *more.pop("words"), *words, **more)


def _task(name: str) -> tuple[str, str]:
    """(benchmark, task) of one of our task files."""
    [path] = plugin.TASKS.rglob(f"{name}.jsonl")
    named = json.loads(path.read_text())
    return named["benchmark"], named["task"]


def _expected(folders, said, tmp_path) -> dict[tuple[str, str], float | None]:
    """`sg4v eval score` of what `said(benchmark, question)` gives, by benchmark and task."""
    found = {}
    for benchmark, data in folders.items():
        names = [t for b, t in map(_task, OUR_TASKS) if b == benchmark]
        protocol = get_protocol(benchmark, "sg4v")
        questions = load_questions(benchmark, data=data, tasks=names).questions
        rows = [
            prediction_row(q, prompt=protocol.prompt(q), prediction=said(benchmark, q), error=None)
            for q in questions
        ]
        run = tmp_path / benchmark
        run.mkdir()
        lines = [json.dumps(row) + "\n" for row in rows]
        (run / "predictions.jsonl").write_text("".join(lines))
        about = {"benchmark": benchmark, "protocol": "sg4v", "tasks": names}
        (run / "run.json").write_text(json.dumps(about))
        scored = score(benchmark, data=data, predictions=run, out=tmp_path / f"{benchmark}-s")
        found |= {(benchmark, c["task"]): c["score"] for c in scored["cells"] if c["group"] is None}
    return found


@pytest.fixture(scope="module")
def predicted(folders, sg4v, tmp_path_factory):
    """What `sg4v eval predict` says with the shipped model, by benchmark and id."""
    said = {}
    for benchmark, data in folders.items():
        names = [t for b, t in map(_task, OUR_TASKS) if b == benchmark]
        out = tmp_path_factory.mktemp("predict") / benchmark
        words = [f"--benchmark={benchmark}", f"--data={data}", "--model=asset:world"]
        words += [f"--out={out}", f"--tasks={','.join(names)}", "--batch=8"]
        done = sg4v("eval", "predict", *words)
        assert done.returncode == 0, done.stderr
        for line in (out / "predictions.jsonl").read_text().splitlines():
            row = json.loads(line)
            said[benchmark, row["id"]] = row
    return said


def _same_as_predicted(results, samples, predicted, folders, tmp_path):
    assert set(OUR_TASKS) == set(samples)
    count = 0
    for rows in samples.values():
        for row in rows:
            kept = row[tasks.METRIC]
            own = predicted[kept["benchmark"], kept["id"]]
            assert kept["prediction"] == own["prediction"], kept
            assert own["prompt"] == f"<image>\n{row['input']}"
            count += 1
    assert count == len(predicted)
    expected = _expected(folders, lambda b, q: predicted[b, q.id]["prediction"], tmp_path)
    _same_scores(results, expected)


def _same_scores(results, expected) -> None:
    for name in OUR_TASKS:
        score = expected[_task(name)]
        found = results[name][f"{tasks.METRIC},none"]
        if score is None:  # captions, which nobody judged
            assert math.isnan(float(found)), (name, found)
        else:
            assert found == pytest.approx(score), name


def test_our_model_on_our_tasks_says_and_scores_as_sg4v_eval(folders, predicted, tmp_path):
    words = ["--model", "sg4v", "--model_args", "model=asset:world"]
    (tmp_path / "lm").mkdir()
    results, samples = _ours(
        tmp_path / "lm", words=[*words, "--tasks", ",".join(OUR_TASKS)], folders=folders
    )
    _same_as_predicted(results, samples, predicted, folders, tmp_path)


def test_two_processes_share_the_questions(folders, predicted, tmp_path):
    words = ["--model", "sg4v", "--model_args", "model=asset:world"]
    (tmp_path / "lm").mkdir()
    results, samples = _ours(
        tmp_path / "lm",
        words=[*words, "--tasks", ",".join(OUR_TASKS)],
        folders=folders,
        processes=2,
    )
    _same_as_predicted(results, samples, predicted, folders, tmp_path)


def test_any_models_answers_get_the_score_of_sg4v_eval(folders, tmp_path):
    # lmms-eval's own `dummy` says the same to everything: right now and then, so a real score.
    (tmp_path / "lm").mkdir()
    results, _ = _ours(
        tmp_path / "lm",
        words=["--model", "dummy", "--model_args", "response=B", "--tasks", ",".join(OUR_TASKS)],
        folders=folders,
    )
    expected = _expected(folders, lambda b, q: "B", tmp_path)
    _same_scores(results, expected)
    assert len({s for s in expected.values() if s}) > 2


def test_a_missing_video_is_wrong_and_said_so(folders, tmp_path):
    data = tmp_path / "mvbench"
    shutil.copytree(folders["mvbench"], data)
    gone = min((data / "video/clevrer/video_validation").glob("*.mp4"))
    gone.unlink()
    (tmp_path / "lm").mkdir()
    _, samples = _ours(
        tmp_path / "lm",
        words=["--model", "sg4v", "--model_args", "model=asset:world"]
        + ["--tasks", "sg4v_mvbench_object_existence"],
        folders={"mvbench": data},
    )
    rows = samples["sg4v_mvbench_object_existence"]
    found = load_questions("mvbench", data=data, tasks=("object_existence",)).questions
    video = {q.id: q.video for q in found}
    kept = [r[tasks.METRIC] for r in rows]
    said = {video[k["id"]]: k["prediction"] for k in kept}
    lost = [text for name, text in said.items() if name.endswith(gone.name)]
    assert lost and all(text.startswith(tasks.NO_ANSWER) for text in lost)
    assert not any(
        t.startswith(tasks.NO_ANSWER) for v, t in said.items() if not v.endswith(gone.name)
    )


# Made-up rows of the built-in tasks: where their videos lie below HF_HOME, and what they ask.
_BUILT_IN = {
    "videomme": (
        "videomme/videomme.yaml",
        "videomme/data/{}.mp4",
        lambda name: {
            "videoID": name,
            "question_id": f"{name}-1",
            "question": "What happens first?",
            "options": ["A. a movement", "B. a size change", "C. a color change", "D. nothing"],
            "answer": "A",
            "domain": "Knowledge",
            "sub_category": "Astronomy",
            "task_type": "Temporal Reasoning",
            "duration": "short",
        },
    ),
    "mlvu_dev": (
        "mlvu/mlvu_dev.yaml",
        "mlvu/{}.mp4",
        lambda name: {
            "video_name": f"{name}.mp4",
            "question": "What happens first?\n(A) a movement\n(B) a color change",
            "answer": "A",
            "task_type": "order",
        },
    ),
    "detailed_test": (
        "vdc/detailed_test.yaml",
        "vdc_test/Test_Videos/{}.mp4",
        lambda name: {
            "video_name": name,
            "caption": "A shape moves.",
            "qa_list": [{"question": "What moves?", "answer": "a shape"}],
        },
    ),
}
# VDC's definition imports sglang and asks a model through it. In its place: a judge that says yes.
_SGLANG = """
class RuntimeEndpoint:
    def __init__(self, address): pass

def set_default_backend(backend): pass
def system(text): return ""
def user(text): return ""
def gen(name, max_tokens): return ""
def assistant(text): return ""

class function:
    def __init__(self, body): pass
    def run(self, **values): return {"answer_1": "{'pred': 'yes', 'score': 4}"}
"""


@pytest.fixture(scope="module")
def built_in(folders, tmp_path_factory):
    """Task files that include the built-in ones but read made-up rows; and their environment."""
    import lmms_eval

    place, home = tmp_path_factory.mktemp("built_in"), tmp_path_factory.mktemp("home")
    clips = sorted((folders["tempcompass"] / "videos").glob("*.mp4"))[:2]
    for name, (definition, where, row) in _BUILT_IN.items():
        for clip in clips:
            target = home / where.format(clip.stem)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(clip, target)
        rows = [json.dumps(row(clip.stem)) + "\n" for clip in clips]
        (place / f"{name}.jsonl").write_text("".join(rows))
        whole = pathlib.Path(lmms_eval.__file__).parent / "tasks" / definition
        (place / f"local_{name}.yaml").write_text(
            f"include: {whole}\ntask: local_{name}\ndataset_path: json\n"
            f"dataset_kwargs:\n  data_files:\n    test: {name}.jsonl\n"
        )
    (home / "stand_in").mkdir()
    (home / "stand_in/sglang.py").write_text(_SGLANG)
    return place, {"HF_HOME": str(home), "PYTHONPATH": str(home / "stand_in")}


@pytest.mark.parametrize("model", ["sg4v", "sg4v_chat"])
def test_video_mme_mlvu_and_vdc_run_with_our_model_class(built_in, tmp_path, model):
    place, env = built_in
    names = [f"local_{name}" for name in _BUILT_IN]
    words = ["--model", model, "--model_args", "model=asset:world,prompt=plain"]
    results, samples = _lmms_eval(
        tmp_path, *words, "--tasks", ",".join(names), "--include_path", str(place), env=env
    )
    assert set(samples) == set(names)
    for rows in samples.values():
        assert len(rows) == 2
        assert all(isinstance(r["filtered_resps"][0], str) for r in rows)
    metrics = {m.partition(",")[0] for r in results.values() for m in r}
    assert {"videomme_perception_score", "mlvu_percetion_score", "llmms_eval_score"} <= metrics
    long = samples["local_detailed_test"][0]["filtered_resps"][0]
    assert not long.startswith(tasks.NO_ANSWER)


def test_the_built_in_definitions_of_these_tasks_are_known_by_name(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", _NAMES],
        check=False,
        cwd=tmp_path,
        env={**os.environ, "HF_HOME": str(tmp_path), "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    known = done.stdout.split()
    assert {"videomme", "mlvu_dev", "mlvu_test", "detailed_test", "mvbench"} <= set(known)
    assert {"sg4v_mvbench", "sg4v_tempcompass", "sg4v_videobench"} <= set(known)
    assert {"model:sg4v", "model:sg4v_chat"} <= set(known)


_NAMES = f"""
from lmms_eval.tasks import TaskManager
from lmms_eval import models

print(*TaskManager(include_path={str(plugin.TASKS)!r}).all_tasks)
for name in ("sg4v", "sg4v_chat"):
    assert models.get_model(name).__module__ == "sg4v_jax.harness.model"
    print("model:" + name)
"""
