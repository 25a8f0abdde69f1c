"""One step: micro-batches add up, means are as asked for, what is frozen stays."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from sg4v_jax.data import packing
from sg4v_jax.train import optim, state
from sg4v_jax.train.losses import next_token_loss
from sg4v_jax.train.step import make_step

RATE = 0.5
RULES = [("tower", optim.FROZEN), (".*", "all")]


def loss(model, batch, key):
    return next_token_loss(model, batch, dtype=jnp.float32, remat="none")


@pytest.fixture(scope="module")
def take_step(tiny_model):
    """Takes one step of plain gradient descent with a frozen tower: (state, metrics)."""
    groups = optim.assign(list(tiny_model.skeleton.shapes), RULES)
    optimizer = optax.sgd(RATE)
    compiled = {}

    def run(batch, *, accumulate: int = 1):
        if accumulate not in compiled:
            compiled[accumulate] = jax.jit(
                make_step(
                    loss,
                    skeleton=tiny_model.skeleton,
                    optimizer=optimizer,
                    accumulate=accumulate,
                ),
                compiler_options=tiny_model.quick,
            )
        start = state.create(tiny_model.params, groups=groups, optimizer=optimizer)
        return compiled[accumulate](start, batch, jax.random.key(0))

    return run


def split(batch, parts: int):
    return jax.tree.map(lambda x: x.reshape(parts, -1, *x.shape[1:]), batch)


def assert_same_parameters(got, want) -> None:
    for path, value in want.params().items():
        np.testing.assert_allclose(got.params()[path], value, rtol=1e-5, atol=1e-6, err_msg=path)


def test_two_micro_batches_are_one_batch(tiny_model, three, take_step):
    """The rows differ in scored positions, so a mean of means would differ."""
    batch = tiny_model.batch(three[:2], three[2:])
    whole, metrics = take_step(batch)
    parts, metrics_of_parts = take_step(split(batch, 2), accumulate=2)
    assert_same_parameters(parts, whole)
    assert metrics.keys() == metrics_of_parts.keys()
    for name, value in metrics.items():
        np.testing.assert_allclose(metrics_of_parts[name], value, rtol=1e-5, err_msg=name)


def test_a_step_moves_what_is_trained_and_only_that(tiny_model, three, take_step):
    new, metrics = take_step(tiny_model.batch(three[:2], three[2:]))
    assert int(new.step) == 1
    assert {p for p in tiny_model.params if p.startswith("tower")} == new.frozen.keys()
    for path, value in new.frozen.items():
        np.testing.assert_array_equal(value, tiny_model.params[path], err_msg=path)
    moved = {p: np.asarray(v) - tiny_model.params[p] for p, v in new.trained.items()}
    assert all(change.any() for change in moved.values())
    norm = np.sqrt(sum((change**2).sum() for change in moved.values())) / RATE
    np.testing.assert_allclose(metrics["grad_norm"], norm, rtol=1e-3)


def test_the_gradient_is_of_the_mean(tiny_model, three, take_step):
    """The same row twice weighs twice and moves as much."""
    once, metrics = take_step(tiny_model.batch(three, []))
    twice, metrics_of_two = take_step(tiny_model.batch(three, three))
    assert metrics_of_two["weight"] == 2 * metrics["weight"]
    np.testing.assert_allclose(metrics_of_two["grad_norm"], metrics["grad_norm"], rtol=1e-5)
    assert_same_parameters(twice, once)


def test_a_batch_of_holes_changes_nothing(tiny_model, take_step):
    new, metrics = take_step(tiny_model.batch([], []))
    assert metrics["weight"] == metrics["loss"] == metrics["grad_norm"] == 0
    for path, value in new.params().items():
        np.testing.assert_array_equal(value, tiny_model.params[path], err_msg=path)


def test_microbatch_norm_is_the_mean_of_means(tiny_model, take_step):
    """Five samples in groups of two, however they are packed into rows."""
    scored = [3, 11, 6, 2, 8]
    samples = [tiny_model.sample(i, tiles=1, text=12, scored=n) for i, n in enumerate(scored)]
    lengths = np.array([[len(s.sequence.tokens), 1, n] for s, n in zip(samples, scored)])
    plan = packing.plan(
        lengths, budget=tiny_model.budget, seed=4, epoch=1, norm="microbatch", microbatch=2
    )
    rows = [[samples[i]._replace(weight=float(plan.weights[i])) for i in row] for row in plan.rows]
    assert len(rows) == 2
    _, metrics = take_step(tiny_model.batch(*rows))

    total = [
        float(take_step(tiny_model.batch([s], []))[1]["loss"]) * n
        for s, n in zip(samples, scored, strict=True)
    ]
    order = np.random.default_rng([4, 1]).permutation(5)  # the epoch's, by the plan's docstring
    groups = [order[:2], order[2:4], order[4:]]
    means = [sum(total[i] for i in g) / sum(scored[i] for i in g) for g in groups]
    np.testing.assert_allclose(metrics["loss"], np.mean(means), rtol=1e-5)
    np.testing.assert_allclose(metrics["weight"], 3, rtol=1e-6)
    token_mean = sum(total) / sum(scored)
    assert abs(token_mean - np.mean(means)) > 1e-3, "the two norms must differ for this test"
