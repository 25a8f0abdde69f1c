"""Planned packing: whole epochs, three budgets, weights that do not depend on packing."""

from __future__ import annotations

import re

import numpy as np
import pytest

from sg4v_jax.data.packing import Budget, Plan, check_fits, plan
from sg4v_jax.errors import BudgetError, ConfigError

BUDGET = Budget(positions=512, tiles=15, scored=160)


def random_lengths(seed: int, *, records: int = 300, budget: Budget = BUDGET) -> np.ndarray:
    """i64[records, 3], from almost nothing up to a whole row, text alone among them."""
    rng = np.random.default_rng(seed)
    most = (budget.as_array() * rng.choice([1, 0.5, 0.2], (records, 1))).astype(np.int64)
    return rng.integers([1, 0, 1], most + 1, (records, 3))


def contents(planned: Plan) -> list[list[int]]:
    return [row.tolist() for row in planned.rows]


def test_docstring_example():
    lengths = np.array([[5, 1, 2], [3, 1, 2], [4, 0, 1]])
    planned = plan(lengths, budget=Budget(8, 2, 4), seed=0, epoch=0)
    assert contents(planned) == [[0, 1], [2]]
    assert planned.weights.tolist() == [1, 1, 1]


@pytest.mark.parametrize("seed", range(8))
def test_an_epoch_holds_every_record_once_within_all_budgets(seed):
    lengths = random_lengths(seed)
    planned = plan(lengths, budget=BUDGET, seed=seed, epoch=seed % 3)
    assert sorted(np.concatenate(planned.rows)) == list(range(len(lengths)))
    for row in planned.rows:
        assert len(row)
        assert (lengths[row].sum(0) <= BUDGET.as_array()).all()


@pytest.mark.parametrize("scarce", range(3))
def test_each_budget_alone_can_fill_a_row(scarce):
    lengths = np.ones((40, 3), np.int64)
    lengths[:, scarce] = 4
    rows = plan(lengths, budget=Budget(*[100, 100, 100]), seed=0, epoch=0).rows
    assert [len(row) for row in rows].count(25) == 1  # 25 * 4 = 100
    assert sorted(len(row) for row in rows) == [15, 25]


def test_equal_seed_and_epoch_give_an_equal_plan_and_others_another():
    lengths = random_lengths(1)
    first = plan(lengths, budget=BUDGET, seed=3, epoch=1)
    again = plan(lengths, budget=BUDGET, seed=3, epoch=1)
    assert contents(first) == contents(again) and first.digest() == again.digest()
    digests = {first.digest()}
    digests.add(plan(lengths, budget=BUDGET, seed=3, epoch=2).digest())
    digests.add(plan(lengths, budget=BUDGET, seed=4, epoch=1).digest())
    digests.add(plan(lengths, budget=Budget(600, 15, 160), seed=3, epoch=1).digest())
    assert len(digests) == 4


def test_the_digest_sees_borders_order_and_weights():
    rows = (np.array([0, 1]), np.array([2]))
    ones = np.ones(3, np.float32)
    variants = [
        Plan(rows, ones),
        Plan((np.array([0]), np.array([1, 2])), ones),
        Plan(rows[::-1], ones),
        Plan(rows, ones / 2),
    ]
    assert len({v.digest() for v in variants}) == 4


def rows_in_order(lengths: np.ndarray) -> int:
    """How many rows there would be if each sample went into the last row or opened one."""
    count, room = 1, BUDGET.positions
    for need in lengths[:, 0]:
        if need > room:
            count, room = count + 1, BUDGET.positions
        room -= need
    return count


@pytest.mark.parametrize("seed", range(3))
def test_rows_are_well_filled(seed):
    # A fifth to half of a row each, so that some waste cannot be avoided.
    lengths = np.ones((600, 3), np.int64)
    lengths[:, 0] = np.random.default_rng(seed).integers(100, 257, 600)
    rows = len(plan(lengths, budget=BUDGET, seed=seed, epoch=0).rows)
    assert lengths[:, 0].sum() / (rows * BUDGET.positions) > 0.9
    assert rows < 0.95 * rows_in_order(lengths)


def groups_by_weight(lengths: np.ndarray, weights: np.ndarray) -> list[np.ndarray]:
    """Scored positions of the records that weigh the same, one array a weight."""
    return [lengths[weights == w, 2] for w in np.unique(weights)]


def test_microbatch_weights_sum_to_one_in_every_group():
    # Powers of two: no two groups of four have the same sum, so that weights tell groups apart.
    lengths = np.ones((42, 3), np.int64)
    lengths[:, 2] = 2 ** np.arange(42) % 997 + 1
    budget = Budget(512, 15, 1000)
    planned = plan(lengths, budget=budget, seed=0, epoch=0, norm="microbatch", microbatch=4)
    groups = groups_by_weight(lengths, planned.weights)
    assert sorted(len(g) for g in groups) == [2, *[4] * 10]
    for scored, weight in zip(groups, np.unique(planned.weights), strict=True):
        np.testing.assert_allclose(weight * scored.sum(), 1, rtol=1e-6)


def test_microbatch_groups_do_not_depend_on_packing_but_on_the_epoch():
    lengths = random_lengths(2, records=50)
    settings = dict(seed=1, norm="microbatch", microbatch=8)
    narrow = plan(lengths, budget=BUDGET, epoch=0, **settings)
    wide = plan(lengths, budget=Budget(5000, 500, 5000), epoch=0, **settings)
    np.testing.assert_array_equal(narrow.weights, wide.weights)
    assert len(wide.rows) < len(narrow.rows)
    later = plan(lengths, budget=BUDGET, epoch=1, **settings)
    assert (later.weights != narrow.weights).any()
    alone = plan(lengths, budget=BUDGET, epoch=0, seed=1, norm="microbatch", microbatch=1)
    np.testing.assert_allclose(alone.weights, 1 / lengths[:, 2], rtol=1e-6)


def test_unknown_norms_are_refused():
    lengths = random_lengths(0, records=3)
    with pytest.raises(ConfigError, match="norm 'mean' is unknown"):
        plan(lengths, budget=BUDGET, seed=0, epoch=0, norm="mean")
    with pytest.raises(ConfigError, match="data.microbatch"):
        plan(lengths, budget=BUDGET, seed=0, epoch=0, norm="microbatch")


@pytest.mark.parametrize(
    ("over", "field", "value", "budget", "most"),
    [
        ((513, 1, 1), "positions", 513, 512, 700),
        ((1, 16, 1), "tiles", 16, 15, 16),
        ((1, 1, 161), "scored", 161, 160, 161),
    ],
)
def test_a_sample_too_long_for_a_row_is_named(over, field, value, budget, most):
    lengths = np.array([[10, 1, 5], over, [700, 1, 1]])
    names = [f"a.json: record {name!r}" for name in "xyz"]
    with pytest.raises(BudgetError) as caught:
        check_fits(lengths, budget=BUDGET, names=names)
    wanted = (
        f"a.json: record 'y': needs {value} {field}, a row has {budget} (2 of 3 records too long)"
    )
    assert wanted in caught.value.message
    assert re.search(rf"raise data\.{field} to {most}", caught.value.mend)


def test_a_sample_as_long_as_a_row_fits():
    lengths = BUDGET.as_array()[None]
    check_fits(lengths, budget=BUDGET, names=["whole"])
    assert contents(plan(lengths, budget=BUDGET, seed=0, epoch=0)) == [[0]]
