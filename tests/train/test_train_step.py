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


def test_norms_by_group_make_the_whole(tiny_model, three):
    groups = {
        p: optim.FROZEN if p.startswith("tower") else p.split(".")[0] for p in tiny_model.params
    }
    step = make_step(
        loss,
        skeleton=tiny_model.skeleton,
        optimizer=optax.sgd(RATE),
        accumulate=1,
        groups=groups,
    )
    start = state.create(tiny_model.params, groups=groups, optimizer=optax.sgd(RATE))
    new, metrics = jax.jit(step, compiler_options=tiny_model.quick)(
        start, tiny_model.batch(three), jax.random.key(0)
    )
    norms = {k.removeprefix("grad_norm/"): float(v) for k, v in metrics.items() if "norm/" in k}
    assert norms.keys() == {"llm", "projector", "separators"}
    np.testing.assert_allclose(np.hypot.reduce([*norms.values()]), metrics["grad_norm"], rtol=1e-5)
    moved = {p: (np.asarray(v) - tiny_model.params[p]) / RATE for p, v in new.trained.items()}
    for name, norm in norms.items():
        want = sum(np.square(g).sum() for p, g in moved.items() if p.startswith(name)) ** 0.5
        np.testing.assert_allclose(norm, want, rtol=1e-3, err_msg=name)


class Line:
    """Stands for a skeleton: the model is the array `a` itself."""

    def build(self, flat):
        return flat["a"]


def product(x, batch, key):
    return (x * batch).sum(), jnp.float32(1), {}


def line(optimizer, *, size: int):
    """(step, state at step 0) of training `a` on the loss `a * batch`."""
    step = make_step(product, skeleton=Line(), optimizer=optimizer, accumulate=1)
    return step, state.create({"a": jnp.ones(size)}, groups={"a": "all"}, optimizer=optimizer)


def test_a_step_that_is_not_finite_changes_nothing_but_its_number():
    step, start = line(optax.chain(optax.clip_by_global_norm(1.0), optax.adamw(0.1)), size=2)
    step, key = jax.jit(step), jax.random.key(0)
    first, metrics = step(start, jnp.array([1.0, 2.0]), key)
    assert metrics["nonfinite"] == 0 and metrics["nonfinite"].dtype == jnp.int32
    assert (np.asarray(first.trained["a"]) < 1).all()
    for broken in (jnp.nan, jnp.inf):
        after, metrics = step(first, jnp.array([1.0, broken]), key)
        assert metrics["nonfinite"] == 1 and int(after.step) == int(first.step) + 1
        jax.tree.map(np.testing.assert_array_equal, after._replace(step=first.step), first)
    # Gradients alone may overflow: each is finite, their norm in f32 is not.
    after, metrics = step(first, jnp.array([3e38, -3e38]), key)
    assert metrics["nonfinite"] == 1 and np.isfinite(metrics["loss"])
    np.testing.assert_array_equal(after.trained["a"], first.trained["a"])


def test_the_schedule_goes_on_over_a_step_that_is_left_out():
    """Rates 1, 2, 3: the step after the one left out takes the third."""
    rates = jnp.array([1.0, 2.0, 3.0])
    step, now = line(
        optax.chain(optax.trace(0.5), optax.scale_by_learning_rate(rates.__getitem__)), size=1
    )
    step, key = jax.jit(step), jax.random.key(0)
    now, _ = step(now, jnp.ones(1), key)
    np.testing.assert_allclose(now.trained["a"], 1 - 1 * 1)
    now, metrics = step(now, jnp.full(1, jnp.nan), key)
    assert metrics["nonfinite"] == 1
    now, _ = step(now, jnp.ones(1), key)
    np.testing.assert_allclose(now.trained["a"], 0 - 3 * (1 + 0.5))  # momentum: of one step


def test_a_guarded_update_holds_no_second_copy():
    """The compiled step with a donated state holds what an update without the guard does."""
    optimizer = optax.chain(optax.clip_by_global_norm(1.0), optax.adamw(0.1))
    guarded, start = line(optimizer, size=100_000)

    def unguarded(state, batch, key):
        grads = jax.grad(lambda trained: product(trained["a"], batch, key)[0])(state.trained)
        updates, slots = optimizer.update(grads, state.slots, state.trained)
        trained = optax.apply_updates(state.trained, updates)
        return state._replace(step=state.step + 1, trained=trained, slots=slots), {}

    def memory(step):
        compiled = jax.jit(step, donate_argnums=0).lower(
            start, jnp.ones(100_000), jax.random.key(0)
        )
        return compiled.compile().memory_analysis()

    state_size = sum(x.nbytes for x in jax.tree.leaves(start))
    assert state_size <= memory(guarded).alias_size_in_bytes, "all of it is updated in place"
    assert memory(guarded).temp_size_in_bytes < 1.1 * memory(unguarded).temp_size_in_bytes + 10_000


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
