"""Statistics against closed forms, brute force, and simulated coverage."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import scipy.stats

from sg4v_jax.errors import ConfigError, RecordError
from sg4v_jax.report import bootstrap, stats


@pytest.mark.parametrize("successes, n", [(0, 7), (3, 10), (10, 10), (480, 1000)])
@pytest.mark.parametrize("level", [0.8, 0.95])
def test_wilson_bounds_are_where_the_score_test_rejects(successes, n, level):
    estimate = stats.wilson(successes, n, level=level)
    z = scipy.stats.norm.ppf(0.5 + level / 2)
    assert estimate.value == successes / n
    for bound in (estimate.low, estimate.high):
        if 0 < bound < 1:  # the definition: |observed - p| = z * sqrt(p (1 - p) / n)
            spread = z * math.sqrt(bound * (1 - bound) / n)
            assert abs(successes / n - bound) == pytest.approx(spread, rel=1e-9)
    assert (estimate.low == 0) == (successes == 0) and estimate.low >= 0
    assert (estimate.high == 1) == (successes == n) and estimate.high <= 1


def test_wilson_worked_example_and_bad_counts():
    assert stats.wilson(10, 10).low == pytest.approx(0.7224672)
    for successes, n in [(0, 0), (5, 4), (-1, 4)]:
        with pytest.raises(RecordError, match=f"successes={successes} of n={n}"):
            stats.wilson(successes, n)
    with pytest.raises(ConfigError, match=r"level=95"):
        stats.wilson(1, 2, level=95)


def test_bootstrap_matches_the_exact_distribution():
    values = np.array([1, 1, 0, 0.5, 0, 0, 1, 0.25])
    clusters = ["a", "a", "b", "c", "c", "c", "d", "d"]
    groups = [values[[c == name for c in clusters]] for name in "abcd"]
    exact = sorted(
        sum(groups[i].sum() for i in pick) / sum(len(groups[i]) for i in pick)
        for pick in itertools.product(range(4), repeat=4)
    )
    for level in (0.5, 0.8, 0.93):
        found = bootstrap.cluster_bootstrap(values, clusters, draws=60_000, level=level, seed=3)
        # the share of the 256 equally likely draws outside each bound
        below = np.searchsorted(exact, found.low - 1e-12) / 256
        at_most = np.searchsorted(exact, found.low + 1e-12) / 256
        assert below - 0.006 <= 0.5 - level / 2 <= at_most + 0.006
        below = np.searchsorted(exact, found.high - 1e-12) / 256
        at_most = np.searchsorted(exact, found.high + 1e-12) / 256
        assert below - 0.006 <= 0.5 + level / 2 <= at_most + 0.006
    assert found.value == pytest.approx(values.mean())
    assert (found.clusters, found.n) == (4, 8)


def test_bootstrap_of_many_single_clusters_nears_the_normal_interval():
    values = np.random.default_rng(0).normal(3, 2, 4000)
    found = bootstrap.cluster_bootstrap(values, np.arange(4000), seed=1)
    half = 1.96 * values.std() / math.sqrt(4000)
    assert found.low == pytest.approx(values.mean() - half, abs=0.1 * half)
    assert found.high == pytest.approx(values.mean() + half, abs=0.1 * half)


def test_bootstrap_is_a_function_of_its_seed_and_not_of_order_or_chunks(monkeypatch):
    rng = np.random.default_rng(5)
    values, clusters = rng.random(60), rng.integers(12, size=60)
    first = bootstrap.cluster_bootstrap(values, clusters, seed=7)
    assert bootstrap.cluster_bootstrap(values, clusters, seed=7) == first
    assert bootstrap.cluster_bootstrap(values, clusters, seed=8) != first
    order = rng.permutation(60)
    shuffled = bootstrap.cluster_bootstrap(values[order], clusters[order], seed=7)
    assert (shuffled.low, shuffled.high) == pytest.approx((first.low, first.high), abs=1e-12)
    monkeypatch.setattr(bootstrap, "_CHUNK", 12 * 64)
    assert bootstrap.cluster_bootstrap(values, clusters, seed=7) == first


def _simulated_coverage(interval, *, runs: int) -> float:
    """The share of simulated data sets whose interval holds the true mean, 0.5."""
    rng, hits = np.random.default_rng(11), 0
    for run in range(runs):
        chances = rng.beta(1, 1, size=40)  # each video is easy or hard for all its questions
        clusters = np.repeat(np.arange(40), 8)
        values = (rng.random(320) < chances[clusters]).astype(float)
        found = interval(values, clusters, run)
        hits += found.low <= 0.5 <= found.high
    return hits / runs


def test_cluster_bootstrap_covers_where_an_unclustered_interval_does_not():
    clustered = _simulated_coverage(
        lambda v, c, seed: bootstrap.cluster_bootstrap(v, c, draws=400, seed=seed), runs=400
    )
    naive = _simulated_coverage(lambda v, c, seed: stats.wilson(int(v.sum()), len(v)), runs=400)
    assert 0.91 <= clustered <= 0.98
    assert naive <= 0.80


def test_paired_bootstrap_equals_the_bootstrap_of_differences_and_is_narrower():
    rng = np.random.default_rng(2)
    clusters = np.repeat([f"video {i}" for i in range(50)], 4)
    easy = np.repeat(rng.random(50), 4)
    a, b = easy + 0.1 + rng.normal(0, 0.05, 200), easy + rng.normal(0, 0.05, 200)
    paired = bootstrap.paired_cluster_bootstrap(a, b, clusters, seed=4)
    direct = bootstrap.cluster_bootstrap(a - b, clusters, seed=4)
    assert (paired.value, paired.low, paired.high) == pytest.approx(
        (direct.value, direct.low, direct.high), abs=1e-12
    )
    assert paired.excludes(0) and not paired.excludes(0.1)
    alone = bootstrap.cluster_bootstrap(a, clusters, seed=4)
    assert paired.high - paired.low < 0.2 * (alone.high - alone.low)


def test_bootstrap_of_a_statistic_of_two_means():
    rng = np.random.default_rng(6)
    a, b = rng.random(90) + 1, rng.random(90) + 2
    found = bootstrap.cluster_bootstrap(
        np.stack([a, b], axis=1), np.arange(90), statistic=lambda m: m[:, 1] / m[:, 0], seed=0
    )
    assert found.value == pytest.approx(b.mean() / a.mean())
    assert found.low < found.value < found.high


def test_one_cluster_has_a_value_but_no_interval():
    found = bootstrap.cluster_bootstrap([1, 0, 1, 1], ["x"] * 4, seed=0)
    assert found.value == 0.75 and math.isnan(found.low) and math.isnan(found.high)
    assert not found.excludes(0.1)


def test_bootstrap_names_bad_input():
    with pytest.raises(RecordError, match="values is empty"):
        bootstrap.cluster_bootstrap([], [], seed=0)
    with pytest.raises(RecordError, match="3 values but 2 clusters"):
        bootstrap.cluster_bootstrap([1, 0, 1], ["a", "b"], seed=0)
    with pytest.raises(RecordError, match=r"values\[1\] = \[nan\] is not finite \(2 such\)"):
        bootstrap.cluster_bootstrap([1, np.nan, np.inf], ["a", "b", "c"], seed=0)
    with pytest.raises(ConfigError, match="draws=0"):
        bootstrap.cluster_bootstrap([1, 0], ["a", "b"], draws=0, seed=0)
    with pytest.raises(RecordError, match=r"a has shape \(2, 1\) and b \(3, 1\)"):
        bootstrap.paired_cluster_bootstrap([1, 0], [1, 0, 1], ["a", "b"], seed=0)


@pytest.mark.parametrize("b, c", [(0, 0), (0, 5), (5, 0), (3, 3), (4, 7), (9, 2)])
def test_mcnemar_by_counting_all_outcomes(b, c):
    n = b + c
    far = abs(b - c)
    extreme = sum(abs(n - 2 * sum(flips)) >= far for flips in itertools.product((0, 1), repeat=n))
    assert stats.mcnemar_exact(b, c) == pytest.approx(extreme / 2**n)


def test_mcnemar_large_counts_agree_with_scipy_and_negative_ones_are_refused():
    expected = scipy.stats.binomtest(1210, 2300).pvalue
    assert stats.mcnemar_exact(1210, 1090) == pytest.approx(expected)
    with pytest.raises(RecordError, match="b=-1"):
        stats.mcnemar_exact(-1, 2)


@pytest.mark.parametrize("n", [2, 3, 8, 40])
def test_paired_t_agrees_with_scipy(n):
    differences = np.random.default_rng(n).normal(0.3, 1, n)
    found = stats.paired_t(differences, level=0.9)
    expected = scipy.stats.ttest_1samp(differences, 0)
    low, high = expected.confidence_interval(0.9)
    assert found.p == pytest.approx(expected.pvalue)
    assert (found.mean - found.half_width, found.mean + found.half_width) == pytest.approx(
        (low, high)
    )
    assert found.n == n


def test_paired_t_with_two_values_has_a_closed_form():
    # one degree of freedom is the Cauchy distribution: p = 1 - 2 atan(t) / pi, t = 2 / 1
    found = stats.paired_t([1.0, 3.0])
    assert found.mean == 2
    assert found.p == pytest.approx(1 - 2 * math.atan(2) / math.pi)
    assert found.half_width == pytest.approx(math.tan(0.475 * math.pi))


def test_paired_t_without_spread_or_with_one_value():
    assert stats.paired_t([0.1, 0.1, 0.1]) == stats.PairedT(pytest.approx(0.1), 0.0, 0.0, 3)
    assert stats.paired_t([0.0, 0.0]) == stats.PairedT(0.0, 0.0, 1.0, 2)
    alone = stats.paired_t([0.4])
    assert alone.mean == 0.4 and math.isnan(alone.half_width) and math.isnan(alone.p)
    with pytest.raises(RecordError, match="differences is empty"):
        stats.paired_t([])


def test_holm_by_its_step_down_definition():
    rng = np.random.default_rng(1)
    p = np.round(rng.random(7) ** 3, 2)  # rounding makes ties
    adjusted = stats.holm(p)
    for level in np.linspace(0.005, 0.995, 100):
        rejected, order = set(), np.argsort(p)
        for step, i in enumerate(order):
            if p[i] > level / (len(p) - step):
                break
            rejected.add(int(i))
        assert set(np.flatnonzero(adjusted <= level + 1e-12).tolist()) == rejected


def test_holm_worked_example_and_bad_values():
    assert stats.holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert stats.holm([]).shape == (0,)
    with pytest.raises(RecordError, match=r"p_values\[1\] = nan"):
        stats.holm([0.1, math.nan])


@pytest.mark.parametrize(("b", "c"), [(0, 5), (3, 9), (9, 3), (4, 4), (0, 0), (12, 40)])
def test_mcnemar_midp_is_the_exact_value_less_the_point_probability(b, c):
    found = stats.mcnemar_midp(b, c)
    if b == c:
        assert found == 1
        return
    point = scipy.stats.binom.pmf(min(b, c), b + c, 0.5)
    assert found == pytest.approx(stats.mcnemar_exact(b, c) - point)
    with pytest.raises(RecordError, match="counts"):
        stats.mcnemar_midp(-1, 2)


def _mean_of_groups(means):
    return means[..., 0].mean(axis=1)


def test_grouped_bootstrap_of_one_group_is_the_plain_one():
    rng = np.random.default_rng(0)
    values, clusters = rng.integers(0, 2, 300), rng.integers(0, 40, 300)
    one = bootstrap.grouped_cluster_bootstrap(
        values, clusters, np.zeros(300, int), statistic=_mean_of_groups, draws=8000, seed=1
    )
    plain = bootstrap.cluster_bootstrap(values, clusters, draws=8000, seed=2)
    assert one.value == plain.value and one.n == 300 and one.clusters == 40
    assert (one.low, one.high) == pytest.approx((plain.low, plain.high), abs=0.01)


def test_grouped_bootstrap_draws_a_cluster_in_all_groups_at_once():
    # Every cluster is right in group 0 exactly where it is wrong in group 1: the mean of the two
    # groups cannot vary, though each group does.
    right = np.arange(20) % 2
    values, clusters = np.concatenate([right, 1 - right]), np.tile(np.arange(20), 2)
    groups = np.repeat([0, 1], 20)
    found = bootstrap.grouped_cluster_bootstrap(
        values, clusters, groups, statistic=_mean_of_groups, seed=0
    )
    assert (found.value, found.low, found.high) == (0.5, 0.5, 0.5)
    first = bootstrap.grouped_cluster_bootstrap(
        values, clusters, groups, statistic=lambda m: m[:, 0, 0], seed=0
    )
    assert first.high - first.low > 0.3


def test_grouped_bootstrap_weighs_groups_not_observations():
    # group 0: 90 of 90 right; group 1: 0 of 10
    values, groups = [1.0] * 90 + [0.0] * 10, [0] * 90 + [1] * 10
    found = bootstrap.grouped_cluster_bootstrap(
        values, list(range(100)), groups, statistic=_mean_of_groups, seed=0
    )
    assert (found.value, found.low, found.high) == (0.5, 0.5, 0.5)


def test_grouped_bootstrap_of_paired_columns_and_bad_input():
    pair = np.array([[1, 0], [1, 1], [0, 0], [1, 0]], float)
    found = bootstrap.grouped_cluster_bootstrap(
        pair,
        list("abca"),
        [0, 0, 1, 1],
        statistic=lambda m: (m[..., 0] - m[..., 1]).mean(axis=1),
        seed=0,
    )
    assert found.value == 0.5 and found.low <= 0.5 <= found.high
    alone = bootstrap.grouped_cluster_bootstrap(
        [1, 0], ["a", "a"], [0, 0], statistic=_mean_of_groups, seed=0
    )
    assert alone.value == 0.5 and math.isnan(alone.low)
    with pytest.raises(RecordError, match="2 values, 1 clusters"):
        bootstrap.grouped_cluster_bootstrap(
            [1, 0], ["a"], [0, 0], statistic=_mean_of_groups, seed=0
        )


def _share(totals):
    return totals[:, 0] / totals[:, 1]


def _nested(sums, *, shared):
    """Every equally likely draw of groups and clusters, as sorted means of group shares."""
    groups, count, _ = sums.shape
    draws = list(itertools.product(range(count), repeat=count))
    share = [[sums[g][list(d)].sum(0) for d in draws] for g in range(groups)]
    share = np.array([[a / b for a, b in row] for row in share])  # [G, draws]
    found = []
    for pick in itertools.product(range(groups), repeat=groups):
        if shared:
            found.append(share[list(pick)].mean(0))
        else:
            every = [share[g] for g in pick]
            found.append(sum(np.meshgrid(*every)).ravel() / groups)
    return np.sort(np.concatenate(found))


@pytest.mark.parametrize("shared", [True, False])
def test_hierarchical_bootstrap_matches_the_exact_distribution(shared):
    sums = np.array([[[1, 2], [0, 1], [2, 3]], [[2, 2], [0.5, 1], [1, 3]]], float)
    exact = _nested(sums, shared=shared)
    for level in (0.5, 0.9):
        found = bootstrap.hierarchical_bootstrap(
            sums, statistic=_share, shared=shared, draws=60_000, level=level, seed=5
        )
        for bound, target in ((found.low, 0.5 - level / 2), (found.high, 0.5 + level / 2)):
            below = np.searchsorted(exact, bound - 1e-9) / len(exact)
            at_most = np.searchsorted(exact, bound + 1e-9) / len(exact)
            assert below - 0.008 <= target <= at_most + 0.008
    assert found.value == pytest.approx((3 / 6 + 3.5 / 6) / 2)
    assert (found.clusters, found.n) == (2, 6)


def test_a_shared_draw_keeps_what_a_video_does_to_every_seed():
    video = np.random.default_rng(0).normal(size=(1, 300))
    noise = 0.01 * np.random.default_rng(1).normal(size=(5, 300))
    sums = np.stack([video + noise, np.ones((5, 300))], axis=-1)
    options = {"statistic": _share, "draws": 2000, "seed": 1}
    together = bootstrap.hierarchical_bootstrap(sums, shared=True, **options)
    apart = bootstrap.hierarchical_bootstrap(sums, shared=False, **options)
    width = 2 * 1.96 * video.std() / math.sqrt(300)
    assert together.high - together.low == pytest.approx(width, rel=0.08)
    assert apart.high - apart.low == pytest.approx(width / math.sqrt(5), rel=0.08)


def test_hierarchical_bootstrap_is_a_function_of_its_seed_and_refuses_what_it_cannot_use():
    sums = np.random.default_rng(2).uniform(1, 2, size=(3, 20, 2))
    options = {"statistic": _share, "shared": False, "draws": 300}
    first = bootstrap.hierarchical_bootstrap(sums, seed=7, **options)
    assert bootstrap.hierarchical_bootstrap(sums, seed=7, **options) == first
    assert bootstrap.hierarchical_bootstrap(sums, seed=8, **options) != first
    for few in (sums[:1], sums[:, :1]):
        found = bootstrap.hierarchical_bootstrap(few, seed=7, **options)
        assert math.isnan(found.low) and math.isnan(found.high) and found.value > 0
    with pytest.raises(RecordError, match=r"shape \(3, 20\)"):
        bootstrap.hierarchical_bootstrap(sums[..., 0], seed=7, **options)
    sums[0, 0, 0] = np.nan
    with pytest.raises(RecordError, match="not all finite"):
        bootstrap.hierarchical_bootstrap(sums, seed=7, **options)


@pytest.mark.parametrize("n, spread", [(3, 2.0), (5, 1.0), (8, 0.03)])
def test_detectable_difference_has_its_power(n, spread):
    nc = stats.detectable(spread, n=n) * math.sqrt(n) / spread
    critical = scipy.stats.t.ppf(0.975, n - 1)
    power = scipy.stats.nct.sf(critical, n - 1, nc) + scipy.stats.nct.cdf(-critical, n - 1, nc)
    assert power == pytest.approx(0.8, abs=1e-4)
    assert math.isnan(stats.detectable(spread, n=1))
