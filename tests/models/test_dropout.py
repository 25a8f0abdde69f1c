from __future__ import annotations

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from sg4v_jax import sharding
from sg4v_jax.models.dropout import dropout, random_bits

KEYS = jax.random.split(jax.random.key(3), 6)


def test_keeps_the_mean_and_the_share():
    x = jnp.full((400, 500), 2.0)
    y = np.asarray(dropout(x, rate=0.05, key=jax.random.key(0)))
    dropped = (y == 0).mean()
    assert abs(dropped - 0.05) < 0.002  # four deviations of 200,000 draws
    np.testing.assert_allclose(y[y != 0], 2 / 0.95, rtol=1e-6)
    assert abs(y.mean() - 2) < 0.005
    np.testing.assert_array_equal(dropout(x, rate=0.05, key=None), x)
    np.testing.assert_array_equal(dropout(x, rate=0.0, key=jax.random.key(0)), x)
    assert dropout(x.astype(jnp.bfloat16), rate=0.05, key=jax.random.key(0)).dtype == jnp.bfloat16


@pytest.mark.parametrize("number", range(len(KEYS)))
def test_every_byte_is_even(number):
    """Chi-square of the 256 values of each byte: 255 expected, deviation 22.6."""
    bits = np.asarray(random_bits(KEYS[number], (64, 4096)))
    for shift in (0, 8, 16, 24):
        counts = np.bincount((bits >> shift).ravel() & 255, minlength=256)
        expected = bits.size / 256
        assert abs(((counts - expected) ** 2 / expected).sum() - 255) < 5 * 22.6


def agreement(a: np.ndarray, b: np.ndarray) -> float:
    """How far the share of equal mask bits is from that of independent ones, in deviations."""
    p = 0.05
    chance = p * p + (1 - p) * (1 - p)
    return abs((a == b).mean() - chance) / np.sqrt(chance * (1 - chance) / a.size)


def masks(key) -> np.ndarray:
    return np.asarray(dropout(jnp.ones((96, 128, 40)), rate=0.05, key=key)) == 0


def test_neighbours_are_independent():
    mask = masks(KEYS[0])
    for axis in range(3):
        for step in (1, 2, 7, 32):
            a, b = np.delete(mask, range(step), axis), np.delete(mask, range(-step, 0), axis)
            assert agreement(a, b) < 4.5, (axis, step)


def test_keys_are_independent_at_any_shift():
    """One key's mask is not another's moved along: layers, modules and steps draw their own."""
    flat = [masks(key).ravel() for key in KEYS]
    for a, b in itertools.pairwise(flat):
        for shift in (0, 1, 40, 40 * 128):
            assert agreement(a, np.roll(b, shift)) < 4.5
    with_step = [masks(jax.random.fold_in(KEYS[0], step)).ravel() for step in range(4)]
    for a, b in itertools.pairwise(with_step):
        assert agreement(a, b) < 4.5


def test_same_key_same_mask_on_any_mesh():
    x = jnp.arange(8 * 16 * 4, dtype=jnp.float32).reshape(8, 16, 4) + 1
    draw = lambda x, key: dropout(x, rate=0.3, key=key)
    want = jax.jit(draw)(x, KEYS[0])
    np.testing.assert_array_equal(draw(x, KEYS[0]), want)
    mesh = sharding.make_mesh({"fsdp": 4, "context": 2})
    with jax.set_mesh(mesh):
        parts = jax.device_put(x, NamedSharding(mesh, PartitionSpec("fsdp", "context")))
        np.testing.assert_array_equal(jax.jit(draw)(parts, KEYS[0]), want)
    assert (want != jax.jit(draw)(x, KEYS[1])).any()
