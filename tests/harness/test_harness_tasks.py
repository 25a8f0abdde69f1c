"""The task files, and the functions that they name; lmms-eval itself is not needed here."""

from __future__ import annotations

import importlib
import json
import math
import pathlib
import re

import pytest

from sg4v_jax.errors import ConfigError
from sg4v_jax.evals.benchmarks import get_protocol, open_benchmark
from sg4v_jax.evals.score import load_questions
from sg4v_jax.harness import plugin, tasks

FILES = sorted(plugin.TASKS.rglob("*.jsonl"))


@pytest.fixture
def folders(mini, monkeypatch):
    """The made-up benchmarks where the tasks look for the real ones."""
    for benchmark, variable in tasks.FOLDERS.items():
        monkeypatch.setenv(variable, str(mini(benchmark)))
    return {benchmark: mini(benchmark) for benchmark in tasks.FOLDERS}


def _named(path: pathlib.Path) -> dict[str, str]:
    [line] = path.read_text().splitlines()
    return json.loads(line)


def test_each_task_of_each_benchmark_has_its_files():
    found = {}
    for path in FILES:
        named = _named(path)
        found.setdefault(named["benchmark"], []).append(named["task"])
        yaml = path.with_suffix(".yaml").read_text()
        assert f"task: {path.stem}\n" in yaml and f"test: {path.name}\n" in yaml
        assert named["protocol"] == "sg4v"
    assert set(found) == set(tasks.FOLDERS)
    for benchmark, names in found.items():
        assert sorted(names) == sorted(open_benchmark(benchmark).TASKS)
        group = (plugin.TASKS / benchmark / f"sg4v_{benchmark}.yaml").read_text()
        listed = re.findall(r"^  - (sg4v_\w+)$", group, re.MULTILINE)
        assert sorted(listed) == sorted(p.stem for p in FILES if p.parent.name == benchmark)


def test_the_templates_name_functions_that_exist_and_the_protocols_lengths():
    for benchmark in tasks.FOLDERS:
        text = (plugin.TASKS / benchmark / "_template_yaml").read_text()
        named = re.findall(r"!function (\S+)", text)
        assert len(named) == 5
        for name in named:
            module, _, function = name.rpartition(".")
            assert callable(getattr(importlib.import_module(module), function))
        protocol = get_protocol(benchmark, "sg4v")
        assert f"max_new_tokens: {protocol.max_new_tokens}\n" in text
        assert "until: []\n" in text and protocol.temperature == 0
        assert f"- metric: {tasks.METRIC}\n" in text


def test_prompts_and_rows_are_those_of_the_benchmark(folders):
    for path in FILES:
        named = _named(path)
        benchmark, data = named["benchmark"], folders[named["benchmark"]]
        questions = load_questions(benchmark, data=data, tasks=(named["task"],)).questions
        docs = tasks.rows(named)
        assert [d["id"] for d in docs] == [q.id for q in questions]
        protocol = get_protocol(benchmark, "sg4v")
        for doc, question in zip(docs, questions, strict=True):
            assert tasks.text(doc) == protocol.prompt(question)
            [video] = tasks.visual(doc)
            assert pathlib.Path(video).exists()
            assert doc["gold"] == question.gold


def test_a_tasks_score_is_that_of_eval_score(folders, answered, tmp_path):
    for benchmark, data in folders.items():
        run = answered(benchmark, data, tmp_path / benchmark, accuracy=0.6, seed=4, missing=3)
        said = [json.loads(line) for line in (run / "predictions.jsonl").read_text().splitlines()]
        by_id = {row["id"]: row for row in said}
        cells = json.loads((run / "scores.json").read_text())["cells"]
        expected = {c["task"]: c["score"] for c in cells if c["group"] is None}
        for path in [p for p in FILES if p.parent.name == benchmark]:
            kept = []
            for doc in tasks.rows(_named(path)):
                row = by_id[doc["id"]]
                text = row["prediction"]
                text = tasks.no_answer(row["error"]) if text is None else text
                kept.append(tasks.results(doc, [text])[tasks.METRIC])
            found = tasks.score(kept)
            task = _named(path)["task"]
            if expected[task] is None:
                assert task == "captioning" and math.isnan(found)
            else:
                assert found == pytest.approx(expected[task]), path.stem


def test_nothing_said_is_not_an_empty_answer():
    gone = tasks.as_prediction(tasks.no_answer("gone"))
    assert (gone.text, gone.error) == (None, "gone")
    assert tasks.as_prediction("").text == ""


def test_a_folder_that_is_not_named_is_told(monkeypatch):
    monkeypatch.delenv("SG4V_MVBENCH_DIR", raising=False)
    with pytest.raises(ConfigError, match="SG4V_MVBENCH_DIR is not set"):
        tasks.data_folder("mvbench")


def test_the_verb_tells_the_folder_and_the_names(sg4v):
    assert sg4v("eval", "lmms_tasks").stdout.strip() == str(plugin.TASKS)
    listed = sg4v("eval", "lmms_tasks", "--list").stdout.split()
    assert len(listed) == 37 + 3 and "sg4v_videobench_sqa3d" in listed
