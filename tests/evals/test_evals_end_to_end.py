"""Predict, score, report: the commands of the README, on made-up benchmarks with real videos."""

from __future__ import annotations

import json
import re

import pytest

from sg4v_jax.evals.benchmarks import open_benchmark

SHAPES = ("tempcompass", "videobench", "mvbench", "videochatgpt")


@pytest.mark.slow
def test_the_shipped_model_goes_the_whole_way_on_each_shape(sg4v, tmp_path):
    for shape in SHAPES:
        data, out = tmp_path / "data" / shape, tmp_path / "runs" / shape
        steps = [
            ["world", "benchmark", f"--shape={shape}", f"--out={data}", "--videos=3"],
            ["eval", "predict", f"--benchmark={shape}", f"--data={data}", "--model=asset:world"]
            + [f"--out={out}"],
            ["eval", "score", f"--benchmark={shape}", f"--data={data}", f"--predictions={out}"]
            + [f"--out={out}"],
        ]
        for words in steps:
            done = sg4v(*words)
            assert done.returncode == 0, done.stderr
        scores = json.loads((out / "scores.json").read_text())
        rows = [json.loads(line) for line in (out / "rows.jsonl").read_text().splitlines()]
        assert not scores["missing"] and all(isinstance(r["prediction"], str) for r in rows)
        asked = {json.loads(line)["task"] for line in (out / "predictions.jsonl").open()}
        assert asked == set(open_benchmark(shape).TASKS)
    page = tmp_path / "report.html"
    runs, data = (
        ",".join(str(tmp_path / kind / shape) for shape in SHAPES) for kind in ("runs", "data")
    )
    done = sg4v("eval", "report", f"--runs={runs}", f"--data={data}", f"--out={page}")
    assert done.returncode == 0, done.stderr
    text = page.read_text()
    for title in ("TempCompass", "Video-Bench", "MVBench", "Video-ChatGPT benchmark"):
        assert "</h2>" in text and re.search(rf"<h2[^>]*>{title}</h2>", text)
    assert text.count('<img src="data:image/jpeg') >= len(SHAPES) * 3
    assert "Over three benchmarks" in text and page.stat().st_size < 3_000_000
