"""Scores: rated rows in; cells, averages and the files that reports read out.

    scores.json   the averages by name, the headline, a cell for each task and group, what is missing
    rows.jsonl    a row for each question, with its rating

A rating is what the row adds to its cell's sum: 1 or 0 mostly, -1 where an official script says so,
0 to 5 for VideoChatGPT. It is null where nobody could rate the row; a cell with such a row has no
score, for the official numbers exist only when every row is rated.
"""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Mapping, Sequence
from typing import Any

from sg4v_jax import files
from sg4v_jax.evals.questions import Prediction, Question

SCORES, ROWS = "scores.json", "rows.jsonl"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Row:
    """One question, answered and rated.

    Attributes:
      prediction: the answer that was scored, None where there is none.
      rating: see the module; None where it cannot be told.
      judged: whether a judge's answer decided the rating.
      unjudged: whether a judge was needed and gave no usable answer.
      missing: why there is no answer; None if there is one.
      official: what the benchmark's own result files say of it besides.
    """

    question: Question
    prediction: str | None
    rating: float | None
    judged: bool = False
    unjudged: bool = False
    missing: str | None = None
    official: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        q = self.question
        return {
            "id": q.id,
            "task": q.task,
            "group": q.group,
            "video": q.video,
            "question": q.text,
            "gold": q.gold,
            "prediction": self.prediction,
            "rating": self.rating,
            "judged": self.judged,
            "missing": self.missing is not None,
        }


def missing_reason(prediction: Prediction | None) -> str | None:
    """Why a question has no answer: the predictor's error, or no prediction at all."""
    if prediction is None:
        return "no prediction"
    return prediction.error


@dataclasses.dataclass(frozen=True)
class Cell:
    """A task, or a group of it: the sum of its ratings, how many rows, and the score.

    `scale` 100 makes a percentage of a mean rating; 1 leaves the mean.
    """

    task: str
    group: str | None
    correct: float
    total: int
    unrated: int = 0
    scale: float = 100.0

    @property
    def score(self) -> float | None:
        """None where there is no row (official code divides by zero there) or one is unrated."""
        if not self.total or self.unrated:
            return None
        return self.scale * self.correct / self.total

    def to_json(self) -> dict[str, Any]:
        number = int(self.correct) if self.correct == int(self.correct) else self.correct
        return {
            "task": self.task,
            "group": self.group,
            "correct": number,
            "total": self.total,
            "score": self.score,
        }


def cell(rows: Sequence[Row], *, task: str, group: str | None = None, scale: float = 100) -> Cell:
    """The cell of `rows`."""
    rated = [row.rating for row in rows if row.rating is not None]
    return Cell(task, group, sum(rated), len(rows), len(rows) - len(rated), scale)


def cells(
    rows: Sequence[Row],
    *,
    tasks: Sequence[str],
    groups: Sequence[str] = (),
    scale: float = 100,
) -> list[Cell]:
    """A cell for each task and, behind it, for each of its `groups`."""
    found = []
    for task in tasks:
        of_task = [row for row in rows if row.question.task == task]
        found.append(cell(of_task, task=task, scale=scale))
        for group in groups:
            members = [row for row in of_task if row.question.group == group]
            found.append(cell(members, task=task, group=group, scale=scale))
    return found


def micro(parts: Sequence[Cell]) -> float | None:
    """All rows pooled: sum over sum. None where a part has no score."""
    if not parts or any(part.score is None for part in parts):
        return None
    total = sum(part.total for part in parts)
    return parts[0].scale * sum(part.correct for part in parts) / total


def mean(parts: Sequence[Cell]) -> float | None:
    """The mean of the parts' scores. None where a part has no score."""
    return weighted([(part.score, 1.0) for part in parts])


def weighted(parts: Sequence[tuple[float | None, float]]) -> float | None:
    """sum(w x) / sum(w) of (x, w) pairs. None where one is not there."""
    if not parts or any(value is None for value, _ in parts):
        return None
    return sum(w * x for x, w in parts) / sum(w for _, w in parts)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Result:
    """What `score` found. `fine` are cells that cut across the groups (TempCompass)."""

    rows: Sequence[Row]
    cells: Sequence[Cell]
    averages: Mapping[str, float | None]
    headline: str
    fine: Sequence[Cell] = ()


def write_scores(
    out: str | os.PathLike, result: Result, *, facts: Mapping[str, Any]
) -> dict[str, Any]:
    """Writes `scores.json` and `rows.jsonl` into the folder `out`; returns what the first holds.

    Args:
      facts: benchmark, protocol, model, judge name, skip_missing, limit, expected, found,
        warnings, and the rows that were left out as missing (`left_out`).
    """
    left_out: Sequence[Row] = facts.get("left_out", ())
    gone = [row for row in (*result.rows, *left_out) if row.missing is not None]
    name = result.headline
    said = name
    if facts["skip_missing"]:
        said += f", {len(left_out)} missing or unjudged rows left out"
    if facts.get("limit"):
        said += f", at most {facts['limit']} questions of each task"
    value = {
        "benchmark": facts["benchmark"],
        "protocol": facts["protocol"],
        "model": facts["model"],
        "judge": {
            "name": facts["judge"],
            "unjudged": sum(row.unjudged for row in (*result.rows, *left_out)),
        },
        "skip_missing": facts["skip_missing"],
        "averages": dict(result.averages),
        "headline": {"name": said, "value": result.averages[name]},
        "cells": [c.to_json() for c in result.cells],
        "fine_cells": [c.to_json() for c in result.fine],
        "missing": [
            {"task": r.question.task, "video": r.question.video, "reason": r.missing} for r in gone
        ],
        "counts": {
            "expected": dict(facts["expected"]),
            "found": dict(facts["found"]),
            "warnings": list(facts["warnings"]),
        },
    }
    folder = files.path(out)
    lines = (json.dumps(row.to_json(), ensure_ascii=False) + "\n" for row in result.rows)
    files.write_atomic(folder / ROWS, "".join(lines))
    files.write_json(folder / SCORES, value)
    return value
