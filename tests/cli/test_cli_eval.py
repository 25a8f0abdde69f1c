"""`sg4v eval`: predict with the shipped model, go on, score; and what is refused."""

from __future__ import annotations

import shutil

import pytest

from sg4v_jax import files
from tests.evals import made_up


@pytest.fixture(scope="module")
def data(tiny, tmp_path_factory):
    """Two questions of MVBench on one real video."""
    folder = tmp_path_factory.mktemp("mvbench")
    rows = [made_up.mvbench_row(0, question=f"Which {n}?") for n in range(2)]
    made_up.dump(folder / "json" / "object_existence.json", rows)
    videos = folder / "video" / "clevrer" / "video_validation"
    videos.mkdir(parents=True)
    shutil.copy(tiny.video, videos / "v0.mp4")
    return folder


def test_predict_and_score(tiny, data, tmp_path):
    words = ["eval", "predict", "--benchmark=mvbench", f"--data={data}", "--tasks=OE"]
    words += ["--model=asset:world", f"--out={tmp_path / 'run'}", "--batch=2", "--mesh=data=1"]
    done = tiny.run(*words, "--max_new_tokens=2", "--limit=2")
    assert done.returncode == 0, done.stderr
    assert "object_existence.json: 2 questions, the published file has 200" in done.stderr
    assert "2 questions answered, 0 of them failed" in done.stderr
    rows = files.read_jsonl(tmp_path / "run" / "predictions.jsonl")
    assert [row["id"] for row in rows] == ["object_existence/0", "object_existence/1"]
    assert all(row["prediction"].startswith("(") for row in rows)
    run = files.read_json(tmp_path / "run" / "run.json")
    assert run["visual"] == "overview" and run["generation"]["max_new_tokens"] == 2
    flags = [f"--data={data}", f"--predictions={tmp_path / 'run'}", f"--out={tmp_path / 'scores'}"]
    done = tiny.run("eval", "score", "--benchmark=mvbench", *flags)
    assert done.returncode == 0, done.stderr
    assert "mvbench (sg4v): micro of 1 of 20 tasks, at most 2" in done.stdout
    found = files.read_json(tmp_path / "scores" / "scores.json")
    assert found["model"] == "asset:world" and found["protocol"] == "sg4v"
    assert found["cells"][0]["total"] == 2


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["eval", "predict"], "eval predict needs --benchmark"),
        (["bench", "answers", "--model=x"], "bench answers needs --benchmark"),
        (
            ["eval", "score", "--benchmark=glue", "--data=x", "--predictions=x", "--out=x"],
            "benchmark 'glue' is unknown",
        ),
    ],
)
def test_what_is_refused(tiny, words, message):
    done = tiny.run(*words)
    assert done.returncode == 2 and message in done.stderr
