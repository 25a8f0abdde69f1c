"""The loss is a sum over scored positions, whatever the packing and the vocabulary chunks."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sg4v_jax.train.cross_entropy import chunked_cross_entropy
from sg4v_jax.train.losses import next_token_loss

TOLERANCE = dict(rtol=1e-5, atol=1e-5)


@pytest.fixture(scope="module")
def loss_and_gradient(tiny_model):
    """(params, batch) -> (total, weight, metrics), gradients of the total; compiled once a shape."""

    def total(params, batch):
        model = tiny_model.skeleton.build(params)
        total, weight, metrics = next_token_loss(
            model, batch, dtype=jnp.float32, remat="none", vocab_chunks=2
        )
        return total, (total, weight, metrics)

    compiled = jax.jit(jax.grad(total, has_aux=True), compiler_options=tiny_model.quick)

    def run(batch):
        gradients, values = compiled(tiny_model.params, batch)
        return values, gradients

    return run


def assert_close(got: dict, want: dict) -> None:
    for path, value in want.items():
        np.testing.assert_allclose(got[path], value, **TOLERANCE, err_msg=path)


def test_three_packed_videos_are_three_videos_alone(tiny_model, three, loss_and_gradient):
    (packed, weight, metrics), gradient = loss_and_gradient(tiny_model.batch(three))
    alone = [loss_and_gradient(tiny_model.batch([sample])) for sample in three]

    np.testing.assert_allclose(packed, sum(values[0] for values, _ in alone), **TOLERANCE)
    assert weight == sum(values[1] for values, _ in alone) == 17
    added = {p: sum(g[p] for _, g in alone) for p in gradient}
    assert_close(gradient, added)
    for name, value in metrics.items():
        assert value == sum(values[2][name] for values, _ in alone), name
    assert metrics["samples"] == 3


@pytest.mark.parametrize("number", range(3))
def test_each_packed_video_has_its_own_loss(tiny_model, three, loss_and_gradient, number):
    """Weight on one sample of the row alone: nothing of its neighbours shows."""
    only = [s._replace(weight=float(i == number)) for i, s in enumerate(three)]
    (packed, _, _), gradient = loss_and_gradient(tiny_model.batch(only))
    (alone, _, _), wanted = loss_and_gradient(tiny_model.batch([three[number]]))
    np.testing.assert_allclose(packed, alone, **TOLERANCE)
    assert_close(gradient, wanted)


def test_chosen_positions_score_as_all_with_zero_weights(tiny_model, three, loss_and_gradient):
    chosen = tiny_model.batch(three)
    positions = chosen.tokens.shape[1]
    weights, targets = np.zeros((1, positions), np.float32), np.zeros((1, positions), np.int32)
    rng = np.random.default_rng(0)
    some = np.flatnonzero(chosen.loss_index[0] >= 0)
    chosen.loss_weights[0, some] = rng.uniform(0.5, 2, len(some))
    weights[0, chosen.loss_index[0, some]] = chosen.loss_weights[0, some]
    targets[0, chosen.loss_index[0, some]] = chosen.targets[0, some]
    every = chosen._replace(
        loss_index=np.arange(positions, dtype=np.int32)[None], targets=targets, loss_weights=weights
    )

    (got, got_weight, got_metrics), got_gradient = loss_and_gradient(chosen)
    (want, want_weight, want_metrics), want_gradient = loss_and_gradient(every)
    np.testing.assert_allclose(got, want, **TOLERANCE)
    np.testing.assert_allclose(got_weight, want_weight, rtol=1e-6)
    assert got_metrics == want_metrics
    assert_close(got_gradient, want_gradient)


def test_what_is_not_scored_does_not_count(tiny_model, three, loss_and_gradient):
    """A weight at index -1 is a leftover, and a weight of 0 takes a position out."""
    batch = tiny_model.batch(three)
    (total, weight, metrics), _ = loss_and_gradient(batch)
    dirty = batch.loss_weights.copy()
    dirty[batch.loss_index < 0] = 5.0
    (same, same_weight, _), _ = loss_and_gradient(batch._replace(loss_weights=dirty))
    assert (same, same_weight) == (total, weight)

    fewer = batch.loss_weights.copy()
    fewer[0, 0] = 0
    (less, _, fewer_metrics), _ = loss_and_gradient(batch._replace(loss_weights=fewer))
    assert less < total
    assert fewer_metrics["scored"] == metrics["scored"] - 1


def test_an_empty_row_adds_nothing(tiny_model, loss_and_gradient):
    (total, weight, metrics), gradient = loss_and_gradient(tiny_model.batch([]))
    assert total == weight == metrics["samples"] == metrics["tokens"] == 0
    assert all(not np.asarray(g).any() for g in gradient.values())


def log_softmax_nll(hidden, head, targets):
    logits = jnp.einsum("bld,dv->blv", hidden, head)
    picked = jnp.take_along_axis(jax.nn.log_softmax(logits), targets[..., None], axis=-1)
    return -picked[..., 0], logits.argmax(-1) == targets


@pytest.mark.parametrize("chunks", [1, 3, 7])
def test_chunked_cross_entropy_is_log_softmax(chunks):
    """23 words: three chunks of 8, and six of 4, the last one short."""
    rng = np.random.default_rng(1)
    hidden = 4 * rng.standard_normal((2, 5, 8), np.float32)
    head = rng.standard_normal((8, 23), np.float32)
    targets = rng.integers(0, 23, (2, 5)).astype(np.int32)
    targets[0, :2] = 0, 22
    targets[1] = (hidden @ head).argmax(-1)[1]  # the likeliest words, so that hits are seen too
    weights = rng.standard_normal((2, 5), np.float32)

    def weighted(loss):
        def total(hidden, head):
            nll, hit = loss(hidden, head)
            return (weights * nll).sum(), (nll, hit)

        return jax.jit(jax.grad(total, argnums=(0, 1), has_aux=True))(hidden, head)

    got, (nll, hit) = weighted(
        lambda hidden, head: chunked_cross_entropy(hidden, head, targets=targets, chunks=chunks)
    )
    want, (want_nll, want_hit) = weighted(
        lambda hidden, head: log_softmax_nll(hidden, head, targets)
    )
    np.testing.assert_allclose(nll, want_nll, rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(hit, want_hit)
    assert hit.any() and not hit.all()
    for a, b in zip(got, want, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)


def test_large_logits_do_not_overflow():
    hidden = np.full((1, 1, 1), 1e3, np.float32)
    head = np.array([[1.0, 2.0, -3.0]], np.float32)
    score = jax.jit(lambda targets: chunked_cross_entropy(hidden, head, targets=targets, chunks=3))
    nll, _ = score(np.zeros((1, 1), np.int32))
    np.testing.assert_allclose(nll, [[1000.0]])
