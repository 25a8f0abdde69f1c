"""Attention of one new token over the stacked cache: a kernel that streams it (Pallas, TPU).

Legend: `L` layers, `B` batch, `N` heads, `K` kv heads, `G` = N/K, `C` cache slots, `H` head dim.

The layer is an index into the stacked cache, given ahead of the blocks: nothing copies a layer's
keys and values before they are read. Blocks beyond the newest slot are neither fetched nor computed.
"""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jax.experimental.pallas import tpu as pltpu
from jax.sharding import PartitionSpec

from sg4v_jax.sharding import platform, spec_for

LARGEST_BLOCK = 2048  # slots fetched at once: half a megabyte of bf16 keys, as much of values
LANES = 128


def decode_attention(
    q: jax.Array,
    keys: jax.Array,
    values: jax.Array,
    *,
    scales: tuple[jax.Array, jax.Array] | None = None,
    filled: jax.Array,
    layer: jax.Array,
    slot: jax.Array,
) -> jax.Array:
    """What one token a row sees in the cache: q [B,N,1,H] -> [B,N,1,H].

    Args:
      keys, values: [L,B,K,C,H] with the token's own at `slot`; bf16 or f32, or int8 with `scales`.
      scales: (f32[L,B,K,1,C], the same), what an int8 key or value of that slot is multiplied by.
      filled: i32[B,C], 1 where a slot holds a real token.
      layer, slot: i32[].

    Off TPU the kernel is interpreted, for tests. A row whose every slot is empty gives zeros.
    """
    mesh = jax.sharding.get_abstract_mesh()
    interpret = platform() != "tpu"
    run = functools.partial(_local, interpret=interpret)
    operands = (q, keys, values, scales, filled, layer, slot)
    if mesh.empty or mesh.size == 1:
        return run(*operands)
    rows = spec_for(("batch", "heads", None, None), shape=q.shape, mesh=mesh)
    cache = PartitionSpec(None, rows[0], rows[1], None, None)
    scale = None if scales is None else (cache, cache)
    whole = PartitionSpec()
    return jax.shard_map(
        run,
        mesh=mesh,
        in_specs=(rows, cache, cache, scale, PartitionSpec(rows[0], None), whole, whole),
        out_specs=rows,
        check_vma=False,
    )(*operands)


def block_of(slots: int) -> int | None:
    """The block for a cache of `slots`, None where none divides it (then the kernel cannot run).

    >>> [block_of(n) for n in (4096, 2176, 100)]
    [2048, 128, None]
    """
    sizes = (LARGEST_BLOCK >> i for i in range(5))
    return next((b for b in sizes if slots % b == 0 and b >= LANES), None)


def _local(q, keys, values, scales, filled, layer, slot, *, interpret: bool):
    b, n, _, h = q.shape
    kv, slots = keys.shape[2:4]
    group, block = n // kv, block_of(slots)
    # A block beyond the newest slot names the last one again, which is not fetched twice.
    last = lambda j, scalars: jnp.minimum(j, scalars[1] // block)
    place = lambda i, k, j, scalars: (i, k, 0, 0)
    cached = pl.BlockSpec(
        (None, None, None, block, h), lambda i, k, j, s: (s[0], i, k, last(j, s), 0)
    )
    scale = pl.BlockSpec(
        (None, None, None, 1, block), lambda i, k, j, s: (s[0], i, k, 0, last(j, s))
    )
    out = pl.pallas_call(
        functools.partial(_kernel, block=block, quantised=scales is not None),
        grid_spec=pltpu.PrefetchScalarGridSpec(
            num_scalar_prefetch=1,
            grid=(b, kv, slots // block),
            in_specs=[
                pl.BlockSpec((None, None, group, h), place),
                cached,
                cached,
                *([scale, scale] if scales is not None else []),
                pl.BlockSpec((None, 1, block), lambda i, k, j, s: (i, 0, last(j, s))),
            ],
            out_specs=pl.BlockSpec((None, None, group, h), place),
            scratch_shapes=[
                pltpu.VMEM((group, 1), jnp.float32),
                pltpu.VMEM((group, 1), jnp.float32),
                pltpu.VMEM((group, h), jnp.float32),
            ],
        ),
        out_shape=jax.ShapeDtypeStruct((b, kv, group, h), q.dtype),
        compiler_params=pltpu.CompilerParams(
            dimension_semantics=("parallel", "parallel", "arbitrary")
        ),
        name="decode_attention",
        interpret=interpret,
    )(
        jnp.stack([layer, slot]).astype(jnp.int32),
        (q * h**-0.5).reshape(b, kv, group, h),
        keys,
        values,
        *(scales or ()),
        filled[:, None],
    )
    return out.reshape(b, n, 1, h)


def _kernel(scalars, q, keys, values, *rest, block: int, quantised: bool):
    """One block of slots of one kv head: the running maximum, sum and average of flash attention."""
    key_scale, value_scale, *rest = rest if quantised else (None, None, *rest)
    filled, out, largest, total, average = rest
    step = pl.program_id(2)

    @pl.when(step == 0)
    def start():
        largest[...] = jnp.full_like(largest, -1e30)
        total[...] = jnp.zeros_like(total)
        average[...] = jnp.zeros_like(average)

    @pl.when(step * block <= scalars[1])
    def add():
        query = q[...]
        logits = _dot(query, keys[...].astype(query.dtype), contract=1)
        if quantised:
            logits = logits * key_scale[...]
        slots = step * block + jax.lax.broadcasted_iota(jnp.int32, (1, block), 1)
        seen = (filled[...] > 0) & (slots <= scalars[1])
        top = jnp.maximum(largest[...], jnp.where(seen, logits, -1e30).max(-1, keepdims=True))
        weights = jnp.where(seen, jnp.exp(logits - top), 0.0)
        kept = jnp.exp(largest[...] - top)
        total[...] = total[...] * kept + weights.sum(-1, keepdims=True)
        if quantised:
            weights = weights * value_scale[...]
        mixed = _dot(weights.astype(query.dtype), values[...].astype(query.dtype), contract=0)
        average[...] = average[...] * kept + mixed
        largest[...] = top

    @pl.when(step == pl.num_programs(2) - 1)
    def finish():
        divisor = jnp.where(total[...] > 0, total[...], 1.0)
        out[...] = (average[...] / divisor).astype(out.dtype)


def _dot(a: jax.Array, b: jax.Array, *, contract: int) -> jax.Array:
    """[G,X] with axis `contract` of `b`, summed in f32."""
    numbers = (((1,), (contract,)), ((), ()))
    return jax.lax.dot_general(a, b, numbers, preferred_element_type=jnp.float32)
