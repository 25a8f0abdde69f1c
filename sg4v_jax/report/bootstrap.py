"""Intervals by resampling, for measurements that come in clusters (questions about one video).

Answers about the same video are not independent, so intervals resample videos, not answers. All
functions are pure: the same input and seed give the same output.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence

import numpy as np

from sg4v_jax.errors import ConfigError, RecordError
from sg4v_jax.report.stats import Estimate, check_level, columns_of

_CHUNK = 2_000_000  # drawn cluster indices held at once: 16 MB


def mean(means: np.ndarray) -> np.ndarray:
    """The statistic of `cluster_bootstrap` for one column: f64[m,1] -> f64[m]."""
    return means[:, 0]


def difference(means: np.ndarray) -> np.ndarray:
    """The first column's mean minus the second's: f64[m,2] -> f64[m]."""
    return means[:, 0] - means[:, 1]


def cluster_bootstrap(
    values: Sequence[float] | np.ndarray,
    clusters: Sequence | np.ndarray,
    *,
    statistic: Callable[[np.ndarray], np.ndarray] = mean,
    draws: int = 2000,
    level: float = 0.95,
    seed: int,
) -> Estimate:
    """A percentile interval that resamples whole clusters with replacement.

    A draw takes as many clusters as there are and forms the ratio estimate: sum of the drawn
    clusters' values / number of their observations (Davison & Hinkley, "Bootstrap Methods and Their
    Application", 1997, sections 3.8 and 5.3). Values [1, 1, 0] with clusters [a, a, b] give the
    draws {aa: 1, ab: 2/3, ba: 2/3, bb: 0}, each as likely.

    The interval is somewhat narrow under about 20 clusters, and has no width where all values are
    equal; `wilson` over the clusters is the honest fallback there.

    Args:
      values: f64[n], or f64[n, k] for a statistic of k means.
      clusters: int or str [n]: which cluster each observation belongs to.
      statistic: maps means f64[m, k] (one row a draw) to f64[m].
      draws: number of resamples.
      level: coverage, in (0, 1).
      seed: of the draws.

    Returns:
      The statistic of the data with its interval; `low` and `high` are nan for a single cluster.

    Raises:
      RecordError: no values, lengths that differ, or a value that is not finite (named by index).
      ConfigError: `draws` or `level` out of range.
    """
    check_level(level)
    if draws < 1:
        raise ConfigError(f"draws={draws!r} is below one", mend="use 2000")
    columns = columns_of(values, name="values")
    n = len(columns)
    if len(clusters) != n:
        raise RecordError(
            f"cluster_bootstrap: {n} values but {len(clusters)} clusters",
            mend="give one cluster for each value",
        )
    _, member = np.unique(np.asarray(clusters), return_inverse=True)
    sizes = np.bincount(member).astype(np.float64)
    sums = np.stack([np.bincount(member, weights=column) for column in columns.T], axis=1)
    value = float(statistic(columns.mean(axis=0, keepdims=True))[0])
    if len(sizes) < 2:
        return Estimate(value, math.nan, math.nan, clusters=len(sizes), n=n)
    drawn = statistic(_resampled_means(sums, sizes, draws=draws, seed=seed))
    low, high = np.quantile(drawn, [0.5 - level / 2, 0.5 + level / 2])
    return Estimate(value, float(low), float(high), clusters=len(sizes), n=n)


def paired_cluster_bootstrap(
    a: Sequence[float] | np.ndarray,
    b: Sequence[float] | np.ndarray,
    clusters: Sequence | np.ndarray,
    *,
    draws: int = 2000,
    level: float = 0.95,
    seed: int,
) -> Estimate:
    """The interval of `mean(a) - mean(b)`, both f64[n] measured on the same observations.

    Every draw takes the same clusters for both, so what makes a cluster easy or hard for both
    cancels. Arguments, result and errors as in `cluster_bootstrap`.
    """
    a, b = columns_of(a, name="a"), columns_of(b, name="b")
    if a.shape != b.shape or a.shape[1] != 1:
        raise RecordError(
            f"paired_cluster_bootstrap: a has shape {a.shape} and b {b.shape}",
            mend="give both for the same observations, in the same order",
        )
    pair = np.concatenate([a, b], axis=1)
    return cluster_bootstrap(
        pair, clusters, statistic=difference, draws=draws, level=level, seed=seed
    )


def grouped_cluster_bootstrap(
    values: Sequence[float] | np.ndarray,
    clusters: Sequence | np.ndarray,
    groups: Sequence[int] | np.ndarray,
    *,
    statistic: Callable[[np.ndarray], np.ndarray],
    draws: int = 2000,
    level: float = 0.95,
    seed: int,
) -> Estimate:
    """`cluster_bootstrap` of a statistic of several groups' means, such as a mean of tasks.

    Every draw takes whole clusters, whichever groups their observations are in, and forms each
    group's mean over the drawn observations. A draw that leaves a group that the statistic needs
    without observations is left out.

    Args:
      values: f64[n], or f64[n, k] for k measurements of the same observations.
      clusters: int or str [n].
      groups: i64[n], from 0 up, every number used.
      statistic: maps means f64[m, G, k] (one entry a draw, nan where a group is empty) to f64[m].

    Returns:
      As `cluster_bootstrap`; `low` and `high` are nan for a single cluster, or where fewer than
      half of the draws could be used.
    """
    check_level(level)
    columns = columns_of(values, name="values")
    groups = np.asarray(groups, np.int64)
    if not len(columns) == len(clusters) == len(groups):
        raise RecordError(
            f"grouped_cluster_bootstrap: {len(columns)} values, {len(clusters)} clusters, "
            f"{len(groups)} groups",
            mend="give one cluster and one group for each value",
        )
    _, member = np.unique(np.asarray(clusters), return_inverse=True)
    count, many, k = int(member.max()) + 1, int(groups.max()) + 1, columns.shape[1]
    cell = member * many + groups
    table = np.concatenate([columns, np.ones((len(columns), 1))], axis=1)
    sums = np.stack(
        [np.bincount(cell, weights=c, minlength=count * many) for c in table.T], axis=1
    ).reshape(count, many * (k + 1))
    value = float(statistic(_group_means(sums.sum(0, keepdims=True), many))[0])
    estimate = Estimate(value, math.nan, math.nan, clusters=count, n=len(columns))
    if count < 2:
        return estimate
    rng = np.random.default_rng(seed)
    even, step, found = np.full(count, 1 / count), max(1, _CHUNK // count), []
    for start in range(0, draws, step):
        weights = rng.multinomial(count, even, size=min(step, draws - start)).astype(np.float64)
        found.append(statistic(_group_means(weights @ sums, many)))
    return _percentiles(estimate, np.concatenate(found), draws=draws, level=level)


def hierarchical_bootstrap(
    sums: np.ndarray,
    *,
    statistic: Callable[[np.ndarray], np.ndarray],
    shared: bool,
    draws: int = 2000,
    level: float = 0.95,
    seed: int,
) -> Estimate:
    """A percentile interval that resamples groups (seeds), then clusters (videos) within them.

    The value is the mean over groups of `statistic(sums over the group's clusters)`. Davison &
    Hinkley, "Bootstrap Methods and Their Application", 1997, section 3.8. With few groups it
    takes the spread between groups for too small, by about sqrt((G - 1) / G); and it counts what
    clusters add by chance in both stages, so that it is wide where that is most of the spread.
    Give a t interval over groups beside it.

    Args:
      sums: f64[G, C, K]: what each cluster of each group adds to K totals (right and asked, say).
      statistic: maps totals f64[m, K] to f64[m], nan where it has no value.
      shared: whether cluster c is the same thing in every group, as a test video is for every
        seed. Then a draw takes the same clusters in all groups (Owen, Ann. Appl. Stat. 1, 2007),
        or else what makes a video easy for every seed would count as averaged out.

    Returns:
      `clusters` is the number of groups and `n` that of groups times clusters. `low` and `high` are
      nan for a single group or cluster, or where fewer than half of the draws have a value.

    Raises:
      RecordError: another shape, or a number that is not finite.
    """
    check_level(level)
    table = np.asarray(sums, np.float64)
    if table.ndim != 3 or not table.size or not np.isfinite(table).all():
        raise RecordError(
            f"hierarchical_bootstrap: sums of shape {table.shape}, or not all finite",
            mend="give finite sums of shape [groups, clusters, totals]",
        )
    groups, count, _ = table.shape
    value = float(statistic(table.sum(axis=1)).mean())
    estimate = Estimate(value, math.nan, math.nan, clusters=groups, n=groups * count)
    if groups < 2 or count < 2:
        return estimate
    rng, found = np.random.default_rng(seed), []
    step = max(1, _CHUNK // (count * groups))
    for start in range(0, draws, step):
        rows = min(step, draws - start)
        picked = rng.integers(groups, size=(rows, groups))
        if shared:
            weights = _drawn_counts(rng, count, rows=rows)
            every = np.stack([statistic(weights @ group) for group in table], axis=1)
            values = np.take_along_axis(every, picked, axis=1)
        else:
            weights = _drawn_counts(rng, count, rows=rows * groups).reshape(rows, groups, count)
            values = np.empty(picked.shape)
            for g, group in enumerate(table):
                values[picked == g] = statistic(weights[picked == g] @ group)
        found.append(values.mean(axis=1))
    return _percentiles(estimate, np.concatenate(found), draws=draws, level=level)


def _resampled_means(sums: np.ndarray, sizes: np.ndarray, *, draws: int, seed: int) -> np.ndarray:
    """Means f64[draws, k] of resampled clusters, from sums f64[C, k] and sizes f64[C]."""
    count = len(sizes)
    rng = np.random.default_rng(seed)
    totals = np.concatenate([sums, sizes[:, None]], axis=1)
    step = max(1, _CHUNK // count)
    means = np.empty((draws, sums.shape[1]))
    for start in range(0, draws, step):
        rows = min(step, draws - start)
        drawn = _drawn_counts(rng, count, rows=rows) @ totals
        means[start : start + rows] = drawn[:, :-1] / drawn[:, -1:]
    return means


def _drawn_counts(rng: np.random.Generator, count: int, *, rows: int) -> np.ndarray:
    """How often each of `count` clusters is drawn in each of `rows` resamples, f64[rows, count]."""
    picks = rng.integers(count, size=(rows, count))
    picks += count * np.arange(rows)[:, None]  # a block of bins a draw: one bincount for all
    weights = np.bincount(picks.ravel(), minlength=rows * count).reshape(rows, count)
    return weights.astype(np.float64)


def _percentiles(estimate: Estimate, drawn: np.ndarray, *, draws: int, level: float) -> Estimate:
    """`estimate` with the interval of the draws that have a value, if half of them have."""
    drawn = drawn[np.isfinite(drawn)]
    if len(drawn) * 2 < draws:
        return estimate
    low, high = np.quantile(drawn, [0.5 - level / 2, 0.5 + level / 2])
    return dataclasses.replace(estimate, low=float(low), high=float(high))


def _group_means(totals: np.ndarray, groups: int) -> np.ndarray:
    """Means f64[m, G, k] from totals f64[m, G (k + 1)], whose last column counts."""
    table = totals.reshape(len(totals), groups, -1)
    with np.errstate(invalid="ignore"):
        return table[..., :-1] / table[..., -1:]
