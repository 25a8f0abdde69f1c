"""Each average by its name, with a 95 % interval from a bootstrap over videos.

An average's name says how it is formed (`scores` of the benchmarks): pooled over questions, a mean
of tasks, of cells, of aspects, or weighted. The interval resamples videos and forms the average
anew; a name that gives another value than `scores.json` has gets no interval, rather than a wrong
one. Where all answers are right, or all wrong, a bootstrap has no width; the interval is then
Wilson's, for as many trials as there are videos.
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from sg4v_jax.evals.report.runs import Row, Run
from sg4v_jax.evals.videobench.questions import DATASETS, LEVELS
from sg4v_jax.evals.videobench.scoring import WEIGHTED
from sg4v_jax.report.bootstrap import cluster_bootstrap, grouped_cluster_bootstrap
from sg4v_jax.report.stats import Estimate, wilson

DRAWS = 2000
_SAME = 1e-6  # share of the scale by which a value formed anew may differ


@dataclasses.dataclass(frozen=True)
class Rule:
    """How an average is formed: rows, the group of each, and a weight for each group.

    `weights` None pools all rows.
    """

    rows: Sequence[Row]
    groups: Sequence[str]
    weights: Mapping[str, float] | None

    def estimate(self, values: np.ndarray, *, combine: Callable, seed: int) -> Estimate:
        """The bootstrap of the average of f64[n, k] values; `combine` maps f64[m, k] to f64[m]."""
        names = list(dict.fromkeys(self.groups))
        at = {name: i for i, name in enumerate(names)}
        weights = np.array([self.weights[n] for n in names]) if self.weights else None

        def statistic(means: np.ndarray) -> np.ndarray:
            if weights is None:
                return combine(means[:, 0])
            return combine(np.einsum("mgk,g->mk", means, weights / weights.sum()))

        groups = np.zeros(len(values), int) if weights is None else [at[g] for g in self.groups]
        return grouped_cluster_bootstrap(
            values,
            [row.video for row in self.rows],
            groups,
            statistic=statistic,
            draws=DRAWS,
            seed=seed,
        )


def rule_of(run: Run, name: str) -> Rule | None:
    """How the average called `name` is formed from the run's rows, None if its name is strange."""
    rows = run.rated()
    scored = run.scored
    if found := re.fullmatch(r"(.+) \(micro\)", name):
        rows = [r for r in rows if r.task == found[1]]
        return Rule(rows, [r.task for r in rows], None) if rows else None
    if re.match(r"micro\b", name):
        return Rule(rows, [r.task for r in rows], None)
    if re.match(r"mean of (\d+ of \d+ )?tasks\b", name):
        rows = [r for r in rows if r.task in scored]
        return _even(rows, [r.task for r in rows])
    if re.match(r"mean of cells\b", name):
        return _even(rows, [f"{r.task}\0{r.group}" for r in rows])
    if re.match(r"mean of aspects\b", name):
        return _even(rows, [str(r.group) for r in rows])
    if name == WEIGHTED or name in LEVELS:
        return _levels(rows, name)
    if name in scored:
        rows = [r for r in rows if r.task == name]
        return Rule(rows, [r.task for r in rows], None)
    return None


def _even(rows: Sequence[Row], groups: Sequence[str]) -> Rule | None:
    return Rule(rows, groups, dict.fromkeys(groups, 1.0)) if rows else None


def _levels(rows: Sequence[Row], name: str) -> Rule | None:
    """Video-Bench's average of three levels, or one of them."""
    weights = {}
    for level in LEVELS if name == WEIGHTED else (name,):
        members = {task: d.weight for task, d in DATASETS.items() if d.level == level}
        # A level counts one third of the whole, however much its sets weigh within it.
        weights |= {task: w / sum(members.values()) for task, w in members.items()}
    rows = [r for r in rows if r.task in weights]
    groups = [r.task for r in rows]
    return Rule(rows, groups, weights) if set(groups) == set(weights) else None


def estimate(run: Run, name: str, value: float | None, *, seed: int = 0) -> Estimate | None:
    """The interval of the average `name`, in the unit of scores; None where there is none."""
    rule = rule_of(run, plain_name(name))
    if value is None or rule is None:
        return None
    ratings = np.array([r.rating for r in rule.rows], np.float64)[:, None]
    found = _without_spread(rule.rows)
    if found is None:
        found = rule.estimate(ratings, combine=lambda means: means[:, 0], seed=seed)
    found = _scaled(found, run.scale)
    return found if abs(found.value - value) <= _SAME * run.scale else None


def plain_name(name: str) -> str:
    """An average's name without what was said behind it: "micro, at most 5 ..." is "micro".

    The list of tasks in "mean of 3 of 4 tasks: a, b, c" stays out too.
    """
    return re.split(r", at most |, \d+ missing |: ", name)[0]


def cell_estimate(rows: Sequence[Row], *, scale: float, seed: int = 0) -> Estimate | None:
    """The mean rating of `rows` with its interval over videos, times `scale`; None without rows.

    Where all ratings are equal a bootstrap has no width: the interval is then Wilson's, for as
    many trials as there are videos.
    """
    if not rows:
        return None
    found = _without_spread(rows)
    if found is None:
        ratings = np.array([r.rating for r in rows], np.float64)
        found = cluster_bootstrap(ratings, [r.video for r in rows], draws=DRAWS, seed=seed)
    return _scaled(found, scale)


def _without_spread(rows: Sequence[Row]) -> Estimate | None:
    """Wilson's interval over videos where all rows are right, or all wrong; else None."""
    first = rows[0].rating
    if first not in (0, 1) or any(r.rating != first for r in rows):
        return None
    count = len({r.video for r in rows})
    bound = wilson(count * int(first), count)
    return Estimate(float(first), bound.low, bound.high, count, len(rows))


def _scaled(e: Estimate, scale: float) -> Estimate:
    return Estimate(e.value * scale, e.low * scale, e.high * scale, e.clusters, e.n)


def shown(value: float | None, found: Estimate | None = None, *, places: int = 1) -> str:
    """A table's cell: `62.5 [50.0, 75.0]`, `62.5` without an interval, `n/a` without a value."""
    if value is None or not math.isfinite(value):
        return "n/a"
    text = f"{value:.{places}f}"
    if found is None or not (math.isfinite(found.low) and math.isfinite(found.high)):
        return text.replace("-", "−")
    return f"{text} [{found.low:.{places}f}, {found.high:.{places}f}]".replace("-", "−")
