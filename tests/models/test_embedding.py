"""Rows of a token table that a mesh holds in parts: the same rows, the same gradient."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sg4v_jax import sharding
from sg4v_jax.models.embedding import lookup

V, D, S = 37, 16, 6


def rows_and_gradient(table, tokens, weights):
    def run(table):
        rows = lookup(table, tokens, dtype=jnp.float32)
        return (rows * weights).sum(), rows

    gradient, rows = jax.grad(run, has_aux=True)(table)
    return rows, gradient


@pytest.mark.parametrize(
    ("batch", "shape"),
    [
        (8, dict(fsdp=8)),
        (8, dict(data=2, fsdp=2, tensor=2)),
        (4, dict(fsdp=2, tensor=2, context=2)),
        (1, dict(fsdp=4, tensor=2)),  # one row cannot be split: its parts of the width are gathered
    ],
)
def test_rows_and_gradients_of_any_mesh(batch, shape):
    rng = np.random.default_rng(0)
    table = rng.standard_normal((V, D), np.float32)
    tokens = rng.integers(0, V, (batch, S)).astype(np.int32)  # with repeats, whose gradients add up
    weights = rng.standard_normal((batch, S, D), np.float32)
    want = rows_and_gradient(jnp.asarray(table), tokens, weights)
    mesh = sharding.make_mesh(shape)
    placed = jax.device_put(
        table, sharding.sharding_for(("vocab", "table"), shape=table.shape, mesh=mesh)
    )
    with jax.set_mesh(mesh):
        got = jax.jit(rows_and_gradient)(placed, tokens, weights)
    for a, b in zip(got, want, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-6)
    assert got[1].sharding.is_equivalent_to(placed.sharding, 2)
