"""MVBench's scores: answers in, rated rows and averages out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sg4v_jax.evals import scores
from sg4v_jax.evals.mvbench.questions import TASKS
from sg4v_jax.evals.mvbench.rules import RULES, right_option
from sg4v_jax.evals.protocol import Protocol
from sg4v_jax.evals.questions import Prediction, Question
from sg4v_jax.evals.scores import Result, Row


def rate(
    questions: Sequence[Question],
    predictions: Mapping[str, Prediction],
    *,
    protocol: Protocol,
    **_: Any,
) -> list[Row]:
    """A row for each question. No judge is needed.

    An answer that is not there is wrong, also by the official rule, which takes an empty text for
    right: there was no text.
    """
    letters = RULES[protocol.rule]
    rows = []
    for question in questions:
        prediction = predictions.get(question.id)
        said = None if prediction is None else prediction.text
        right = said is not None and right_option(said, gold=question.gold, letters=letters)
        missing = scores.missing_reason(prediction) if said is None else None
        rows.append(Row(question=question, prediction=said, rating=int(right), missing=missing))
    return rows


def summarise(rows: Sequence[Row], *, protocol: Protocol) -> Result:
    """A cell for each task; `micro` is the board's Avg, the same as the mean if all have 200."""
    asked = [task for task in TASKS if any(row.question.task == task for row in rows)]
    found = scores.cells(rows, tasks=asked)
    averages = {"micro": scores.micro(found), "mean of tasks": scores.mean(found)}
    headline = protocol.headline
    if len(asked) < len(TASKS):
        named = f"{headline} of {len(asked)} of {len(TASKS)} tasks"
        averages = {named: averages[headline], headline: None, "mean of tasks": None}
        headline = named
    return Result(rows=rows, cells=found, averages=averages, headline=headline)
