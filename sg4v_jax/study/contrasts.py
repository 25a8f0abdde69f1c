"""Paired differences between rows of the design: which, and how large with what certainty.

Pairs share seed, base model, videos and order. The t interval is over seeds; the bootstrap resamples
seeds, then videos, and takes the same videos for all seeds, because all are asked about the same.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence

from sg4v_jax.report import bootstrap, stats
from sg4v_jax.study import totals
from sg4v_jax.study.measures import Mean, Row, mean_of
from sg4v_jax.study.results import Design, shown_dose

LEVEL = 0.05  # of the two primary tests together
DRAWS = 2000
SEED = 8
INTERACTION = "interaction with unlocking"  # (detailed − vqa) unlocked minus the same frozen


@dataclasses.dataclass(frozen=True)
class Planned:
    """A contrast of the plan: a weighted sum of rows of the design.

    Attributes:
      name: as tables call it.
      kind: primary, secondary, control, path or dose.
      terms: (weight, row).
    """

    name: str
    kind: str
    terms: tuple[tuple[float, Design], ...]


@dataclasses.dataclass(frozen=True)
class Contrast:
    """What came out of a planned contrast, in shares of 1.

    Attributes:
      missing: what the plan needs and the results lack, "detailed, unlocked: seed 3"; seeds that
        one of the rows lacks are in no number.
      difference: of the average, None without a common seed.
      p: two-sided, uncorrected; nan for one seed.
      holm: adjusted over the two primary contrasts, None for others or where one has no p.
      bootstrap: (low, high), nan where answers or seeds lack.
      detectable: true difference that this many seeds find with power 0.8 at this spread.
      parts: the same difference by measure: aspects, forms, camera, unseen ...
    """

    name: str
    kind: str
    missing: tuple[str, ...]
    difference: Mean | None
    p: float
    holm: float | None
    bootstrap: tuple[float, float]
    detectable: float
    parts: Mapping[str, Mean]

    @property
    def significant(self) -> bool:
        """Whether the test rejects: after Holm where the contrast is primary."""
        p = self.holm if self.kind == "primary" else self.p
        return p is not None and p < LEVEL


def _pair(name: str, kind: str, a: Design, b: Design) -> Planned:
    return Planned(name, kind, ((1.0, a), (-1.0, b)))


def planned(designs: Iterable[Design]) -> list[Planned]:
    """The contrasts of the plan; a second visual path's and amounts of VQA as `designs` has them.

    >>> [c.name for c in planned([]) if c.kind == "primary"]
    ["detailed − short, unlocked", "detailed − vqa, unlocked"]
    """
    free, fixed = "unlocked", "frozen"
    detailed = Design("detailed", free)
    found = [
        _pair(f"detailed − {b}, {t}", k, Design("detailed", t), Design(b, t))
        for t, k in ((free, "primary"), (fixed, "secondary"))
        for b in ("short", "vqa")
    ]
    found += [
        _pair(f"short − vqa, {t}", "secondary", Design("short", t), Design("vqa", t))
        for t in (free, fixed)
    ]
    interaction = tuple(
        (w * v, Design(arm, tower))
        for tower, w in ((free, 1.0), (fixed, -1.0))
        for arm, v in (("detailed", 1.0), ("vqa", -1.0))
    )
    found.append(Planned(INTERACTION, "secondary", interaction))
    found += [
        _pair(f"{arm}: unlocked − frozen", "secondary", Design(arm, free), Design(arm, fixed))
        for arm in ("vqa", "short", "detailed")
    ]
    found += [
        _pair(f"detailed − {b.replace('_', ' ')}", "control", detailed, Design(b, free))
        for b in ("long_static", "shuffled", "text_only", "detailed_short_tokens")
    ]
    cut = Design("detailed_short_tokens", free)
    found.append(_pair("detailed short tokens − short", "control", cut, Design("short", free)))
    passes = Design("vqa_passes", free)
    found.append(_pair("vqa − vqa passes", "control", Design("vqa", free), passes))
    found.append(_pair("detailed − vqa passes", "control", detailed, passes))
    for path in sorted({design.path for design in designs} - {"grid"}):
        for b in ("short", "vqa"):
            pair = Design("detailed", free, path), Design(b, free, path)
            found.append(_pair(f"detailed − {b}, path {path}", "path", *pair))
    for amount in sorted({d.dose for d in designs if d.kind == "vqa_items"}):
        pair = [Design(arm, free, "grid", "vqa_items", amount) for arm in ("detailed", "vqa")]
        found.append(_pair(f"detailed − vqa, {shown_dose(amount)} questions", "dose", *pair))
    return found


def measured(
    plan: Sequence[Planned],
    rows: Mapping[Design, Row],
    *,
    answers: Mapping[str, totals.Totals],
    due: Mapping[Design, Sequence[int]],
    draws: int = DRAWS,
) -> list[Contrast]:
    """The contrasts of `plan` that the study has or plans, the two primary ones always.

    Args:
      rows: the design's rows with results.
      answers: totals by run id; a contrast without all of its answers has no bootstrap.
      due: seeds that the study plans, by row.
    """
    found = []
    for contrast in plan:
        designs = [design for _, design in contrast.terms]
        known = all(design in rows or design in due for design in designs)
        if known or contrast.kind == "primary":
            found.append(_measure(contrast, rows, answers=answers, due=due, draws=draws))
    first = [c for c in found if c.kind == "primary"]
    if first and all(math.isfinite(c.p) for c in first):
        adjusted = dict(zip((c.name for c in first), stats.holm([c.p for c in first]), strict=True))
        found = [dataclasses.replace(c, holm=_float(adjusted.get(c.name))) for c in found]
    return found


def _float(value) -> float | None:
    return None if value is None else float(value)


def _measure(
    contrast: Planned,
    rows: Mapping[Design, Row],
    *,
    answers: Mapping[str, totals.Totals],
    due: Mapping[Design, Sequence[int]],
    draws: int,
) -> Contrast:
    own = [(weight, rows.get(design)) for weight, design in contrast.terms]
    have = [set(row.measures["average"].by_seed) if _scored(row) else set() for _, row in own]
    designs = [design for _, design in contrast.terms]
    lacking = tuple(_lacking(dict(zip(designs, have, strict=True)), due=due))
    common = sorted(set.intersection(*have))
    nothing = (math.nan, math.nan)
    if not common:
        return Contrast(
            contrast.name, contrast.kind, lacking, None, math.nan, None, nothing, math.nan, {}
        )
    parts = {}
    for name in own[0][1].measures:
        if all(name in row.measures for _, row in own):
            by = {
                s: sum(w * row.measures[name].by_seed[s] for w, row in own)
                for s in common
                if all(s in row.measures[name].by_seed for _, row in own)
            }
            if by:
                parts[name] = mean_of(by)
    difference = parts.pop("average")
    return Contrast(
        name=contrast.name,
        kind=contrast.kind,
        missing=lacking,
        difference=difference,
        p=stats.paired_t(list(difference.by_seed.values())).p,
        holm=None,
        bootstrap=_bootstrap(own, common, answers=answers, draws=draws),
        detectable=stats.detectable(difference.spread, n=difference.n),
        parts=parts,
    )


def _scored(row: Row | None) -> bool:
    return row is not None and "average" in row.measures


def _lacking(have: Mapping[Design, set[int]], *, due: Mapping[Design, Sequence[int]]) -> list[str]:
    """Seeds that rows lack: of the plan, or without one those that rows of the same tower have."""
    found = []
    for design, seeds in have.items():
        alike = (own for other, own in have.items() if other.tower == design.tower)
        wanted = set(due[design]) if design in due else set().union(*alike)
        gone = ", ".join(map(str, sorted(wanted - seeds)))
        if gone or not seeds:
            found.append(f"{design.name}: {f'seed {gone}' if gone else 'every seed'}")
    return found


def _bootstrap(
    own: Sequence[tuple[float, Row]],
    seeds: Sequence[int],
    *,
    answers: Mapping[str, totals.Totals],
    draws: int,
) -> tuple[float, float]:
    by_seed = [{run.seed: run for run in row.runs} for _, row in own]
    runs = [[by[seed] for by in by_seed] for seed in seeds]
    if not all(run.id in answers for members in runs for run in members):
        return math.nan, math.nan
    sums = totals.stacked([[(run, answers[run.id]) for run in members] for members in runs])
    statistic = totals.weighted_average([weight for weight, _ in own])
    found = bootstrap.hierarchical_bootstrap(
        sums, statistic=statistic, shared=True, draws=draws, seed=SEED
    )
    return found.low, found.high
