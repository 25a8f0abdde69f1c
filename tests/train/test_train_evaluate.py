"""Evaluations: at their steps and at the last, each once, however the run was interrupted."""

from __future__ import annotations

import os
import signal

import pytest

from sg4v_jax.errors import ConfigError, VideoError
from sg4v_jax.train import metrics
from sg4v_jax.train.evaluate import Evaluation


class Meter:
    """An evaluation that remembers what it was shown; `fails` maps a call's number to an error."""

    def __init__(self, name="held-out", *, every=4, fails=()):
        self.seen, self._fails = [], dict(fails)
        self.evaluation = Evaluation(name, every, self._run)

    def _run(self, params):
        self.seen.append(float(params["llm.kernel"]))
        if len(self.seen) in self._fails:
            raise self._fails[len(self.seen)]
        return {"loss": len(self.seen) / 10}


def lines_of(run, name="held-out") -> list[dict]:
    return [r for r in metrics.read(run.log) if r.get("eval") == name]


def test_they_run_at_their_steps_and_at_the_last(tmp_path, run_of):
    often, seldom = Meter("often", every=4), Meter("seldom", every=100)
    run = run_of(tmp_path, steps=10, evaluations=[often.evaluation, seldom.evaluation])
    assert run.go().finished
    assert [r["step"] for r in lines_of(run, "often")] == [4, 8, 10]
    assert [r["eval/loss"] for r in lines_of(run, "often")] == [0.1, 0.2, 0.3]
    assert [r["step"] for r in lines_of(run, "seldom")] == [10]
    assert len(often.seen) == 3 and len(seldom.seen) == 1
    steps = [r["step"] for r in metrics.read(run.log) if "eval" not in r]
    assert steps == list(range(1, 11)), "training is logged as without"
    assert "step 8: often: loss 0.2" in run.said
    assert run.go_on().finished and len(often.seen) == 3, "a finished run repeats nothing"


def test_a_stop_does_not_wait_for_an_evaluation_and_loses_none(tmp_path, run_of):
    """Asked to stop in step 4, where one is due: it is made when the run goes on."""
    meter = Meter()
    run = run_of(
        tmp_path,
        during=lambda n: os.kill(os.getpid(), signal.SIGTERM) or {} if n in (3, 9) else {},
        evaluations=[meter.evaluation],
    )
    assert not run.go().finished
    assert meter.seen == [] and run.checkpoints.saved == [(4, 32)]
    assert not run.go_on().finished, "stopped in the last step, with an evaluation to come"
    assert [r["step"] for r in lines_of(run)] == [4, 8]
    assert run.go_on().finished
    assert [r["step"] for r in lines_of(run)] == [4, 8, 10]
    assert len(meter.seen) == 3 and run.seen == list(range(10))


def test_after_a_kill_none_is_told_twice(tmp_path, run_of):
    """Killed at step 7 with a checkpoint of step 3: step 4 is evaluated again, and told once."""

    def during(number):
        if number == 6 and len(run.seen) == 7:
            raise KeyboardInterrupt
        return {}

    meter = Meter()
    run = run_of(tmp_path, save_every=3, during=during, evaluations=[meter.evaluation])
    with pytest.raises(KeyboardInterrupt):
        run.go()
    run.checkpoints.saved = run.checkpoints.saved[:1]
    assert run.go_on().finished
    assert [(r["step"], r["eval/loss"]) for r in lines_of(run)] == [(4, 0.2), (8, 0.3), (10, 0.4)]


def test_what_decides_the_best_is_scored_and_its_steps_are_saved(tmp_path, run_of):
    meter = Meter(every=3)
    run = run_of(tmp_path, save_every=100, best="eval/loss", evaluations=[meter.evaluation])
    run.go()
    assert [step for step, _ in run.checkpoints.saved] == [3, 6, 9, 10]
    assert run.checkpoints.scores == {
        n: {"eval/loss": i / 10} for i, n in enumerate([3, 6, 9, 10], 1)
    }


def test_one_that_cannot_be_made_is_said_and_training_goes_on(tmp_path, run_of):
    meter = Meter(fails={1: VideoError("held.mp4: no frames", mend="remove it")})
    run = run_of(tmp_path, best="eval/loss", evaluations=[meter.evaluation])
    assert run.go().finished
    first, second, _ = lines_of(run)
    assert first == {"step": 4, "eval": "held-out", "error": "held.mp4: no frames"}
    assert second["eval/loss"] == 0.2
    assert set(run.checkpoints.scores) == {8, 10}
    assert "evaluation held-out at step 4 failed: held.mp4: no frames" in run.said


@pytest.mark.parametrize("error", [ConfigError("eval.parts: no file"), ZeroDivisionError()])
def test_a_mistake_in_its_settings_and_a_bug_stop_the_run(tmp_path, run_of, error):
    run = run_of(tmp_path, evaluations=[Meter(fails={1: error}).evaluation])
    with pytest.raises(type(error)):
        run.go()
    assert run.checkpoints.saved == [(4, 32)], "which was saved before"


@pytest.mark.parametrize(
    ("meters", "best", "message"),
    [
        ([Meter(), Meter()], None, "two evaluations are named 'held-out'"),
        ([Meter(every=0)], None, "due every 0 steps"),
        ([], "eval/loss", "nothing is evaluated"),
    ],
)
def test_mistakes_are_found_before_the_first_step(tmp_path, run_of, meters, best, message):
    run = run_of(tmp_path, best=best, evaluations=[m.evaluation for m in meters])
    with pytest.raises(ConfigError, match=message):
        run.go()
    assert not run.seen


def test_a_best_that_nobody_measures_is_found_at_the_first_evaluation(tmp_path, run_of):
    run = run_of(tmp_path, best="eval/lose", evaluations=[Meter().evaluation])
    with pytest.raises(ConfigError, match="run.best is 'eval/lose'") as error:
        run.go()
    assert error.value.mend == "use one of eval/loss"
    assert len(run.seen) == 4
