"""Video-Bench's scores: answers in, rated rows and averages out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sg4v_jax.evals import scores
from sg4v_jax.evals.judges import Judge
from sg4v_jax.evals.mvbench.rules import RULES, right_option
from sg4v_jax.evals.protocol import Protocol
from sg4v_jax.evals.questions import Prediction, Question
from sg4v_jax.evals.scores import Result, Row
from sg4v_jax.evals.videobench import judging
from sg4v_jax.evals.videobench.questions import DATASETS, LEVELS, TASKS

WEIGHTED = "official-weighted"


def rate(
    questions: Sequence[Question],
    predictions: Mapping[str, Prediction],
    *,
    protocol: Protocol,
    judge: Judge,
    **_: Any,
) -> list[Row]:
    """A row for each question: by the letter in the answer (`sg4v`), or by the judge's choice.

    Questions whose answer the files do not tell get no rating; the judge is asked all the same,
    for the submission.
    """
    said = {
        q.id: found.text
        for q in questions
        if (found := predictions.get(q.id)) is not None and found.text is not None
    }
    replies = {}
    if protocol.rule == "judge":
        asked = [judging.asked(q, said[q.id]) for q in questions if q.id in said]
        replies = judge.ask(asked, rule=judging.RULE, read=judging.choice)
    return [
        _row(q, said.get(q.id), predictions.get(q.id), replies.get(q.id), protocol=protocol)
        for q in questions
    ]


def _row(
    question: Question,
    said: str | None,
    prediction: Prediction | None,
    reply: str | None,
    *,
    protocol: Protocol,
) -> Row:
    known = bool(question.gold)
    if said is None:
        missing = scores.missing_reason(prediction)
        rating = 0 if known else None
        return Row(question=question, prediction=None, rating=rating, missing=missing)
    if protocol.rule != "judge":
        right = right_option(said, gold=question.gold, letters=RULES[protocol.rule])
        return Row(question=question, prediction=said, rating=int(right) if known else None)
    letter = judging.choice(reply) if reply is not None else None
    rating = int(letter == question.extra["answer"]) if known and letter else None
    return Row(
        question=question,
        prediction=said,
        rating=rating,
        judged=letter is not None,
        unjudged=letter is None,
        official={"output_chatgpt_choice": letter} if letter else {},
    )


def summarise(rows: Sequence[Row], *, protocol: Protocol) -> Result:
    """A cell for each data set; the board's average weighs them by level.

    `micro` is the average of ShareGPT4Video's script, `official-weighted` the board's.
    """
    asked = [task for task in TASKS if any(row.question.task == task for row in rows)]
    found = scores.cells(rows, tasks=asked)
    by_task = {c.task: c for c in found}
    averages = weighted_averages({task: c.score for task, c in by_task.items()})
    averages |= {"micro": scores.micro(found), "mean of tasks": scores.mean(found)}
    headline = protocol.headline
    if len(asked) < len(TASKS):
        named = f"micro of {len(asked)} of {len(TASKS)} data sets"
        averages = {named: averages["micro"]} | averages | {"micro": None, "mean of tasks": None}
        headline = named
    return Result(rows=rows, cells=found, averages=averages, headline=headline)


def weighted_averages(by_dataset: Mapping[str, float | None]) -> dict[str, float | None]:
    """The three levels and `official-weighted`, their mean; None where a data set is missing.

    MOT and Driving-exam count half in their levels.
    """
    levels = {
        level: scores.weighted(
            [
                (by_dataset.get(name), dataset.weight)
                for name, dataset in DATASETS.items()
                if dataset.level == level
            ]
        )
        for level in LEVELS
    }
    whole = scores.weighted([(value, 1.0) for value in levels.values()])
    return {WEIGHTED: whole} | levels
