"""The loop with steps that only count: when it logs, saves, stops and gives up."""

from __future__ import annotations

import os
import signal

import jax
import pytest

from sg4v_jax.errors import StorageError
from sg4v_jax.train import metrics


def test_it_goes_on_from_its_state_and_saves_at_the_end(tmp_path, run_of):
    run = run_of(tmp_path, first=3, steps=10, save_every=4)
    outcome = run.go()
    assert outcome.finished and int(outcome.state.step) == 10
    assert run.seen == [3, 4, 5, 6, 7, 8, 9]
    assert run.checkpoints.saved == [(4, 32), (8, 64), (10, 80)]
    assert [r["step"] for r in metrics.read(run.log)] == [4, 5, 6, 7, 8, 9, 10]


@pytest.mark.parametrize("first", [10, 12])
def test_nothing_to_do_is_done(tmp_path, run_of, first):
    run = run_of(tmp_path, first=first, steps=10)
    assert run.go().finished
    assert run.seen == run.checkpoints.saved == []


def test_a_log_line_is_the_mean_since_the_last(tmp_path, run_of):
    """Losses are weighted by their weights, hits by what was scored."""
    values = {0: (1.0, 1.0, 1.0), 1: (4.0, 3.0, 2.0), 2: (7.0, 2.0, 0.0)}

    def during(number):
        loss, weight, correct = values[number]
        return {"loss": loss, "weight": weight, "correct": correct}

    run = run_of(tmp_path, steps=3, log_every=2, during=during)
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


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_step_saves_and_stops(tmp_path, run_of, number):
    before = signal.getsignal(number)

    def during(step):
        if step == 5:
            os.kill(os.getpid(), number)
        return {}

    run = run_of(tmp_path, during=during)
    outcome = run.go()
    assert not outcome.finished and int(outcome.state.step) == 6
    assert run.seen[-1] == 5
    assert run.checkpoints.saved == [(4, 32), (6, 48)]
    assert signal.getsignal(number) is before


def test_a_signal_in_the_last_step_is_an_end_as_any(tmp_path, run_of):
    run = run_of(
        tmp_path,
        steps=3,
        during=lambda n: os.kill(os.getpid(), signal.SIGTERM) or {} if n == 2 else {},
    )
    assert run.go().finished
    assert run.checkpoints.saved == [(3, 24)]


def test_a_second_ctrl_c_does_not_wait(tmp_path, run_of):
    before = signal.getsignal(signal.SIGINT)

    def during(number):
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)
        return {}

    run = run_of(tmp_path, during=during)
    with pytest.raises(KeyboardInterrupt):
        run.go()
    assert run.checkpoints.saved == []
    assert signal.getsignal(signal.SIGINT) is before


def without_timings(log) -> list[dict]:
    return [{k: v for k, v in r.items() if "seconds" not in k} for r in metrics.read(log)]


def test_a_stop_between_log_lines_changes_no_line(tmp_path, run_of):
    """The numbers are awkward, so that sums in another order would differ in the last bit."""

    def during(number):
        loss = 1 / (3 + number)
        return {"loss": loss, "weight": 0.1 * number + 0.7, "grad_norm/llm": loss / 7}

    def stopping_at(*steps):
        def run_on(number):
            if number + 1 in steps:
                os.kill(os.getpid(), signal.SIGTERM)
            return during(number)

        return run_on

    whole = run_of(tmp_path / "whole", steps=20, log_every=7, save_every=5, during=during)
    whole.go()
    cut = run_of(tmp_path / "cut", steps=20, log_every=7, save_every=5, during=stopping_at(3, 12))
    first = cut.go()
    assert not first.finished and int(first.state.step) == 3
    cut.go_on()
    assert cut.go_on().finished
    assert cut.seen == list(range(20))
    lines = without_timings(whole.log)
    assert [r["step"] for r in lines] == [7, 14, 20]
    assert lines[0]["grad_norm/llm"] == pytest.approx(sum(1 / (3 + n) / 7 for n in range(7)) / 7)
    assert without_timings(cut.log) == lines


def test_a_kill_after_a_save_between_log_lines_changes_no_line(tmp_path, run_of):
    """The log has lines that the checkpoint does not know; they are written again, the same."""

    def during(number):
        if number == 17 and not killed:
            killed.append(number)
            raise KeyboardInterrupt
        return {"loss": 1 / (3 + number), "weight": 0.1 * number + 0.7}

    killed = [None]
    whole = run_of(tmp_path / "whole", steps=20, log_every=3, save_every=5, during=during)
    whole.go()
    killed = []
    cut = run_of(tmp_path / "cut", steps=20, log_every=3, save_every=5, during=during)
    with pytest.raises(KeyboardInterrupt):
        cut.go()
    assert metrics.read(cut.log)[-1]["step"] == 15
    cut.checkpoints.saved = [saved for saved in cut.checkpoints.saved if saved[0] <= 10]
    assert cut.go_on().finished
    assert cut.seen == [*range(18), *range(10, 20)]
    assert without_timings(cut.log) == without_timings(whole.log)


def test_metrics_are_read_from_the_device_only_to_be_logged(tmp_path, run_of, monkeypatch):
    read_at, steps = [], []
    read = jax.device_get

    def counting(value):
        read_at.append(len(steps))
        return read(value)

    monkeypatch.setattr(jax, "device_get", counting)
    run_of(
        tmp_path, steps=10, log_every=5, save_every=10, during=lambda n: steps.append(n) or {}
    ).go()
    assert set(read_at) == {5, 10}


def test_a_save_that_failed_in_the_background_is_told_at_the_end(tmp_path, run_of):
    run = run_of(tmp_path)
    run.checkpoints.fails = StorageError("saving step 10 failed; step 8 is still usable")
    with pytest.raises(StorageError, match="step 8 is still usable"):
        run.go()


def test_on_a_full_disk_the_save_says_more_than_the_log(tmp_path, run_of, small_disk):
    run = run_of(tmp_path, during=lambda n: full.__enter__() or {} if n == 4 else {})
    full = small_disk(10)
    run.checkpoints.fails = StorageError("saving step 4 failed; none was saved yet")
    try:
        with pytest.raises(StorageError, match="saving step 4 failed") as error:
            run.go()
    finally:
        full.__exit__(None, None, None)
    assert "metrics.jsonl" in str(error.value.__cause__)
