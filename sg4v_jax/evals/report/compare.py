"""Two runs on the same questions: who is right where, tests, and the difference with its interval.

McNemar's test takes questions for independent. Questions about one video are not, so the interval
of the difference resamples videos; where the two disagree, believe the interval.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence

import numpy as np

from sg4v_jax.evals.report.averages import plain_name, rule_of
from sg4v_jax.evals.report.runs import Row, Run
from sg4v_jax.report.bootstrap import paired_cluster_bootstrap
from sg4v_jax.report.stats import Estimate, holm, mcnemar_exact, mcnemar_midp


@dataclasses.dataclass(frozen=True, kw_only=True)
class Paired:
    """`a` against `b` on the questions that both rated.

    Attributes:
      name: of the pair, or of the task within it.
      a, b: mean ratings times the scale.
      difference: a - b, with its interval over videos.
      only_a, only_b: questions that one got right and the other wrong.
      exact, midp: McNemar's p values; None where ratings are not right or wrong.
      n: questions; in `difference.clusters` are the videos.
    """

    name: str
    a: float
    b: float
    difference: Estimate
    only_a: int
    only_b: int
    exact: float | None
    midp: float | None
    n: int


def pairs(runs: Sequence[Run]) -> list[tuple[Run, Run]]:
    """All pairs of runs that share rated questions."""
    return [(a, b) for a, b in itertools.combinations(runs, 2) if shared_rows(a, b)[0]]


def compare(a: Run, b: Run, *, task: str | None = None, seed: int = 0) -> Paired:
    """The comparison on shared questions, pooled; of one task if given."""
    first, second = shared_rows(a, b, task=task)
    x, y = (np.array([r.rating for r in rows], np.float64) for rows in (first, second))
    found = paired_cluster_bootstrap(x, y, [r.video for r in first], seed=seed)
    binary = a.scale == 100
    only_a, only_b = int(np.sum((x > 0) & (y <= 0))), int(np.sum((y > 0) & (x <= 0)))
    return Paired(
        name=task or f"{a.name} − {b.name}",
        a=a.scale * float(x.mean()),
        b=a.scale * float(y.mean()),
        difference=_scaled(found, a.scale),
        only_a=only_a,
        only_b=only_b,
        exact=mcnemar_exact(only_a, only_b) if binary else None,
        midp=mcnemar_midp(only_a, only_b) if binary else None,
        n=len(first),
    )


def by_task(a: Run, b: Run, *, seed: int = 0) -> list[Paired]:
    """`compare` for each task that both have rated questions of."""
    tasks = dict.fromkeys(r.task for r in shared_rows(a, b)[0])
    return [compare(a, b, task=task, seed=seed) for task in tasks]


def headline_difference(a: Run, b: Run, *, seed: int = 0) -> tuple[str, Estimate] | None:
    """The difference of the headline averages on shared questions, and their common name.

    None where the two have different headlines, or one that cannot be formed anew.
    """
    name = plain_name(a.headline[0])
    if name != plain_name(b.headline[0]):
        return None
    first, second = shared_rows(a, b)
    rule = rule_of(dataclasses.replace(a, rows=tuple(first)), name)
    if rule is None:
        return None
    other = {r.id: r.rating for r in second}
    values = np.array([[r.rating, other[r.id]] for r in rule.rows], np.float64)
    found = rule.estimate(values, combine=lambda means: means[:, 0] - means[:, 1], seed=seed)
    return name, _scaled(found, a.scale)


def shared_rows(a: Run, b: Run, *, task: str | None = None) -> tuple[list[Row], list[Row]]:
    """Rated rows of both runs for the same questions, in the order of `a`.

    Tasks without a score in either (captions that nobody judged, say) stay out.
    """
    tasks = a.scored & b.scored
    other = {r.id: r for r in b.rated(task=task) if r.task in tasks}
    first = [r for r in a.rated(task=task) if r.id in other]
    return first, [other[r.id] for r in first]


def adjusted(found: Sequence[Paired]) -> list[float | None]:
    """The mid-p values, adjusted for their number (Holm)."""
    known = [p.midp for p in found if p.midp is not None]
    values = iter(holm(known).tolist())
    return [None if p.midp is None else next(values) for p in found]


def p_shown(p: float | None) -> str:
    """A p value as papers print it: `0.012`, `<0.001`, `–`."""
    if p is None:
        return "–"
    return "<0.001" if p < 0.001 else f"{p:.3f}"


def _scaled(e: Estimate, scale: float) -> Estimate:
    return Estimate(e.value * scale, e.low * scale, e.high * scale, e.clusters, e.n)
