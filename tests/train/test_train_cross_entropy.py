"""The vocabulary's loss over a mesh: the same numbers, and nothing gathered that must not be."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sg4v_jax import sharding
from sg4v_jax.train.cross_entropy import chunked_cross_entropy

B, L, D, V = 8, 4, 16, 301  # a vocabulary that nothing divides


def inputs():
    rng = np.random.default_rng(0)
    hidden = rng.standard_normal((B, L, D), np.float32)
    head = rng.standard_normal((D, V), np.float32)
    return hidden, head, rng.integers(0, V, (B, L)).astype(np.int32)


def loss(hidden, head, targets, *, chunks):
    nll, hit = chunked_cross_entropy(hidden, head, targets=targets, chunks=chunks)
    return (nll * jnp.arange(L)).sum(), (nll, hit)


def textbook(hidden, head, targets):
    def run(hidden, head):
        logits = jnp.einsum("bld,dv->blv", hidden, head, precision="highest")
        chosen = jnp.take_along_axis(jax.nn.log_softmax(logits), targets[..., None], -1)[..., 0]
        return -(chosen * jnp.arange(L)).sum(), (-chosen, logits.argmax(-1) == targets)

    return jax.grad(run, argnums=(0, 1), has_aux=True)(hidden, head)


@pytest.mark.parametrize("chunks", [1, 3])
@pytest.mark.parametrize(
    "shape",
    [
        dict(fsdp=8),
        dict(fsdp=2, tensor=4),
        dict(data=2, fsdp=2, context=2),
        dict(fsdp=2, tensor=2, context=2),
    ],
)
def test_any_mesh_is_log_softmax(shape, chunks):
    hidden, head, targets = inputs()
    want, (nll, hit) = textbook(hidden, head, targets)
    mesh = sharding.make_mesh(shape)
    placed = jax.device_put(
        head, sharding.sharding_for(("table", "vocab"), shape=head.shape, mesh=mesh)
    )
    run = jax.grad(functools.partial(loss, chunks=chunks), argnums=(0, 1), has_aux=True)
    with jax.set_mesh(mesh):
        got, (got_nll, got_hit) = jax.jit(run)(hidden, placed, targets)
    np.testing.assert_allclose(got_nll, nll, rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(got_hit, hit)
    for a, b in zip(got, want, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)
    assert got[1].sharding.is_equivalent_to(placed.sharding, 2)


def test_logits_stay_where_they_are_made_and_a_frozen_head_has_no_gradient():
    hidden, head, targets = inputs()
    mesh = sharding.make_mesh(dict(fsdp=2, tensor=4))
    with jax.set_mesh(mesh):
        run = jax.jit(jax.grad(functools.partial(loss, chunks=1), has_aux=True))
        text = run.lower(hidden, head, targets).compile().as_text()
    width = -(-V // 4 // 128) * 128  # a quarter of the vocabulary in whole lanes
    assert f"f32[4,4,{width}]" in text or f"f32[16,{width}]" in text
    for rows in ("f32[4,4,", "f32[16,", "f32[8,4,", "f32[32,"):
        assert f"{rows}{4 * width}]" not in text, "logits of the whole vocabulary"
    assert f"f32[16,{4 * width}]" not in text, "the whole head"
    products = text.count(" dot(")
    with jax.set_mesh(mesh):
        both = jax.jit(jax.grad(functools.partial(loss, chunks=1), argnums=(0, 1), has_aux=True))
        trained = both.lower(hidden, head, targets).compile().as_text().count(" dot(")
    assert trained == products + 1
