"""A study's results -> every number of its report, from plain numpy; the verdict is `verdict`'s."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from sg4v_jax.study import contrasts, doses, gates, measures, totals
from sg4v_jax.study.accuracy import FIVE
from sg4v_jax.study.contrasts import Contrast
from sg4v_jax.study.measures import Mean, Row
from sg4v_jax.study.results import Design, Run, Study


@dataclasses.dataclass(frozen=True)
class Analysis:
    """All numbers of a report, in shares of 1.

    Attributes:
      done, planned: how many runs of the plan are there; planned is None where no plan is.
      missing: ids of planned runs that are not there.
      seeds: by tower, those of the main arms' runs.
      rows: every row of the design with results; `measures` explains the names of its numbers.
      contrasts: paired differences, the two primary ones first.
      trained: whether the verb gate passes, None without slots.
      verbs: the slots that it judges.
      gates: by aspect.
      chance, prior: measures of the blind guess and of the prior-only guesser; may be empty.
      curves, predictions: of `doses`.
      losses: mean training loss over seeds by row of the main group: name -> [(step, loss)].
      compute: by group of runs: (runs, CPU hours, wall hours).
    """

    name: str
    split: str
    done: int
    planned: int | None
    missing: tuple[str, ...]
    seeds: Mapping[str, tuple[int, ...]]
    rows: Mapping[Design, Row]
    contrasts: tuple[Contrast, ...]
    trained: bool | None
    verbs: Mean | None
    gates: tuple[gates.Gate, ...]
    chance: Mapping[str, float]
    prior: Mapping[str, float]
    curves: tuple[doses.Curve, ...]
    predictions: tuple[doses.Prediction, ...]
    losses: Mapping[str, tuple[tuple[float, float], ...]]
    compute: Mapping[str, tuple[int, float, float]]

    @property
    def incomplete(self) -> str:
        """`incomplete: 37 of 110 runs`, "" where nothing planned is missing."""
        return f"incomplete: {self.done} of {self.planned} runs" if self.missing else ""

    @property
    def absent(self) -> str:
        """What a table says of a row of the design without a run."""
        whole = self.planned is not None and not self.missing
        return "not planned" if whole else "missing"

    @property
    def primary(self) -> tuple[Contrast, ...]:
        return tuple(c for c in self.contrasts if c.kind == "primary")

    def row(self, arm: str, tower: str = "unlocked", path: str = "grid") -> Row | None:
        """The undosed row of an arm."""
        return self.rows.get(Design(arm, tower, path))

    @property
    def learnt(self) -> tuple[str, ...]:
        """The aspects of the five that pass their gate."""
        return tuple(g.aspect for g in self.gates if g.learnt and g.aspect in FIVE)


def analyse(study: Study, *, draws: int = contrasts.DRAWS) -> Analysis:
    """Everything that can be said of `study` as far as it is there.

    Args:
      draws: of the bootstrap.

    Raises:
      RecordError: damaged answers, or answers that contradict `results.jsonl`.
    """
    rows = measures.rows_of(study.runs)
    chance = measures.chance_of(study.questions)
    guessed = {"accuracy": {"right": study.guesser}}
    prior = measures.read(guessed, where=f"{study.out}/guesser.json") if study.guesser else {}
    found = gates.gates(rows, chance=chance, prior=prior)
    learnt = [g.aspect for g in found if g.learnt and g.aspect in FIVE]
    rows = {design: _with_learnt(row, learnt) for design, row in rows.items()}
    for blind in (chance, prior):
        if learnt and all(f"aspect/{aspect}" in blind for aspect in learnt):
            blind["average_learnt"] = float(np.mean([blind[f"aspect/{a}"] for a in learnt]))
    answers = {run.id: t for run in study.runs if (t := totals.totals_of(study, run)) is not None}
    due = _due(study.planned or ())
    plan = contrasts.planned({*rows, *due})
    trained, verbs = gates.trained(rows)
    curves = doses.curves(rows, study)
    planned = [run for run in study.planned or () if run.group != "tuning"]
    missing = tuple(run.id for run in study.missing)
    return Analysis(
        name=str(study.settings.get("name", "")),
        split=study.split,
        done=len(planned) - len(missing) if study.planned is not None else len(study.runs),
        planned=len(planned) if study.planned is not None else None,
        missing=missing,
        seeds=_seeds(study.runs),
        rows=rows,
        contrasts=tuple(contrasts.measured(plan, rows, answers=answers, due=due, draws=draws)),
        trained=trained,
        verbs=verbs,
        gates=tuple(found),
        chance=chance,
        prior=prior,
        curves=tuple(curves),
        predictions=tuple(doses.predictions(curves, rows)),
        losses={r.design.name: loss for r in rows.values() if (loss := _loss(r))},
        compute=_compute(study),
    )


def _with_learnt(row: Row, learnt: Sequence[str]) -> Row:
    """`row` with the measure `average_learnt`: over the aspects that pass their gate."""
    own = [row.measures.get(f"aspect/{aspect}") for aspect in learnt]
    if not own or any(mean is None for mean in own):
        return row
    seeds = set.intersection(*(set(mean.by_seed) for mean in own))
    by_seed = {s: float(np.mean([m.by_seed[s] for m in own])) for s in sorted(seeds)}
    if not by_seed:
        return row
    return dataclasses.replace(
        row, measures={**row.measures, "average_learnt": measures.mean_of(by_seed)}
    )


def _due(planned: Sequence[Run]) -> dict[Design, list[int]]:
    found: dict[Design, list[int]] = {}
    for run in planned:
        if run.group != "tuning":
            found.setdefault(run.design, []).append(run.seed)
    return found


def _seeds(runs: Sequence[Run]) -> dict[str, tuple[int, ...]]:
    found: dict[str, set[int]] = {}
    for run in runs:
        if run.group == "main":
            found.setdefault(run.design.tower, set()).add(run.seed)
    return {tower: tuple(sorted(seeds)) for tower, seeds in sorted(found.items())}


def _loss(row: Row) -> tuple[tuple[float, float], ...]:
    """The mean over seeds at the steps that all of them have."""
    curves = [dict(map(tuple, run.row.get("curve") or ())) for run in row.runs]
    if row.group != "main" or not all(curves):
        return ()
    steps = sorted(set.intersection(*map(set, curves)))
    return tuple((step, float(np.mean([c[step] for c in curves]))) for step in steps)


def _compute(study: Study) -> dict[str, tuple[int, float, float]]:
    groups = {run.id: run.group for run in (*(study.planned or ()), *study.runs, *study.tuning)}
    found: dict[str, list[float]] = {}
    for line in study.compute:
        group = line.get("group") or groups.get(line.get("id"), "other")
        own = found.setdefault(str(group), [0, 0.0, 0.0])
        own[0] += 1
        own[1] += line.get("cpu_seconds", 0) / 3600
        own[2] += line.get("wall_seconds", 0) / 3600
    return {name: (int(n), cpu, wall) for name, (n, cpu, wall) in found.items()}


def as_json(value: Any) -> Any:
    """`value` with dataclasses as objects, rows by their names, numbers to six digits, null for nan."""
    if isinstance(value, Design):
        return value._asdict() | {"name": value.name}
    if isinstance(value, Run):
        return value.id
    if dataclasses.is_dataclass(value):
        return {f.name: as_json(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {k.name if isinstance(k, Design) else str(k): as_json(v) for k, v in value.items()}
    if isinstance(value, (tuple, list)):
        return [as_json(v) for v in value]
    if isinstance(value, float):
        return float(f"{value:.6g}") if math.isfinite(value) else None
    return value
