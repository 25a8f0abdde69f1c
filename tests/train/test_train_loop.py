"""The loop with steps that only count: when it logs, saves, stops and gives up."""

from __future__ import annotations

import itertools
import os
import signal

import jax.numpy as jnp
import pytest
from rich.console import Console

from sg4v_jax.train import loop, metrics
from sg4v_jax.train.state import TrainState


class FakeCheckpoints:
    """Remembers what was saved."""

    def __init__(self):
        self.saved = []

    def save(self, state, *, data):
        self.saved.append((int(state.step), data["row"]))


class Run:
    """One call of the loop; batch n is the number n, and step n sees it."""

    def __init__(self, tmp_path, *, first=0, steps=10, log_every=1, save_every=4, during=None):
        self.checkpoints, self.seen = FakeCheckpoints(), []
        self.log = tmp_path / "metrics.jsonl"
        self._during = during or (lambda number: {})
        self._call = dict(
            batches=lambda start: itertools.count(start),
            data_state=lambda done: {"row": 8 * done},
            rates=lambda number: {"all": 0.1 * number},
            checkpoints=self.checkpoints,
            settings=loop.LoopSettings(steps=steps, log_every=log_every, save_every=save_every),
            console=Console(quiet=True),
        )
        self._first = first

    def go(self) -> loop.Outcome:
        start = TrainState(jnp.int32(self._first), {}, {}, ())
        log = metrics.MetricsLog(self.log, step=self._first)
        return loop.run(start, step=self._step, log=log, **self._call)

    def _step(self, state, batch):
        self.seen.append(batch)
        values = {"loss": 2.0, "weight": 1.0, "correct": 1.0, "scored": 4.0, "grad_norm": 3.0}
        values |= {"samples": 2.0, "tokens": 10.0} | self._during(batch)
        return state._replace(step=state.step + 1), values


def test_it_goes_on_from_its_state_and_saves_at_the_end(tmp_path):
    run = Run(tmp_path, first=3, steps=10, save_every=4)
    outcome = run.go()
    assert outcome.finished and int(outcome.state.step) == 10
    assert run.seen == [3, 4, 5, 6, 7, 8, 9]
    assert run.checkpoints.saved == [(4, 32), (8, 64), (10, 80)]
    assert [r["step"] for r in metrics.read(run.log)] == [4, 5, 6, 7, 8, 9, 10]


@pytest.mark.parametrize("first", [10, 12])
def test_nothing_to_do_is_done(tmp_path, first):
    run = Run(tmp_path, first=first, steps=10)
    assert run.go().finished
    assert run.seen == run.checkpoints.saved == []


def test_a_log_line_is_the_mean_since_the_last(tmp_path):
    """Losses are weighted by their weights, hits by what was scored."""
    values = {0: (1.0, 1.0, 1.0), 1: (4.0, 3.0, 2.0), 2: (7.0, 2.0, 0.0)}

    def during(number):
        loss, weight, correct = values[number]
        return {"loss": loss, "weight": weight, "correct": correct}

    run = Run(tmp_path, steps=3, log_every=2, during=during)
    run.go()
    first, second = metrics.read(run.log)
    assert (first["step"], second["step"]) == (2, 3), "the last step is logged too"
    assert first["loss"] == pytest.approx((1 * 1 + 4 * 3) / 4)
    assert first["accuracy"] == pytest.approx(3 / 8)
    assert (first["samples"], first["tokens"], first["scored"]) == (4, 20, 8)
    assert first["grad_norm"] == pytest.approx(3.0)
    assert (second["loss"], second["accuracy"]) == (7.0, 0.0)
    assert first["rate/all"] == pytest.approx(0.1), "of the step that was taken"
    assert first["seconds"] >= first["input_seconds"] >= 0


def test_a_loss_that_is_no_number_stops_before_it_is_saved(tmp_path):
    run = Run(tmp_path, during=lambda number: {"loss": float("nan")} if number == 5 else {})
    with pytest.raises(loop.DivergedError, match="nan at step 6") as error:
        run.go()
    assert "learning rate" in error.value.mend
    assert run.checkpoints.saved == [(4, 32)]
    assert metrics.read(run.log)[-1]["step"] == 5


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_step_saves_and_stops(tmp_path, number):
    before = signal.getsignal(number)

    def during(step):
        if step == 5:
            os.kill(os.getpid(), number)
        return {}

    run = Run(tmp_path, during=during)
    outcome = run.go()
    assert not outcome.finished and int(outcome.state.step) == 6
    assert run.seen[-1] == 5
    assert run.checkpoints.saved == [(4, 32), (6, 48)]
    assert signal.getsignal(number) is before


def test_a_signal_in_the_last_step_is_an_end_as_any(tmp_path):
    run = Run(
        tmp_path,
        steps=3,
        during=lambda n: os.kill(os.getpid(), signal.SIGTERM) or {} if n == 2 else {},
    )
    assert run.go().finished
    assert run.checkpoints.saved == [(3, 24)]


def test_a_second_ctrl_c_does_not_wait(tmp_path):
    before = signal.getsignal(signal.SIGINT)

    def during(number):
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)
        return {}

    run = Run(tmp_path, during=during)
    with pytest.raises(KeyboardInterrupt):
        run.go()
    assert run.checkpoints.saved == []
    assert signal.getsignal(signal.SIGINT) is before
