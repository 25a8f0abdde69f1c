"""Result row -> its numbers by name, and their means over seeds with t intervals.

average               mean of the five aspects, each the mean of its three forms
aspect/direction      an aspect (camera too); form/yesno a form; cell/direction/yesno both
wrong, none           the average with another video's picture, and with none
reliance/wrong        right video minus wrong video; reliance/none likewise
unseen                the average of questions about unseen combinations
captioning            the average of generated captions, read; captioning/speed an aspect
yes_bias              yeses said minus yeses true, as shares of the yes/no questions
events/false          false events as a share of those told; events/missing of those that are so
slot/verb             share of such words of the development captions that are right
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from sg4v_jax.errors import RecordError
from sg4v_jax.report import stats
from sg4v_jax.study.accuracy import ASKED, FIVE
from sg4v_jax.study.results import Design, Run
from sg4v_jax.world.aspects.questions import ASPECTS


@dataclasses.dataclass(frozen=True)
class Mean:
    """A mean over seeds with its 95 % t interval; low and high are nan for one seed."""

    mean: float
    low: float
    high: float
    by_seed: Mapping[int, float]

    @property
    def n(self) -> int:
        return len(self.by_seed)

    @property
    def spread(self) -> float:
        """The standard deviation over seeds, nan for one."""
        return float(np.std(list(self.by_seed.values()), ddof=1)) if self.n > 1 else math.nan


@dataclasses.dataclass(frozen=True)
class Row:
    """A row of the design: its runs, and every measure's mean over their seeds."""

    design: Design
    group: str
    runs: tuple[Run, ...]
    measures: Mapping[str, Mean]

    @property
    def seeds(self) -> tuple[int, ...]:
        return tuple(run.seed for run in self.runs)


def mean_of(by_seed: Mapping[int, float]) -> Mean:
    """`Mean` of one number a seed: `{1: 0.5, 2: 0.7}` gives 0.6 in [-0.67, 1.87]."""
    found = stats.paired_t(list(by_seed.values()))
    half = found.half_width
    return Mean(found.mean, found.mean - half, found.mean + half, dict(by_seed))


def rows_of(runs: Iterable[Run]) -> dict[Design, Row]:
    """Runs by row of the design, in the order of their first run."""
    members: dict[Design, list[Run]] = {}
    for run in runs:
        members.setdefault(run.design, []).append(run)
    found = {}
    for design, own in members.items():
        own.sort(key=lambda run: run.seed)
        numbers = {run.seed: read(run.row, where=f"{run.where}: run {run.id!r}") for run in own}
        names = dict.fromkeys(name for values in numbers.values() for name in values)
        means = {
            name: mean_of({seed: v[name] for seed, v in numbers.items() if name in v})
            for name in names
        }
        found[design] = Row(design, own[0].group, tuple(own), means)
    return found


def read(row: Mapping[str, Any], *, where: str) -> dict[str, float]:
    """`of`, whose errors name the place.

    Raises:
      RecordError: a field of another shape than a result row's.
    """
    try:
        return of(row)
    except (AttributeError, KeyError, TypeError, ValueError) as e:
        what = f"{type(e).__name__}: {e}"
        raise RecordError(f"{where}: not a result row ({what})", mend="run that run again") from e


def of(row: Mapping[str, Any]) -> dict[str, float]:
    """The numbers of one line of `results.jsonl`; those that it does not tell are left out."""
    accuracy = row["accuracy"]
    right = accuracy["right"]
    found: dict[str, float | None] = {"average": right["average"]}
    found |= {f"aspect/{a}": v for a, v in (right.get("aspects") or {}).items()}
    found |= {f"form/{f}": v for f, v in (right.get("forms") or {}).items()}
    for aspect, forms in (right.get("cells") or {}).items():
        found |= {f"cell/{aspect}/{form}": _ratio(*c) for form, c in forms.items()}
    for other in ("wrong", "none"):
        value = (accuracy.get(other) or {}).get("average")
        found[other] = value
        if value is not None and right["average"] is not None:
            found[f"reliance/{other}"] = right["average"] - value
    found["unseen"] = (row.get("unseen") or {}).get("average")
    told = row.get("captioning") or {}
    found |= {f"captioning/{a}": v for a, v in told.items()}
    five = [told[a] for a in FIVE if told.get(a) is not None]
    found["captioning"] = float(np.mean(five)) if five else None
    yes = row.get("yes_share") or {}
    if yes.get("right") is not None and yes.get("truth") is not None:
        found["yes_bias"] = yes["right"] - yes["truth"]
    found |= {f"events/{k}": v for k, v in event_rates(row.get("captions") or {}).items()}
    slots = row.get("slots") or {}
    found |= {f"slot/{name}": _ratio(*cell) for name, cell in slots.items()}
    return {name: float(v) for name, v in found.items() if v is not None}


def event_rates(counts: Mapping[str, float]) -> dict[str, float | None]:
    """`false` and `missing` rates of a row's `captions` counts.

    `{events_told: 4, events_false: 1, events_true: 3, events_missing: 1}` gives 0.25 and 0.25.
    """
    if not counts:
        return {}
    so = counts["events_true"] + counts["events_missing"]
    return {
        "false": _ratio(counts["events_false"], counts["events_told"]),
        "missing": _ratio(counts["events_missing"], so),
    }


def chance_of(questions: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """What a blind guess scores on average: measures `average`, `aspect/...`, `form/...`."""
    cells: dict[tuple[str, str], list[float]] = {}
    for q in questions:
        cells.setdefault((q["aspect"], q["form"]), []).append(1 / len(q["options"]))
    return averages({cell: float(np.mean(values)) for cell, values in cells.items()})


def averages(cells: Mapping[tuple[str, str], float]) -> dict[str, float]:
    """Shares by (aspect, form) -> the measures that are means of them."""
    found = {f"cell/{a}/{f}": v for (a, f), v in cells.items()}
    for aspect in ASPECTS:
        if own := [v for (a, _), v in cells.items() if a == aspect]:
            found[f"aspect/{aspect}"] = float(np.mean(own))
    for form in ASKED:
        if own := [v for (a, f), v in cells.items() if f == form and a in FIVE]:
            found[f"form/{form}"] = float(np.mean(own))
    if five := [found[f"aspect/{a}"] for a in FIVE if f"aspect/{a}" in found]:
        found["average"] = float(np.mean(five))
    return found


def _ratio(part: float, whole: float) -> float | None:
    return float(part) / float(whole) if whole else None
