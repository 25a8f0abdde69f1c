"""Shares of useful flops: the arithmetic by hand, the search against trying everything."""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import pytest

from sg4v_jax.bench.clips import input_spec
from sg4v_jax.data import assumed_mix, budget
from sg4v_jax.data.budget import Flops, buckets, choose, original, packed
from sg4v_jax.data.packing import Budget
from sg4v_jax.errors import BudgetError, ConfigError

FLOPS = Flops(position=10.0, pair=0.1, tile=100.0, scored=2.0, block=lambda positions: 4)


def some_lengths(count: int, *, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.integers([20, 1, 1], [60, 6, 10], (count, 3))


def test_what_rows_cost():
    # Two rows of 8 positions, 3 tiles, 4 scored: blocks of 4, of which 3 lie on or below the diagonal
    # and have a sample in common.
    rows = [np.array([5, 3]), np.array([8])]
    executed = FLOPS.executed(Budget(8, 3, 4), rows)
    assert executed == pytest.approx([2 * 8 * 10, 2 * 3 * 16 * 0.1, 2 * 3 * 100, 2 * 4 * 2])
    more = FLOPS.executed(Budget(8, 3, 4), rows, empty=1)
    assert more == pytest.approx(executed * 1.5)
    useful = FLOPS.useful(np.array([[5, 1, 2], [3, 1, 1], [8, 2, 1]]))
    assert useful == pytest.approx([16 * 10, (15 + 6 + 36) * 0.1, 4 * 100, 4 * 2])


@pytest.mark.parametrize(
    ("attention", "pairs"), [("causal", 6 * 16), ("segments", 4 * 16), ("dense", 12 * 12)]
)
def test_blocks_by_kernel(attention, pairs):
    # 12 positions are 3 blocks; two samples of 6 share none but the middle one.
    flops = dataclasses.replace(FLOPS, attention=attention)
    [_, found, *_] = flops.executed(Budget(12, 1, 1), [np.array([6, 6])])
    assert found == pytest.approx(pairs * 0.1 + (16 * 0.1 if attention == "segments" else 0))


def test_unknown_attention():
    with pytest.raises(ConfigError, match="attention 'ring'"):
        dataclasses.replace(FLOPS, attention="ring")


def test_a_packed_epoch_is_counted_with_its_empty_rows():
    lengths = np.array([[6, 1, 1]] * 5)
    result = packed(lengths, budget=Budget(12, 2, 2), flops=FLOPS, batch=4, shards=2)
    # Five samples in three rows of at most two; batches of two rows, so that one row is empty.
    assert (result.filled, result.rows, result.batch_rows) == (3, 4, 2)
    assert result.shares["positions"] == 30 / 48 and result.shares["tiles"] == 5 / 8
    assert 0 < result.share < 1
    with pytest.raises(BudgetError):
        packed(lengths, budget=Budget(5, 2, 2), flops=FLOPS, batch=4, shards=2)


def test_the_search_leaves_every_shard_a_row():
    lengths = some_lengths(400)
    how = dict(flops=FLOPS, batch=16, step=20, longest=400)
    few, many = (choose(lengths, shards=n, **how) for n in (2, 12))
    assert few[0].share >= few[-1].share >= many[-1].share
    for result in many:  # 16 samples over 12 shards: rows of one sample, or hardly more
        assert 16 * result.filled >= 12 * len(lengths) or result.budget.positions == 60
    for result in (*few, *many):
        assert (lengths.max(0) <= result.budget.as_array()).all()
        assert result.batch_rows % (2 if result in few else 12) == 0


def test_the_search_finds_the_obvious():
    # Samples of a third of 96 positions, each with two tiles and four scored.
    lengths = np.tile([32, 2, 4], (300, 1))
    best = choose(lengths, flops=FLOPS, batch=60, shards=2, step=16, longest=96)[0]
    assert best.budget.positions % 32 == 0
    assert best.budget.tiles == best.budget.positions // 32 * 2
    assert best.shares["positions"] == best.shares["tiles"] == 1.0
    with pytest.raises(BudgetError, match="a sample has 32 positions, a row at most 31"):
        choose(lengths, flops=FLOPS, batch=60, shards=2, longest=31)


def test_buckets_waste_least():
    lengths = some_lengths(60, seed=3)
    found = buckets(lengths, flops=FLOPS, batch=1, shards=1, count=3, step=8)
    tops = sorted(set((-(-lengths[:, 0] // 8) * 8).tolist()))
    costs = []
    for inner in itertools.combinations(tops[:-1], 2):
        borders, total = [0, *inner, tops[-1]], 0.0
        for low, high in itertools.pairwise(borders):
            part = lengths[(lengths[:, 0] > low) & (lengths[:, 0] <= high)]
            row = Budget(high, *map(int, part[:, 1:].max(0)))
            total += FLOPS.executed(row, list(part[:, :1])).sum()
        costs.append(total)
    assert sum(found.executed) == pytest.approx(min(costs))
    assert found.rows == 60 and found.share < 1
    whole = buckets(lengths, flops=FLOPS, batch=8, shards=4, count=1, step=8)
    assert whole.rows == 64 and whole.batch_rows == 8  # filled up to whole batches


def test_the_originals_padding():
    lengths = np.array([[10, 1, 1], [30, 0, 2]])
    result = original(lengths, flops=FLOPS, batch=2, microbatch=2)
    assert result.executed == pytest.approx((600, FLOPS.useful(lengths)[1], 200, 120))
    assert result.shares["positions"] == 40 / 60 and result.shares["scored"] == 3 / 60


@pytest.fixture(scope="module")
def released():
    return assumed_mix.lengths_of("released_181k", spec=input_spec(), records=4000)


def test_the_released_mix_as_assumed(released):
    parts = assumed_mix.MIXES["released_181k"]
    assert sum(p.count for p in parts) == 181_000
    assert all(sum(share for _, share in p.frames) == pytest.approx(1) for p in parts)
    positions = {p: assumed_mix._visual(p, input_spec())[0] for q in parts for p, _ in q.frames}
    # As the table of visual tokens of the original's grids says.
    assert positions[1280, 720] == 1948 and positions[480, 320] == 2242
    assert positions[320, 240] == 2438 and positions[1920, 800] == 1944
    assert positions[480, 480] == 2928 and positions[720, 1280] == 1968
    captions = released[-len(released) * 28 // 181 :, 2]
    assert captions.mean() == pytest.approx(370, rel=0.05)
    with pytest.raises(ConfigError, match="mix 'other' is unknown"):
        assumed_mix.lengths_of("other", spec=input_spec())


def test_the_same_seed_draws_the_same(released):
    again = assumed_mix.lengths_of("released_181k", spec=input_spec(), records=4000)
    np.testing.assert_array_equal(released, again)
    other = assumed_mix.lengths_of("released_181k", spec=input_spec(), records=4000, seed=1)
    assert (other != released).any()


def pairs_of(samples, *, size, block):
    """Blocks by looking at each pair of positions."""
    ids = np.repeat(np.arange(len(samples)), samples)
    pairs = np.tril(ids[:, None] == ids[None, :])
    return pairs.reshape(size // block, block, -1, block).any(axis=(1, 3)).sum()


def test_blocks_are_those_with_a_pair():
    assert budget.computed_blocks([512, 512, 512], block=512) == 3
    assert budget.computed_blocks([700, 700], block=512) == 5
    rng = np.random.default_rng(0)
    for _ in range(200):
        cuts = np.sort(rng.integers(0, 49, rng.integers(1, 12)))  # some samples have no positions
        samples = np.diff([0, *cuts, 48])
        assert budget.computed_blocks(samples, block=4) == pairs_of(samples, size=48, block=4)


def test_padding_is_computed_too():
    # 22 positions are six blocks of 4: rows of 7 and 13, of 22, and of nothing.
    rows = [np.array([7, 13]), np.array([22])]
    [_, found, *_] = FLOPS.executed(Budget(22, 1, 1), rows, empty=1)
    blocks = pairs_of([7, 13, 4], size=24, block=4) + 2 * 21
    assert found == pytest.approx(blocks * 16 * 0.1)
    [_, empty, *_] = FLOPS.executed(Budget(22, 1, 1), [], empty=1)
    assert empty == pytest.approx(21 * 16 * 0.1)
