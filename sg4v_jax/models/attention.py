"""Attention: one function, its XLA reference implementation here.

Legend: `B` batch, `S` queries, `C` keys, `N` heads, `K` kv heads, `G` = N/K, `H` head dim.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from sg4v_jax.errors import ConfigError

DENSE_MASK_LIMIT = 4096  # positions above which `impl='xla'` must be asked for by name


def attention(
    q: jax.Array,
    k: jax.Array,
    v: jax.Array,
    *,
    causal: bool,
    segments: tuple[jax.Array, jax.Array] | None = None,
    start: jax.Array | int = 0,
    impl: str = "auto",
) -> jax.Array:
    """Softmax attention with grouped kv heads.

    Args:
      q: [B,S,N,H]; k, v: [B,C,K,H] with K dividing N.
      causal: query `i` stands at slot `start + i` and sees the slots up to its own.
      segments: (i32[B,S], i32[B,C]); a query sees only keys of its own segment.
      start: slot of the first query (decoding into a cache); 0 when training.
      impl: `xla` (the reference), or `auto`: the best one for these shapes and this backend.

    Returns:
      [B,S,N,H] in the dtype of `q`; logits and softmax are f32.

    Raises:
      ConfigError: unknown `impl`, or `auto` would build a dense mask above 4096 positions.
    """
    if impl not in ("auto", "xla"):
        raise ConfigError(f"attention impl {impl!r} is not known", mend="use 'auto' or 'xla'")
    if impl == "auto" and k.shape[1] > DENSE_MASK_LIMIT and segments is not None:
        raise ConfigError(
            f"attention over {k.shape[1]} positions would build a dense mask",
            mend="set model.attention='xla' to accept its memory, or shorten the row",
        )
    return _xla(q, k, v, causal=causal, segments=segments, start=start)


def _xla(q, k, v, *, causal, segments, start):
    # Two batched matmuls over [B,K] with the G query heads of a kv head side by side: measured
    # twice as fast on CPU as `jax.nn.dot_product_attention`, and kv heads are never repeated.
    b, s, n, h = q.shape
    c, kv = k.shape[1:3]
    group = n // kv
    q = q.reshape(b, s, kv, group, h).transpose(0, 2, 3, 1, 4).reshape(b, kv, group * s, h)
    k, v = k.swapaxes(1, 2), v.swapaxes(1, 2)
    batched = ((0, 1), (0, 1))
    logits = jax.lax.dot_general(
        q * h**-0.5, k, (((3,), (3,)), batched), preferred_element_type=jnp.float32
    )
    mask = _mask(s, c, causal=causal, segments=segments, start=start)
    if mask is not None:
        logits = logits.reshape(b, kv, group, s, c)
        logits = jnp.where(mask[:, None, None], logits, jnp.finfo(jnp.float32).min)
        logits = logits.reshape(b, kv, group * s, c)
    weights = jax.nn.softmax(logits, axis=-1).astype(v.dtype)
    out = jax.lax.dot_general(weights, v, (((3,), (2,)), batched))
    return out.reshape(b, kv, group, s, h).transpose(0, 3, 1, 2, 4).reshape(b, s, n, h)


def _mask(queries: int, keys: int, *, causal, segments, start) -> jax.Array | None:
    """bool[B or 1, S, C], True where a query may look; None when it may look everywhere."""
    mask = None
    if causal:
        slot = start + jnp.arange(queries)[:, None]
        mask = (slot >= jnp.arange(keys)[None, :])[None]
    if segments is not None:
        same = segments[0][:, :, None] == segments[1][:, None, :]
        mask = same if mask is None else mask & same
    return mask
