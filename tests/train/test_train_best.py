"""The best checkpoints by an evaluation stay, also over a restart, and can be asked for."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import optax
import pytest

from sg4v_jax.errors import CheckpointError, ConfigError
from sg4v_jax.train import state
from sg4v_jax.train.checkpoint import Best, Checkpoints
from sg4v_jax.weights.checkpoint_files import Scores
from sg4v_jax.weights.store import load_params

METRIC = "eval/accuracy"


def make_state(step: int) -> state.TrainState:
    flat = {"llm.kernel": jnp.full((2, 2), step, jnp.float32)}
    made = state.create(flat, groups={"llm.kernel": "all"}, optimizer=optax.sgd(1.0))
    return made._replace(step=jnp.int32(step))


def go(checkpoints: Checkpoints, scores: dict[int, float | None]) -> None:
    """Saves and scores steps as the loop does: the score comes while the save is written."""
    for step, score in scores.items():
        checkpoints.save(make_state(step), data={"row": step})
        if score is not None:
            checkpoints.score(step, {METRIC: score, "eval/other": -score})
    checkpoints.wait()


def steps_in(folder) -> set[int]:
    return {int(p.name) for p in (folder / "checkpoints").iterdir()}


@pytest.mark.parametrize(("mode", "best"), [("max", 2), ("min", 3)])
def test_the_best_and_the_latest_stay(tmp_path, mode, best):
    checkpoints = Checkpoints(tmp_path, keep=1, best=Best(metric=METRIC, mode=mode))
    go(checkpoints, {1: 0.5, 2: 0.9, 3: 0.1, 4: 0.6, 5: None, 6: float("nan"), 7: 0.7})
    assert steps_in(tmp_path) == {best, 7}
    assert checkpoints.best_step() == best and checkpoints.latest_step() == 7
    checkpoints.close()
    assert load_params(tmp_path)["llm.kernel"][0, 0] == 7
    assert load_params(tmp_path, step="best")["llm.kernel"][0, 0] == best
    assert load_params(tmp_path, step=best)["llm.kernel"][0, 0] == best


def test_a_resumed_run_knows_the_best(tmp_path):
    best = Best(metric=METRIC, keep=2)
    first = Checkpoints(tmp_path, keep=1, best=best)
    go(first, {1: 0.9, 2: 0.1, 3: 0.8, 4: 0.3})
    first.close()
    again = Checkpoints(tmp_path, keep=1, best=best)
    go(again, {5: 0.2, 6: 0.4})
    assert steps_in(tmp_path) == {1, 3, 6}
    go(again, {7: 0.95, 8: None})
    assert steps_in(tmp_path) == {1, 7, 8}
    again.close()


def test_another_metric_starts_anew(tmp_path):
    first = Checkpoints(tmp_path, keep=2, best=Best(metric=METRIC))
    go(first, {1: 0.9, 2: 0.1})
    first.close()
    other = Checkpoints(tmp_path, keep=2, best=Best(metric="eval/other"))
    assert other.best_step() is None
    go(other, {3: 0.5, 4: 0.7})
    assert steps_in(tmp_path) == {3, 4}
    assert other.best_step() == 3, "0.7 of the other metric is -0.7 of this"
    other.close()


def test_no_score_no_best(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    go(checkpoints, {1: 0.9})
    checkpoints.close()
    assert not (tmp_path / "best.json").exists()
    with pytest.raises(CheckpointError, match="no checkpoint of it has a score"):
        load_params(tmp_path, step="best")
    with pytest.raises(CheckpointError, match=r"no checkpoint of step 4; it has \[1\]"):
        load_params(tmp_path, step=4)


def test_a_damaged_table_of_scores_is_named(tmp_path):
    (tmp_path / "best.json").write_text('{"metric": "eval/accuracy", "mode": "max"}')
    with pytest.raises(CheckpointError, match=r"best.json: not a table of scores"):
        Checkpoints(tmp_path, best=Best(metric=METRIC))


def test_an_unknown_mode(tmp_path):
    with pytest.raises(ConfigError, match="mode 'highest' is unknown"):
        Checkpoints(tmp_path, best=Best(metric=METRIC, mode="highest"))


def test_of_equals_the_later_is_best():
    scores = Scores(METRIC, "min", {1: 0.5, 2: 0.5, 3: 0.7, 4: np.inf, 5: np.nan})
    assert scores.best([1, 2, 3, 4, 5, 6], keep=9) == [2, 1, 3]
