"""The reference attention against the textbook formula in float64."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sg4v_jax.errors import ConfigError
from sg4v_jax.models.attention import DENSE_MASK_LIMIT
from sg4v_jax.models.attention import attention as plain_attention

attention = jax.jit(plain_attention, static_argnames=("causal", "impl"))
B, S, N, H = 2, 7, 6, 4


def textbook(q, k, v, *, allowed) -> np.ndarray:
    """softmax(q k / sqrt(H)) v in float64, head by head; `allowed` bool[B,S,C]."""
    q, k, v = (np.asarray(x, np.float64) for x in (q, k, v))
    out = np.zeros(q.shape)
    group = q.shape[1] // k.shape[1]
    for b, n in np.ndindex(*q.shape[:2]):
        logits = q[b, n] @ k[b, n // group].T / np.sqrt(q.shape[-1])
        logits[~allowed[b]] = -np.inf
        weights = np.exp(logits - logits.max(-1, keepdims=True))
        out[b, n] = weights / weights.sum(-1, keepdims=True) @ v[b, n // group]
    return out


def inputs(kv_heads: int, *, keys: int = S):
    shapes = [(B, N, S, H), (B, kv_heads, keys, H), (B, kv_heads, keys, H)]
    rng = np.random.default_rng(0)
    return [2 * rng.standard_normal(s, np.float32) for s in shapes]


@pytest.mark.parametrize("kv_heads", [1, 3, 6])
@pytest.mark.parametrize("causal", [False, True])
def test_head_groups_and_causality(kv_heads, causal):
    q, k, v = inputs(kv_heads)
    allowed = np.broadcast_to(np.tri(S, dtype=bool) | (not causal), (B, S, S))
    expected = textbook(q, k, v, allowed=allowed)
    np.testing.assert_allclose(attention(q, k, v, causal=causal), expected, rtol=1e-5, atol=1e-5)


def test_segments_do_not_see_each_other():
    q, k, v = inputs(2)
    segments = np.array([[1, 1, 1, 2, 2, 0, 0], [1, 2, 2, 2, 3, 3, 3]])
    allowed = np.tri(S, dtype=bool) & (segments[:, :, None] == segments[:, None, :])
    expected = textbook(q, k, v, allowed=allowed)
    got = attention(q, k, v, causal=True, segments=(segments, segments))
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-5)


def test_queries_start_at_a_slot_of_the_cache():
    q, k, v = inputs(2, keys=12)
    allowed = np.broadcast_to(np.arange(12) <= 3 + np.arange(S)[:, None], (B, S, 12))
    expected = textbook(q, k, v, allowed=allowed)
    got = attention(q, k, v, causal=True, start=3)
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-5)


def test_softmax_is_f32_in_half_precision():
    # Logits of 300 apart by 1: bf16 has steps of 2 there and could not tell them apart.
    q = jnp.full((1, 1, 1, 1), 1.0, jnp.bfloat16)
    k = jnp.array([256.0, 258.0], jnp.bfloat16).reshape(1, 1, 2, 1) / 2 + 150
    v = jnp.array([0.0, 1.0], jnp.bfloat16).reshape(1, 1, 2, 1)
    got = attention(q, k, v, causal=False)
    gap = float(k[0, 0, 1, 0]) - float(k[0, 0, 0, 0])
    assert got.dtype == jnp.bfloat16
    np.testing.assert_allclose(float(got[0, 0, 0, 0]), 1 / (1 + np.exp(-gap)), atol=4e-3)


def test_bad_settings_are_refused():
    q, k, v = inputs(2)
    with pytest.raises(ConfigError, match="'flash' is not known"):
        attention(q, k, v, causal=True, impl="flash")
    n = DENSE_MASK_LIMIT + 1
    shape = jax.ShapeDtypeStruct((1, 2, n, 2), jnp.float32)
    segments = jax.ShapeDtypeStruct((1, n), jnp.int32)
    with pytest.raises(ConfigError, match="4097 positions would build a dense mask"):
        jax.eval_shape(
            lambda x, s: attention(x, x, x, causal=True, segments=(s, s)), shape, segments
        )
