"""Attention: one function; its XLA form, here, is the reference for every other.

Legend: `B` batch, `S` queries, `C` keys, `N` heads, `K` kv heads, `G` = N/K, `H` head dim.
Heads stand before positions, [B,N,S,H]: what every kernel wants and what the projections write.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax.ad_checkpoint import checkpoint_name

from sg4v_jax.errors import ConfigError
from sg4v_jax.models.cudnn import cudnn
from sg4v_jax.models.splash import splash
from sg4v_jax.sharding import platform

DENSE_MASK_LIMIT = 4096  # positions above which `impl='xla'` must be asked for by name
IMPLS = ("auto", "xla", "splash", "cudnn")


def attention(
    q: jax.Array,
    k: jax.Array,
    v: jax.Array,
    *,
    causal: bool,
    segments: tuple[jax.Array, jax.Array] | None = None,
    start: jax.Array | int = 0,
    impl: str = "auto",
    rows: str = "batch",
) -> jax.Array:
    """Softmax attention with grouped kv heads.

    Args:
      q: [B,N,S,H]; k, v: [B,K,C,H] with K dividing N.
      causal: query `i` stands at slot `start + i` and sees the slots up to its own.
      segments: (i32[B,S], i32[B,C]); a query sees only keys of its own segment.
      start: slot of the first query (decoding into a cache); 0 when training.
      impl: `xla` (the reference), `splash` (TPU; interpreted elsewhere), `cudnn` (GPU, whole rows
        in half precision), or `auto`: the best one for these shapes on the mesh's devices.
      rows: logical name of the first axis, "batch" (with heads and positions split as well) or
        "tiles".

    Returns:
      [B,N,S,H] in the dtype of `q`; logits and softmax are f32.

    Raises:
      ConfigError: unknown `impl`, one that cannot do this, or `auto` would build a dense mask above
        4096 positions.
    """
    if impl not in IMPLS:
        raise ConfigError(
            f"attention impl {impl!r} is not known", mend=f"use one of {', '.join(IMPLS)}"
        )
    whole = isinstance(start, int) and start == 0 and q.shape[2] == k.shape[2]
    if impl == "auto":
        impl = _best(q, keys=k.shape[2], whole=whole, packed=segments is not None)
    if impl != "xla" and not whole:
        raise ConfigError(
            f"attention impl {impl!r} takes whole rows, not a cache", mend="use 'auto' or 'xla'"
        )
    if impl == "splash":
        out = splash(q, k, v, causal=causal, segments=segments, rows=rows)
    elif impl == "cudnn":
        out = cudnn(q, k, v, causal=causal, segments=segments)
    else:
        out = _xla(q, k, v, causal=causal, segments=segments, start=start)
    return checkpoint_name(out, "mixed")


def _best(q: jax.Array, *, keys: int, whole: bool, packed: bool) -> str:
    """The implementation for these shapes where the mesh's devices are."""
    where = platform()
    if where == "tpu" and whole:
        return "splash"
    if where in ("cuda", "gpu") and whole and not packed and q.dtype.itemsize == 2:
        return "cudnn"
    if keys > DENSE_MASK_LIMIT and packed:
        raise ConfigError(
            f"attention over {keys} positions would build a dense mask",
            mend="set model.attention='xla' to accept its memory, or shorten the row",
        )
    return "xla"


def _xla(q, k, v, *, causal, segments, start):
    # Two batched matmuls over [B,K] with the G query heads of a kv head side by side: measured
    # twice as fast on CPU as `jax.nn.dot_product_attention`, and kv heads are never repeated.
    b, n, s, h = q.shape
    kv, c = k.shape[1:3]
    group = n // kv
    q = q.reshape(b, kv, group * s, h)
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
    return out.reshape(b, n, s, h)


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
