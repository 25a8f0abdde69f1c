"""A NaN is found at its step, named with its data, and never saved; or skipped, and counted."""

from __future__ import annotations

import dataclasses

import jax.numpy as jnp
import optax
import pytest

from sg4v_jax.errors import ConfigError
from sg4v_jax.train import metrics
from sg4v_jax.train.nonfinite import DivergedError, check_state
from sg4v_jax.train.state import TrainState

NAN, INF = float("nan"), float("inf")


def bad_at(*steps, **values):
    """The metrics of a step function that left the update out at `steps` (from 1)."""
    values = {"loss": NAN, "grad_norm": NAN, "nonfinite": 1.0} | values
    return lambda number: values if number + 1 in steps else {"nonfinite": 0.0}


def skipping(run, patience=10):
    run.settings = dataclasses.replace(run.settings, nonfinite="skip", max_skips=patience)
    return run


@pytest.mark.parametrize(("log_every", "last_line"), [(1, 5), (5, 5), (10, None)])
def test_it_stops_naming_the_exact_step(tmp_path, run_of, log_every, last_line):
    """Also where the log line is later, and before the save at step 8."""
    run = run_of(tmp_path, log_every=log_every, during=bad_at(6))
    with pytest.raises(DivergedError, match="the loss is nan at step 6") as error:
        run.go()
    assert "learning rate" in error.value.mend
    assert run.checkpoints.saved == [(4, 32)]
    lines = metrics.read(run.log)
    assert (lines[-1]["step"] if lines else None) == last_line


def test_it_names_norms_and_records(tmp_path, run_of):
    values = {"grad_norm/llm": INF, "grad_norm/projector": 0.25}
    asked = []

    def records_of(step):
        asked.append(step)
        return [f"train.json: {i}" for i in range(11)]

    run = run_of(tmp_path, log_every=5, during=bad_at(3, **values), records_of=records_of)
    with pytest.raises(DivergedError) as error:
        run.go()
    message = error.value.message
    assert "grad_norm/llm inf, grad_norm/projector 0.25" in message
    assert "train.json: 0, " in message and "train.json: 7 and 3 more" in message
    assert "train.json: 8" not in message
    assert asked == [3]


def test_an_infinite_gradient_of_a_finite_loss_is_found(tmp_path, run_of):
    run = run_of(tmp_path, during=lambda n: {"grad_norm": INF} if n == 2 else {})
    with pytest.raises(DivergedError, match=r"the loss is 2.0 at step 3 \(grad_norm inf"):
        run.go()


def test_skipped_steps_are_counted_and_not_averaged(tmp_path, run_of):
    run = skipping(run_of(tmp_path, steps=8, log_every=4, during=bad_at(2, 3, 5, 6, 7, 8)))
    assert run.go().finished
    first, second = metrics.read(run.log)
    assert (first["loss"], first["grad_norm"], first["skipped"]) == (2.0, 3.0, 2)
    assert first["samples"] == 4, "of the two steps that counted"
    assert second["skipped"] == 4 and "loss" not in second
    assert "skipped: the loss is nan at step 2" in run.said
    assert run.checkpoints.saved == [(4, 32), (8, 64)]


def test_a_row_of_skips_ends_in_a_stop(tmp_path, run_of):
    run = skipping(run_of(tmp_path, during=bad_at(1, 3, 4, 5, 6)), patience=3)
    with pytest.raises(DivergedError, match="nan at step 6 .*the 4th step in a row"):
        run.go()


def test_a_row_of_skips_is_counted_over_a_restart(tmp_path, run_of):
    run = skipping(run_of(tmp_path, steps=4, log_every=4, during=bad_at(3, 4, 5, 6)), patience=3)
    assert run.go().finished
    run.settings = dataclasses.replace(run.settings, steps=10)
    with pytest.raises(DivergedError, match="nan at step 6 .*the 4th step in a row"):
        run.go_on()


def test_a_bad_step_that_changed_the_parameters_cannot_be_skipped(tmp_path, run_of):
    run = skipping(run_of(tmp_path, during=bad_at(3, nonfinite=0.0)))
    with pytest.raises(DivergedError, match="nan at step 3"):
        run.go()


def test_parameters_that_are_not_finite_are_not_saved(tmp_path, run_of):
    run = run_of(tmp_path)
    run.value = NAN
    with pytest.raises(DivergedError, match="step 4 left numbers that are not finite in llm.ker"):
        run.go()
    assert run.checkpoints.saved == []


def test_slots_are_looked_at_too_and_frozen_parameters_are_not():
    trained = {"llm.kernel": jnp.ones(3), "llm.bias": jnp.zeros(2, jnp.bfloat16)}
    slots = optax.adam(1e-3).init(trained)
    frozen = {"tower.kernel": jnp.array([NAN])}
    check_state(TrainState(jnp.int32(2), trained, frozen, slots))
    slots[0].nu["llm.bias"] = slots[0].nu["llm.bias"].at[1].set(INF)
    with pytest.raises(DivergedError, match=r"step 2 left .* in optimizer .*nu\.llm\.bias"):
        check_state(TrainState(jnp.int32(2), trained, frozen, slots))


@pytest.mark.parametrize(("action", "patience"), [("ignore", 10), ("skip", 0)])
def test_settings_that_make_no_sense(tmp_path, run_of, action, patience):
    run = run_of(tmp_path)
    run.settings = dataclasses.replace(run.settings, nonfinite=action, max_skips=patience)
    with pytest.raises(ConfigError):
        run.go()
    assert not run.seen
