"""Intervals and paired tests; what comes in clusters (questions about one video) see `bootstrap`."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import special

from sg4v_jax.errors import ConfigError, RecordError


@dataclass(frozen=True)
class Estimate:
    """A value with its interval; `low` and `high` are nan where the data cannot give one."""

    value: float
    low: float
    high: float
    clusters: int  # independent units behind the interval
    n: int  # observations

    def excludes(self, reference: float) -> bool:
        """Whether `reference` (chance, say) lies outside the interval; False without one."""
        return reference < self.low or reference > self.high


@dataclass(frozen=True)
class PairedT:
    """A mean difference, the half-width of its interval, and the two-sided p value."""

    mean: float
    half_width: float
    p: float
    n: int


def wilson(successes: int, n: int, *, level: float = 0.95) -> Estimate:
    """The score interval of a proportion of independent trials.

    Centre `(k + z²/2) / (n + z²)`, half-width `z / (n + z²) * sqrt(k (n - k) / n + z²/4)` (Wilson,
    JASA 22, 1927). It stays inside [0, 1] and has a width even at 0 and at n successes:
    `wilson(10, 10)` is 1.0 in [0.722, 1.0]. For clustered answers use `cluster_bootstrap`.

    Raises:
      RecordError: `n` is below one or `successes` is not in [0, n].
    """
    check_level(level)
    if n < 1 or not 0 <= successes <= n:
        raise RecordError(
            f"wilson: successes={successes!r} of n={n!r} is no proportion",
            mend="count at least one trial, and no more successes than trials",
        )
    z = statistics.NormalDist().inv_cdf(0.5 + level / 2)
    centre = (successes + z * z / 2) / (n + z * z)
    half = z / (n + z * z) * math.sqrt(successes * (n - successes) / n + z * z / 4)
    # exact at the ends, where rounding would leave 1e-17
    low = 0.0 if successes == 0 else centre - half
    high = 1.0 if successes == n else centre + half
    return Estimate(successes / n, low, high, clusters=int(n), n=int(n))


def mcnemar_exact(b: int, c: int) -> float:
    """The two-sided p value that two systems err equally often, on the same independent items.

    `b` items only the first got right, `c` only the second. Under the null hypothesis `b` is
    binomial(b + c, 1/2): `p = min(1, 2 P[X <= min(b, c)])` (McNemar, Psychometrika 12, 1947, in the
    exact form). `mcnemar_exact(0, 5)` is 2 / 2**5 = 0.0625; `mcnemar_exact(0, 0)` is 1.

    Raises:
      RecordError: a negative count.
    """
    if b < 0 or c < 0:
        raise RecordError(f"mcnemar_exact: counts b={b!r}, c={c!r}", mend="count from zero up")
    if b + c == 0:
        return 1.0
    return min(1.0, 2.0 * float(special.bdtr(min(b, c), int(b + c), 0.5)))


def mcnemar_midp(b: int, c: int) -> float:
    """`mcnemar_exact` with the mid-p value: `2 P[X < min(b, c)] + P[X = min(b, c)]`.

    The exact test is conservative, because a binomial takes few values; the mid-p value counts the
    observed one half on each side and comes closer to its level without passing it in practice
    (Fagerland, Lydersen & Laake, BMC Med. Res. Methodol. 13, 2013). `mcnemar_midp(0, 5)` is
    1 / 2**5; with b = c it is 1.

    Raises:
      RecordError: a negative count.
    """
    exact = mcnemar_exact(b, c)
    if b == c:
        return exact
    few, n = min(b, c), int(b + c)
    below = float(special.bdtr(few - 1, n, 0.5)) if few else 0.0
    return below + float(special.bdtr(few, n, 0.5))


def paired_t(differences: Sequence[float] | np.ndarray, *, level: float = 0.95) -> PairedT:
    """Student's t test of f64[n] paired differences (one a seed, say) against zero.

    `t = mean / (s / sqrt(n))` with n - 1 degrees of freedom; half-width `t_level * s / sqrt(n)`
    (Student, Biometrika 6, 1908). With n = 1 half-width and p are nan. Differences that are all
    equal have half-width 0, and p is 0, or 1 where they are all zero.

    Raises:
      RecordError: no differences, or one that is not finite.
    """
    check_level(level)
    d = columns_of(differences, name="differences")[:, 0]
    n, centre = len(d), float(d.mean())
    if n < 2:
        return PairedT(centre, math.nan, math.nan, n)
    error = float(d.std(ddof=1)) / math.sqrt(n)
    if np.ptp(d) == 0:
        return PairedT(centre, 0.0, 1.0 if centre == 0 else 0.0, n)
    half = float(special.stdtrit(n - 1, 0.5 + level / 2)) * error
    p = 2.0 * float(special.stdtr(n - 1, -abs(centre) / error))
    return PairedT(centre, half, p, n)


def detectable(spread: float, *, n: int, power: float = 0.8, level: float = 0.95) -> float:
    """The least true mean difference that `paired_t` of `n` differences finds with `power`.

    `delta = nc * spread / sqrt(n)`, where the noncentral t with n - 1 degrees of freedom and
    noncentrality nc passes the two-sided critical value with probability `power` (Cohen,
    "Statistical Power Analysis", 1988, chapter 2). `spread` is the standard deviation of the
    differences: `detectable(1.0, n=5)` is 1.68. nan for n = 1.
    """
    check_level(level)
    if n < 2:
        return math.nan
    critical = special.stdtrit(n - 1, 0.5 + level / 2)
    return float(special.nctdtrinc(n - 1, 1 - power, critical)) * spread / math.sqrt(n)


def holm(p_values: Sequence[float] | np.ndarray) -> np.ndarray:
    """P values f64[m] adjusted for m tests, in the order given (Holm, Scand. J. Stat. 6, 1979).

    The i-th smallest (from 0) is multiplied by m - i, then made no smaller than those before it,
    and cut at 1: `[0.01, 0.04, 0.03]` gives `[0.03, 0.06, 0.06]`.

    Raises:
      RecordError: a p value outside [0, 1] (nan too).
    """
    p = np.asarray(p_values, np.float64).reshape(-1)
    bad = np.flatnonzero(~((p >= 0) & (p <= 1)))
    if len(bad):
        raise RecordError(
            f"holm: p_values[{bad[0]}] = {p[bad[0]]} is not in [0, 1]",
            mend="leave out tests that gave no p value",
        )
    order = np.argsort(p, kind="stable")
    scaled = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1))
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(scaled, 1.0)
    return adjusted


def columns_of(values: Sequence[float] | np.ndarray, *, name: str) -> np.ndarray:
    """`values` as f64[n, k], checked."""
    table = np.asarray(values, np.float64)
    table = table.reshape(-1, 1) if table.ndim < 2 else table
    if not table.size:
        raise RecordError(f"{name} is empty", mend="measure at least one observation")
    bad = np.flatnonzero(~np.isfinite(table).all(axis=1))
    if len(bad):
        raise RecordError(
            f"{name}[{bad[0]}] = {table[bad[0]].tolist()} is not finite ({len(bad)} such)",
            mend="score unanswered items as wrong, or leave them out and say so",
        )
    return table


def check_level(level: float) -> None:
    if not 0 < level < 1:
        raise ConfigError(f"level={level!r} is not in (0, 1)", mend="use 0.95")
