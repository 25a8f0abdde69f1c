"""Linear, norms and the scanned stack."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sg4v_jax.models.layers import REMAT, LayerNorm, Linear, RMSNorm, scan_layers, stack
from sg4v_jax.models.params import flatten


def test_linear_contracts_and_makes_several_axes():
    linear = Linear((2, 3), (4, 5), axes=("none",) * 4, bias=True, key=jax.random.key(0))
    linear.bias[...] = jnp.arange(20.0).reshape(4, 5)
    x = np.random.default_rng(0).standard_normal((7, 2, 3), np.float32)
    want = np.einsum("bij,ijkl->bkl", x, linear.kernel[...]) + linear.bias[...]
    np.testing.assert_allclose(linear(x), want, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("centred", [True, False])
def test_norms_are_f32_inside(centred):
    # 1000 + noise: in bf16 the noise would be lost before the mean is taken.
    norm = LayerNorm(64, eps=1e-5, axis="embed") if centred else RMSNorm(64, eps=1e-5, axis="embed")
    x = np.random.default_rng(0).standard_normal((3, 64)) * 8 + (100 if centred else 0)
    half = jnp.asarray(x, jnp.bfloat16)
    exact = np.asarray(half, np.float64)
    exact = exact - exact.mean(-1, keepdims=True) * centred
    exact /= np.sqrt((exact**2).mean(-1, keepdims=True) + 1e-5)
    assert norm(half).dtype == jnp.bfloat16
    np.testing.assert_allclose(norm(half).astype(jnp.float32), exact, rtol=0.01, atol=0.01)


@pytest.fixture(scope="module")
def layers():
    build = lambda key: Linear((4,), (4,), axes=("none", "none"), bias=True, key=key)
    return stack(build, layers=3, key=jax.random.key(0))


def loop(layers, x):
    for i in range(3):
        x = jnp.sin(jax.tree.map(lambda p, i=i: p[i], layers)(x))
    return (x**2).sum()


@pytest.mark.parametrize("remat", REMAT)
def test_the_scan_is_the_loop_and_so_are_its_gradients(layers, remat):
    def scanned(layers, x):
        body = lambda x, layer, _: jnp.sin(layer(x))
        return (scan_layers(layers, x, body=body, remat=remat) ** 2).sum()

    x = jnp.linspace(-1, 1, 8).reshape(2, 4)
    want, want_gradient = jax.jit(jax.value_and_grad(loop))(layers, x)
    got, gradient = jax.jit(jax.value_and_grad(scanned))(layers, x)
    np.testing.assert_allclose(got, want, rtol=1e-5)
    for name, g in flatten(want_gradient).items():
        np.testing.assert_allclose(flatten(gradient)[name], g, rtol=1e-5, atol=1e-6)
