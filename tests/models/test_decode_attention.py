"""The decode kernel, interpreted, against the XLA reference: slots, padding, int8, a mesh."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sg4v_jax import sharding
from sg4v_jax.models.attention import attention
from sg4v_jax.models.decode_attention import block_of, decode_attention
from sg4v_jax.models.kv_cache import KVCache, quantised

L, B, N, K, H = 2, 4, 8, 2, 16


def cache(*, slots: int, slot: int, dtype: str = "float32") -> KVCache:
    """A cache filled by hand, the newest token at `slot`; rows begin at different slots."""
    rng = np.random.default_rng(0)
    k, v = rng.standard_normal((2, L, B, K, slots, H), np.float32)
    k[..., slot + 1 :, :] = v[..., slot + 1 :, :] = 1e4  # never to be read
    begin = np.array([0, 5, slot // 2, slot])[:, None]
    at = np.arange(slots)
    segments = ((at >= begin) & (at <= slot)).astype(np.int32)
    scales = None
    if dtype == "int8":
        (k, k_scale), (v, v_scale) = (
            map(np.asarray, quantised(x.reshape(-1, K, slots, H))) for x in (k, v)
        )
        k, v = (x.reshape(L, B, K, slots, H) for x in (k, v))
        scales = tuple(jnp.asarray(s.reshape(L, B, K, 1, slots)) for s in (k_scale, v_scale))
    return KVCache(jnp.asarray(k), jnp.asarray(v), jnp.asarray(segments), slot, scales)


def both(held: KVCache, *, layer: int):
    """(the kernel's output, the reference's) for one token a row."""
    q = np.random.default_rng(1).standard_normal((B, N, 1, H), np.float32)

    @jax.jit
    def kernel(q, held):
        return decode_attention(
            q,
            held.k,
            held.v,
            scales=held.scales,
            filled=held.segments,
            layer=jnp.int32(layer),
            slot=held.slot,
        )

    @jax.jit
    def reference(q, held):
        keys, values = held.of_layer(jnp.int32(layer), dtype=q.dtype)
        pair = (jnp.ones((B, 1), jnp.int32), held.segments)
        return attention(q, keys, values, causal=True, segments=pair, start=held.slot, impl="xla")

    return kernel(q, held), reference(q, held)


@pytest.mark.parametrize("dtype", ["float32", "int8"])
@pytest.mark.parametrize(("slots", "slot"), [(128, 100), (640, 127), (640, 128), (640, 639)])
def test_one_token_sees_what_the_reference_sees(slots, slot, dtype):
    for layer in range(L):
        got, want = both(cache(slots=slots, slot=slot, dtype=dtype), layer=layer)
        np.testing.assert_allclose(got, want, rtol=1e-5, atol=2e-5)


@pytest.mark.parametrize("dtype", ["float32", "int8"])
def test_heads_and_rows_are_split_over_a_mesh(dtype):
    held = cache(slots=256, slot=200, dtype=dtype)
    _, want = both(held, layer=1)
    with jax.set_mesh(sharding.make_mesh(dict(fsdp=4, tensor=2))):
        got, _ = both(held, layer=1)
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=2e-5)


def test_blocks():
    assert [block_of(n) for n in (128, 640, 4096, 3584, 100)] == [128, 128, 2048, 512, None]


def test_a_token_is_rounded_once_by_its_own_size():
    x = np.random.default_rng(2).standard_normal((1, 2, 5, H), np.float32)
    x[0, 0, 3] *= 1000  # an outlier, which must not cost the others their digits
    x[0, 1, 4] = 0
    q, scale = quantised(x)
    assert q.dtype == jnp.int8 and scale.shape == (1, 2, 5)
    back = np.asarray(q, np.float32) * np.asarray(scale)[..., None]
    limit = np.abs(x).max(-1, keepdims=True) / 127 * 0.5001
    assert (np.abs(back - x) <= limit).all()
