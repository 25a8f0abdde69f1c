"""The predictor's bench: both ways answer everything, and idle time is what the host took."""

from __future__ import annotations

import pytest

from sg4v_jax.bench import answers
from sg4v_jax.errors import RecordError
from sg4v_jax.evals import mvbench
from sg4v_jax.evals.answering import Pace
from sg4v_jax.evals.benchmarks import get_protocol
from tests.evals import asking, made_up


def test_both_ways_answer_all_questions_in_each_round(tmp_path):
    rows = [made_up.mvbench_row(n, video=f"v{n % 2}.mp4") for n in range(6)]
    made_up.dump(tmp_path / "json" / "state_change.json", rows)
    questions = mvbench.load(tmp_path, tasks=["SC"]).questions
    engine = asking.Engine()
    how = dict(protocol=get_protocol("mvbench", "sg4v"), data=str(tmp_path), pace=Pace(batch=2))
    said = []
    report = answers.measure(engine, questions, rounds=2, progress=said.append, **how)
    assert len(engine.asked) == 6 * 2 * 3
    assert said[:3] == ["compile, overlapped", "compile, in turn", "round 1 of 2, overlapped"]
    assert [way["way"] for way in report["ways"]] == ["overlapped", "in turn"]
    for way in report["ways"]:
        assert way["questions_per_s"]["low"] > 0 and 0 <= way["idle_share"]["median"] <= 1
    assert report["ratio"]["low"] <= report["ratio"]["median"] <= report["ratio"]["high"]
    assert report["videos"] == 2 and report["machine"]["cores"] >= 1
    engine.settings.inputs.missing = {"v1"}
    with pytest.raises(RecordError, match=r"state_change/1: MissingVideoError"):
        answers.measure(engine, questions, rounds=1, **how)
