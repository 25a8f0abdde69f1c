"""Answers of a run -> right and asked by video and cell, for intervals that resample videos."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from sg4v_jax.errors import RecordError
from sg4v_jax.study.accuracy import ASKED, FIVE
from sg4v_jax.study.results import Run, Study
from sg4v_jax.world.aspects.questions import ASPECTS

CELLS = tuple((aspect, form) for aspect in ASPECTS for form in ASKED)
_INDEX = {cell: i for i, cell in enumerate(CELLS)}
_AGAIN = "evaluate that run again"


@dataclasses.dataclass(frozen=True)
class Totals:
    """What a run got right, and was asked, about each video: f64[C, cells] each."""

    scenes: tuple[int, ...]
    right: np.ndarray
    asked: np.ndarray


def totals_of(study: Study, run: Run) -> Totals | None:
    """The totals of a run's answers, None where they are not there.

    Raises:
      RecordError: an unknown aspect or form, or answers that are not those of `results.jsonl`.
    """
    lines = study.answers(run)
    if lines is None:
        return None
    where = f"{study.out}/runs/{run.id}/answers.jsonl"
    found = count(lines, where=where)
    told = (run.row["accuracy"]["right"].get("cells") or {}).items()
    for aspect, form, cell in ((a, f, c) for a, forms in told for f, c in forms.items()):
        i = _INDEX.get((aspect, form))
        own = None if i is None else [found.right[:, i].sum(), found.asked[:, i].sum()]
        if own != list(cell):
            raise RecordError(
                f"{where}: {aspect}, {form}: [right, asked] {own}, but results.jsonl says {cell}",
                mend=_AGAIN,
            )
    return found


def count(lines: Sequence[Mapping[str, Any]], *, where: str) -> Totals:
    """Totals of the lines of `answers.jsonl`; generated captions are no part of them."""
    asked = [line for line in lines if line["form"] != "captioning"]
    scenes = sorted({line["scene"] for line in asked})
    place = {scene: i for i, scene in enumerate(scenes)}
    table = np.zeros((len(scenes), len(CELLS), 2))
    for line in asked:
        cell = _INDEX.get((line["aspect"], line["form"]))
        if cell is None:
            raise RecordError(
                f"{where}: scene {line['scene']}: aspect {line['aspect']!r}, form {line['form']!r}",
                mend=_AGAIN,
            )
        table[place[line["scene"]], cell] += (line["said"]["right"] == line["answer"], 1)
    return Totals(tuple(scenes), table[..., 0], table[..., 1])


def stacked(runs: Sequence[Sequence[tuple[Run, Totals]]]) -> np.ndarray:
    """Sums f64[G, C, (D + 1) cells] for `hierarchical_bootstrap`: right of D runs, then asked.

    Args:
      runs: for each of G seeds, the D runs that are compared, in one order.

    Raises:
      RecordError: two runs that were asked different questions.
    """
    first, reference = runs[0][0]
    for run, totals in (pair for own in runs for pair in own):
        if totals.scenes != reference.scenes or (totals.asked != reference.asked).any():
            raise RecordError(
                f"runs {first.id} and {run.id} were asked different questions",
                mend="evaluate both again on the same data",
            )
    table = [np.concatenate([*(t.right for _, t in own), own[0][1].asked], 1) for own in runs]
    return np.stack(table)


def weighted_average(weights: Sequence[float]) -> Callable[[np.ndarray], np.ndarray]:
    """The statistic of `stacked` sums: the averages of the five aspects, weighted by run.

    `[1, -1]` gives the difference of two runs.
    """

    def statistic(sums: np.ndarray) -> np.ndarray:
        table = sums.reshape(len(sums), len(weights) + 1, len(CELLS))
        asked = table[:, -1]
        values = np.einsum("mdc,d->mc", table[:, :-1], np.asarray(weights, np.float64))
        with np.errstate(invalid="ignore"):
            share = np.where(asked > 0, values / asked, np.nan)
        share = share.reshape(len(sums), len(ASPECTS), len(ASKED))
        five = share[:, [ASPECTS.index(a) for a in FIVE]]
        return _mean(_mean(five))

    return statistic


def _mean(values: np.ndarray) -> np.ndarray:
    """Mean over the last axis of what was asked; nan where nothing was."""
    known = np.isfinite(values)
    count = known.sum(-1)
    total = np.where(known, values, 0.0).sum(-1)
    return np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0)
