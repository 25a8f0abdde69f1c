"""Which blocks a packed row's kernels compute, and what they fetch meanwhile."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sg4v_jax.data import budget
from sg4v_jax.models import splash, splash_blocks

BLOCK, LENGTH = 128, 1024


def segments_of(samples, *, length: int = LENGTH) -> np.ndarray:
    ids = np.repeat(np.arange(len(samples), dtype=np.int32) + 1, samples)
    return np.pad(ids, (0, length - len(ids)))


def kernel_of(segments, *, parts: int = 1, part: int = 0):
    """The kernel of a row, or of one part of its queries as a device has it."""
    kernel = splash._kernel(4, size=LENGTH, block=BLOCK, causal=True, parts=parts)
    size = LENGTH // parts
    own = slice(part * size, (part + 1) * size)
    infos = jax.tree.leaves(kernel)
    assert infos[0].shape == (1, LENGTH // BLOCK, LENGTH // BLOCK)
    cut = lambda x: x[own] if x.ndim == 1 else x[:, part * size // BLOCK :][:, : size // BLOCK]
    kernel = jax.tree.map(cut, kernel)
    return splash_blocks.only_meeting(kernel, segments[own], segments, block=BLOCK)


def infos_of(kernel):
    return kernel.fwd_mask_info, kernel.dq_mask_info, kernel.dkv_mask_info


@pytest.mark.parametrize(
    "samples",
    [[1024], [512, 512], [128] * 8, [700, 324], [100, 411, 1, 400], [60] * 17, [300, 200], [5], []],
)
def test_as_many_as_the_budget_counts(samples):
    padding = LENGTH - sum(samples)
    count = budget.computed_blocks([*samples, padding], block=BLOCK)
    for info in infos_of(kernel_of(segments_of(samples))):
        assert info.block_mask.sum() == count


@pytest.mark.parametrize("seed", range(5))
def test_a_block_is_computed_if_two_positions_meet(seed):
    rng = np.random.default_rng(seed)
    cuts = np.sort(rng.integers(1, LENGTH, 5))
    segments = segments_of(np.diff([0, *cuts]))
    pairs = np.tril(segments[:, None] == segments[None, :])
    want = pairs.reshape(LENGTH // BLOCK, BLOCK, -1, BLOCK).any(axis=(1, 3))
    whole = kernel_of(segments)
    for info in infos_of(whole):
        np.testing.assert_array_equal(info.block_mask[0], want)
    # The same blocks where a device has a quarter of the queries.
    for part in range(4):
        for info in infos_of(kernel_of(segments, parts=4, part=part)):
            np.testing.assert_array_equal(info.block_mask[0], want[2 * part : 2 * part + 2])


def test_segments_in_any_order_lose_nothing():
    rng = np.random.default_rng(0)
    for ids in ([3, 1, 2], [0, 0, 1, 2], [-1, 5, 0, 5]):  # out of order, padded first, both
        segments = np.repeat(rng.permutation(ids), LENGTH // len(ids) + 1)[:LENGTH]
        segments = rng.permuted(segments) if rng.integers(2) else segments
        segments = segments.astype(np.int32)
        pairs = np.tril(segments[:, None] == segments[None, :])
        want = pairs.reshape(LENGTH // BLOCK, BLOCK, -1, BLOCK).any(axis=(1, 3))
        computed = np.asarray(kernel_of(segments).fwd_mask_info.block_mask[0]) > 0
        assert (computed | ~want).all()


@pytest.mark.parametrize("samples", [[1024], [512, 512], [100, 411, 1, 400], [60] * 17, []])
def test_nothing_is_fetched_in_vain(samples):
    forward, _, dkv = infos_of(kernel_of(segments_of(samples)))
    mask, fetch = np.asarray(forward.block_mask[0]) > 0, np.asarray(forward.data_next[0])
    _, columns = np.nonzero(mask)
    np.testing.assert_array_equal(fetch[mask], columns)
    # Along the kernel's way a block of keys is fetched for the next block to be computed.
    wanted = np.append(columns, columns[0])
    following = np.cumsum(mask.reshape(-1)) - mask.reshape(-1)
    np.testing.assert_array_equal(fetch.reshape(-1), wanted[following])

    mask, fetch = np.asarray(dkv.block_mask[0]) > 0, np.asarray(dkv.data_next[0])
    np.testing.assert_array_equal(fetch[mask], np.nonzero(mask)[0])
    changes = (np.diff(fetch, axis=0) != 0).sum(axis=0)  # within a block of keys
    np.testing.assert_array_equal(changes, mask.sum(axis=0) - 1)


def test_scalar_memory_holds_small_numbers():
    for info in infos_of(kernel_of(segments_of([512, 512]))):
        assert info.block_mask.dtype == info.data_next.dtype == jnp.int8
