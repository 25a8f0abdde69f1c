"""Dose curves: how the score follows what captions lack or tell falsely, and one prediction from them.

A curve's undosed point is the arm itself, at the seeds of the dosed runs.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from sg4v_jax.study.design import ITEMS
from sg4v_jax.study.measures import Mean, Row, event_rates, mean_of
from sg4v_jax.study.results import DOSES, Design, Study

TITLES = {
    "sentences": "sentences kept of each detailed caption",
    "omission": "events left out, %",
    "false": "events told falsely, %",
    "vqa_items": "questions that are trained on",
}
_BASE = {"sentences": "all", "omission": 0.0, "false": 0.0, "vqa_items": float(ITEMS)}


@dataclasses.dataclass(frozen=True)
class Point:
    """A point of a curve: the dose, where it stands on the axis, the average, and its loss.

    `change` is the paired difference from the curve's undosed point, None there and without one.
    """

    dose: float | str
    x: float
    score: Mean
    change: Mean | None


@dataclasses.dataclass(frozen=True)
class Curve:
    """The average by dose for one arm, tower and path; points in the order of `x`."""

    kind: str
    arm: str
    tower: str
    path: str
    points: tuple[Point, ...]


@dataclasses.dataclass(frozen=True)
class Prediction:
    """What a curve foretells of the arm with captions of our own captioner, and what it got.

    Attributes:
      rate: measured error rate of the captions, the mean over seeds.
      inside: whether every seed's rate lies on the curve; beyond its end the end is taken.
      predicted, got, gap: the averages by seed, and got minus predicted.
    """

    kind: str
    rate: Mean
    inside: bool
    predicted: Mean
    got: Mean
    gap: Mean


def curves(rows: Mapping[Design, Row], study: Study) -> list[Curve]:
    """The curves that have a dosed run, in the order of `DOSES`."""
    dosed: dict[tuple[str, str, str, str], list[Row]] = {}
    for design, row in rows.items():
        if design.kind:
            key = (design.kind, design.arm, design.tower, design.path)
            dosed.setdefault(key, []).append(row)
    found = []
    for (kind, arm, tower, path), own in dosed.items():
        base = rows.get(Design(arm, tower, path))
        points = _points(kind, own, base, whole=_sentences(study))
        if points:
            found.append(Curve(kind, arm, tower, path, points))
    return sorted(found, key=lambda c: (DOSES.index(c.kind), c.arm, c.tower, c.path))


def _points(
    kind: str, own: Iterable[Row], base: Row | None, *, whole: float | None
) -> tuple[Point, ...]:
    own = [row for row in own if "average" in row.measures]
    numbers = {row.design.dose: row.measures["average"] for row in own}
    if base is not None and "average" in base.measures:
        seeds = {seed for mean in numbers.values() for seed in mean.by_seed}
        kept = {s: v for s, v in base.measures["average"].by_seed.items() if s in seeds}
        if kept:
            numbers[_BASE[kind]] = mean_of(kept)
    start = numbers.get(_BASE[kind])
    largest = max((float(d) for d in numbers if d != "all"), default=0.0)
    found = []
    for dose, score in numbers.items():
        # "All" stands at the mean number of sentences, where that is beyond the rest.
        end = whole if whole is not None and whole > largest else largest + 1
        x = end if dose == "all" else float(dose)
        shared = set(score.by_seed) & set(start.by_seed) if start and score is not start else ()
        change = {s: score.by_seed[s] - start.by_seed[s] for s in sorted(shared)}
        found.append(Point(dose, x, score, mean_of(change) if change else None))
    return tuple(sorted(found, key=lambda point: point.x))


def predictions(curves: Sequence[Curve], rows: Mapping[Design, Row]) -> list[Prediction]:
    """For the captioner's rows, what the curves of its two kinds of error foretell."""
    found = []
    for row in rows.values():
        if row.group != "captioner" or "average" not in row.measures:
            continue
        for kind, rate in (("false", "false"), ("omission", "missing")):
            curve = next((c for c in curves if c.kind == kind and _beside(c, row.design)), None)
            rates = {run.seed: r for run in row.runs if (r := _rate(run.row, rate)) is not None}
            if curve is not None and rates and (p := _predict(kind, curve, row, rates)):
                found.append(p)
    return found


def _predict(kind: str, curve: Curve, row: Row, rates: Mapping[int, float]) -> Prediction | None:
    """By seed: its own curve at its own error rate, linear between the points."""
    x = [p.x for p in curve.points]
    got = row.measures["average"].by_seed
    seeds = [s for s in rates if s in got and all(s in p.score.by_seed for p in curve.points)]
    if len(x) < 2 or not seeds:
        return None
    told = {
        s: float(np.interp(rates[s], x, [p.score.by_seed[s] for p in curve.points])) for s in seeds
    }
    return Prediction(
        kind=kind,
        rate=mean_of({s: rates[s] for s in seeds}),
        inside=all(x[0] <= rates[s] <= x[-1] for s in seeds),
        predicted=mean_of(told),
        got=mean_of({s: got[s] for s in seeds}),
        gap=mean_of({s: got[s] - told[s] for s in seeds}),
    )


def _beside(curve: Curve, design: Design) -> bool:
    return (curve.tower, curve.path) == (design.tower, design.path)


def _rate(row: Mapping, rate: str) -> float | None:
    """The error rate of the captions that a run trained on, as they were counted."""
    return event_rates(row.get("captioner") or {}).get(rate)


def _sentences(study: Study) -> float | None:
    """The mean number of sentences of the detailed captions of the development videos."""
    counts = [len(re.findall(r"[^.\s][^.]*", caption)) for caption in study.dev_captions]
    return float(np.mean(counts)) if counts else None
