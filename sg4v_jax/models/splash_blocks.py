"""Which blocks the splash kernel computes for one packed row: those in which a sample meets itself.

The kernel goes through all blocks of queries and keys; `block_mask` says which it computes, and
`data_next` which block's data is fetched at a step. Both lie in scalar memory and may come from the
batch as well as from a constant. In a block that is computed the causal mask and the segments hold
position by position, so that leaving out blocks without a pair changes nothing but the work.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

Kernel = Any  # jax's SplashAttentionKernel, which it does not export


def only_meeting(kernel: Kernel, queries: jax.Array, keys: jax.Array, *, block: int) -> Kernel:
    """A causal kernel that skips the blocks in which no two positions of one sample meet.

    Args:
      kernel: of square blocks, forward and backward alike.
      queries: i32[S / parts], segments of the queries that this device has; keys: i32[S].
    """
    forward = kernel.fwd_mask_info
    last = forward.q_sequence.reshape(-1, block)[:, -1]  # where each block of queries ends
    first = jnp.arange(keys.shape[0] // block) * block
    computed = (last[:, None] >= first) & meeting(queries, keys, block=block)
    by_query = _info(forward, computed, fetch_by_query(computed))
    by_key = _info(kernel.dkv_mask_info, computed, fetch_by_key(computed))
    return type(kernel)(by_query, by_query, by_key, **kernel.kwargs)


def meeting(queries: jax.Array, keys: jax.Array, *, block: int) -> jax.Array:
    """bool[Q, K]: whether a block of queries and one of keys may have a segment in common.

    By the least and the largest segment of each block: exact where segments count upwards along the
    row and padding (0 or less) comes last, as packing has it; in any other order too many, never too
    few.

    >>> meeting(*[jnp.array([1, 1, 1, 2, 2, 2, 0, 0])] * 2, block=2).astype(int)
    Array([[1, 1, 0, 0],
           [1, 1, 1, 0],
           [0, 1, 1, 0],
           [0, 0, 0, 1]], dtype=int32)
    """
    low_q, high_q = (x[:, None] for x in _bounds(queries, block=block))
    low_k, high_k = _bounds(keys, block=block)
    return (low_q <= high_k) & (low_k <= high_q)


def _bounds(segments: jax.Array, *, block: int) -> tuple[jax.Array, jax.Array]:
    last = jnp.iinfo(segments.dtype).max
    blocks = jnp.where(segments > 0, segments, last).reshape(-1, block)
    return blocks.min(axis=1), blocks.max(axis=1)


def fetch_by_query(computed: jax.Array) -> jax.Array:
    """i32[Q, K]: keys to fetch, for kernels that go through the keys of each block of queries.

    At a skipped block what the next computed one needs, in the next rows too, so that it is there
    in time; after the last one, the first, with which the next head begins.

    >>> fetch_by_query(jnp.array([[1, 0, 0], [0, 1, 0], [0, 1, 1]], bool))
    Array([[0, 1, 1],
           [1, 1, 1],
           [1, 1, 2]], dtype=int32)
    """
    steps = jnp.arange(computed.size, dtype=jnp.int32)
    wanted = jnp.where(computed.reshape(-1), steps, computed.size)
    following = jax.lax.cummin(wanted, reverse=True)
    following = jnp.where(following < computed.size, following, following[0])
    return following.reshape(computed.shape) % computed.shape[1]


def fetch_by_key(computed: jax.Array) -> jax.Array:
    """i32[Q, K]: queries to fetch, for a kernel that goes through the queries of each block of keys.

    It takes all heads before the next block of keys: what follows the last computed block is the
    first one of another head, which cannot be asked for. So the last one's data stays.

    >>> fetch_by_key(jnp.array([[1, 0, 0], [0, 1, 0], [0, 1, 1]], bool))
    Array([[0, 1, 2],
           [0, 1, 2],
           [0, 2, 2]], dtype=int32)
    """
    rows = jnp.arange(computed.shape[0], dtype=jnp.int32)[:, None]
    following = jax.lax.cummin(jnp.where(computed, rows, computed.shape[0]), axis=0, reverse=True)
    final = jnp.where(computed, rows, 0).max(axis=0)  # 0 where none is computed
    return jnp.where(following < computed.shape[0], following, final)


def _info(info, computed: jax.Array, fetch: jax.Array):
    """jax's description of a mask, with these blocks for all heads."""
    small = info.block_mask.dtype, info.data_next.dtype  # scalar memory is scarce
    return info._replace(
        block_mask=computed[None].astype(small[0]), data_next=fetch[None].astype(small[1])
    )
