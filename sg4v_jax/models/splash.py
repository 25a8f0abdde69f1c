"""Splash attention (jax's own Pallas kernel for TPU) over a mesh.

Legend: `B` batch, `S` positions, `N` heads, `K` kv heads, `H` head dim.

The kernel sees one device's rows, heads and queries. Under context parallelism keys, values and
segments are gathered over `context` inside `shard_map` (their gradients are scattered back), and
the causal mask knows where the device's queries start.

Packed rows skip the blocks in which no two positions of one sample meet (`splash_blocks`): each row
has blocks of its own, so a device's rows go through the kernel one by one. Everything else (the
tower's tiles, rows without segments, rows of one block) is one call.
"""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
from jax.experimental.pallas.ops.tpu import splash_attention as kernels
from jax.sharding import NamedSharding, PartitionSpec

from sg4v_jax.models import splash_blocks
from sg4v_jax.sharding import generation, spec_for

LANES = 128  # blocks are multiples of the vector unit's width

# The largest block of queries and keys by TPU generation: sizes that the TPU compiler takes for
# forward and backward. Larger ones do more products per load; none was timed on a chip.
BLOCKS = {"v5e": 512, "v5p": 1024, "v6e": 1024}
SMALLEST_KNOWN = 512  # elsewhere
# Rows with segments skip blocks, and smaller ones skip more: of the released mix, packed, 90 and
# 91 % of the executed flops are useful with blocks of 512, 88 and 89 % with 1024 (`data budget`).
LARGEST_PACKED = 512

# Packed rows of a device up to which each has its own calls in the program; above, they are a loop's,
# which copies each row's operands: for two rows of 4,736 positions on v5e the TPU compiler counts
# 10.1 ms beside the kernels, forward and backward, against 3.6 (and 5.3 for one call, skipping none).
UNROLLED = 8


def splash(
    q: jax.Array,
    k: jax.Array,
    v: jax.Array,
    *,
    causal: bool,
    segments: tuple[jax.Array, jax.Array] | None = None,
    rows: str = "batch",
) -> jax.Array:
    """`attention` by the splash kernel: q [B,N,S,H]; k, v [B,K,S,H] -> [B,N,S,H].

    Off TPU the kernel is interpreted: right, and slow; for tests. `rows` as in `attention`.
    """
    mesh = jax.sharding.get_abstract_mesh()
    q = q * q.shape[-1] ** -0.5
    length = q.shape[2]
    parts = 1 if mesh.empty or rows != "batch" else mesh.shape["context"]
    block, size = blocks_of(length, parts=parts, packed=causal and segments is not None)
    segments = _segments(segments, q, causal=causal, size=size)
    q, k, v = (_pad(x, size, axis=2) for x in (q, k, v))
    kernel = functools.partial(_kernel, size=size, block=block, causal=causal, parts=parts)
    # One causal block has nothing to skip; `FullMask` says nothing about where queries stand.
    skip = block if causal and size > block else None
    if mesh.empty or mesh.size == 1:
        out = _batched(kernel(q.shape[1]), q, k, v, segments, skip=skip)
    else:
        how = dict(rows=rows, mesh=mesh, parts=parts, skip=skip)
        out = _sharded(kernel, q, k, v, segments, **how)
    return out[:, :, :length]


def blocks_of(length: int, *, parts: int, packed: bool) -> tuple[int, int]:
    """The block for rows of `length` in `parts` parts, and the padded length: whole blocks each."""
    largest = largest_block(generation(), packed=packed)
    block = block_size(-(-length // parts), largest=largest)
    return block, -(-length // (block * parts)) * block * parts


def largest_block(chip: str | None, *, packed: bool) -> int:
    """The largest block on a TPU generation; `packed`: of causal rows with segments."""
    known = BLOCKS.get(chip, SMALLEST_KNOWN)
    return min(known, LARGEST_PACKED) if packed else known


def block_size(length: int, *, largest: int) -> int:
    """The block for rows of `length`: as large as adds at most an eighth of padding.

    A row that fits a block a quarter larger (577 patches in 640) is one block.

    >>> [block_size(n, largest=512) for n in (100, 577, 2048, 2176)]
    [128, 640, 512, 256]
    """
    whole = -(-length // LANES) * LANES
    if whole <= largest + largest // 4:
        return whole
    sizes = [largest]
    while sizes[-1] > LANES:
        sizes.append(sizes[-1] // 2)
    return next(b for b in sizes if -(-length // b) * b - length <= length // 8 or b == LANES)


def _segments(segments, q, *, causal: bool, size: int):
    """Segments padded to `size`; None where no real query sees what lies after it anyway."""
    b, _, length, _ = q.shape
    if segments is None:
        if causal or size == length:
            return None
        segments = (jnp.ones((b, length), jnp.int32),) * 2
    # Padding is a segment of its own, so that no row of the softmax is empty.
    return tuple(_pad(s, size, axis=1, value=-1) for s in segments)


def _pad(x: jax.Array, size: int, *, axis: int, value: int = 0) -> jax.Array:
    if x.shape[axis] == size:
        return x
    width = [(0, size - n if i == axis else 0) for i, n in enumerate(x.shape)]
    return jnp.pad(x, width, constant_values=value)


def _sharded(kernel, q, k, v, segments, *, rows, mesh, parts, skip):
    """The kernel on every device's rows, heads and queries."""
    axis = "context"
    names = ("batch", "heads", "position", None) if rows == "batch" else (rows, None, None, None)
    spec = spec_for(names, shape=q.shape, mesh=mesh)
    kv_spec = PartitionSpec(spec[0], spec[1], spec[2], None)
    row_spec = PartitionSpec(spec[0], spec[2])
    heads = q.shape[1] // (mesh.shape[spec[1]] if spec[1] else 1)
    kernel = kernel(heads)
    kernel_spec = kernel.manual_sharding_spec(
        NamedSharding(mesh, PartitionSpec(None, axis if parts > 1 else None))
    )

    def local(kernel, q, k, v, segments):
        if parts > 1:
            k, v = (jax.lax.all_gather(x, axis, axis=2, tiled=True) for x in (k, v))
            if segments is not None:
                keys = jax.lax.all_gather(segments[1], axis, axis=1, tiled=True)
                segments = (segments[0], keys)
        return _batched(kernel, q, k, v, segments, skip=skip)

    segment_spec = None if segments is None else (row_spec, row_spec)
    return jax.shard_map(
        local,
        mesh=mesh,
        in_specs=(kernel_spec, spec, kv_spec, kv_spec, segment_spec),
        out_specs=spec,
        check_vma=False,
    )(kernel, q, k, v, segments)


def _batched(kernel, q, k, v, segments, *, skip: int | None):
    """The kernel on all rows; `skip`: side of the blocks to be skipped between samples."""
    if segments is None:
        return jax.vmap(kernel)(q, k, v)

    def row(q, k, v, queries, keys):
        own = kernel
        if skip is not None:
            own = splash_blocks.only_meeting(kernel, queries, keys, block=skip)
        return own(q, k, v, kernels.SegmentIds(queries, keys))

    if skip is None or len(q) == 1:
        return jax.vmap(row)(q, k, v, *segments)
    # Blocks that differ by row cannot be one call. (`vmap` would make loops of nameless ones.)
    if len(q) <= UNROLLED:
        return jnp.stack([row(*each) for each in zip(q, k, v, *segments, strict=True)])
    return jax.lax.map(lambda each: row(*each), (q, k, v, *segments))


def _kernel(heads: int, *, size: int, block: int, causal: bool, parts: int):
    """The kernel for `heads` heads and rows of `size`, its queries in `parts` parts."""
    mask = (
        kernels.CausalMask((size, size), shard_count=parts)
        if causal
        else kernels.FullMask((size, size))
    )
    return kernels.make_splash_mha(
        kernels.MultiHeadMask([mask] * heads),
        block_sizes=kernels.BlockSizes(
            block_q=block,
            block_kv=block,
            block_kv_compute=block,
            block_q_dkv=block,
            block_kv_dkv=block,
            block_kv_dkv_compute=block,
            block_q_dq=block,
            block_kv_dq=block,
        ),
        head_shards=1,
        q_seq_shards=parts,
        interpret=generation() is None,
        residual_checkpoint_name="mixed",
    )
