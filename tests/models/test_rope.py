"""Rotary angles at long positions, compiled or not."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sg4v_jax.models.rope import angles, rotate


@pytest.mark.parametrize("theta", [10000.0, 500000.0])
def test_angles_at_long_positions(theta):
    # Positions are exact in f32; the product with a frequency is good to one step of 8191.
    positions = np.array([[0, 1, 257, 4097, 8191]])
    cos, sin = jax.jit(lambda p: angles(p, head_dim=128, theta=theta))(positions)
    exact = positions[..., None, None] * theta ** (-np.arange(0, 128, 2) / 128)
    np.testing.assert_allclose(cos, np.cos(exact), atol=1e-3)
    np.testing.assert_allclose(sin, np.sin(exact), atol=1e-3)


def test_compiled_and_eager_angles_agree():
    # One f32 step of a frequency is 5e-4 radians at position 8191.
    positions = np.arange(8192)[None]
    eager = angles(positions, head_dim=128, theta=500000.0)
    compiled = jax.jit(lambda p: angles(p, head_dim=128, theta=500000.0))(positions)
    for a, b in zip(eager, compiled, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)


def test_rotation_pairs_the_two_halves():
    x = jnp.arange(1.0, 5.0).reshape(1, 1, 1, 4)  # pairs (1, 3) and (2, 4)
    quarter = (jnp.array([[[[0.0, 1.0]]]]), jnp.array([[[[1.0, 0.0]]]]))  # 90 and 0 degrees
    np.testing.assert_array_equal(rotate(x, quarter)[0, 0, 0], [-3, 2, 1, 4])


def test_products_depend_on_distance_alone():
    q, k = np.random.default_rng(0).standard_normal((2, 1, 1, 1, 16), np.float32)
    positions = np.array([[8191, 8180, 11, 0, 8170]])
    turn = angles(positions, head_dim=16, theta=10000.0)
    q, k = (np.asarray(rotate(np.tile(x, (1, 1, 5, 1)), turn))[0, 0] for x in (q, k))
    assert q[0] @ k[1] == pytest.approx(q[2] @ k[3], abs=5e-3)  # both 11 apart
    assert q[0] @ k[1] != pytest.approx(q[0] @ k[4], abs=5e-2)


def test_half_precision_inputs_are_turned_in_f32():
    x = np.random.default_rng(1).standard_normal((1, 2, 3, 8), np.float32)
    turn = angles(jnp.array([[0, 257, 8191]]), head_dim=8, theta=10000.0)
    half = rotate(jnp.asarray(x, jnp.bfloat16), turn)
    assert half.dtype == jnp.bfloat16
    np.testing.assert_allclose(np.asarray(half, np.float32), rotate(x, turn), atol=0.03)
