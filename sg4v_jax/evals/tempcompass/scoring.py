"""TempCompass's scores: answers in, rated rows and averages out."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from sg4v_jax.evals import scores
from sg4v_jax.evals.judges import Judge
from sg4v_jax.evals.protocol import Protocol
from sg4v_jax.evals.questions import Prediction, Question
from sg4v_jax.evals.scores import Cell, Result, Row
from sg4v_jax.evals.tempcompass import judging, rules
from sg4v_jax.evals.tempcompass.questions import ASPECTS, FINE_ASPECTS, TASKS

_REFUSED = -1  # what a caption is rated where its judge fails; it enters the sum


def by_rule(question: Question, said: str) -> int | None:
    """The rating that needs no judge; None where one is needed."""
    if question.task == "multi-choice":
        return rules.multi_choice(said, gold=question.gold)
    if question.task == "yes_no":
        return rules.yes_no(said, gold=question.gold)
    if question.task == "caption_matching":
        return rules.caption_matching(said, question=question.text, gold=question.gold)
    return None


def rate(
    questions: Sequence[Question],
    predictions: Mapping[str, Prediction],
    *,
    protocol: Protocol,
    judge: Judge,
    data: str | os.PathLike,
    model: str = "",
    **_: Any,
) -> list[Row]:
    """A row for each question. Answers that no rule reads go to `judge`, captions always."""
    rows: dict[str, Row] = {}
    waiting: dict[str, tuple[Question, str]] = {}
    for question in questions:
        prediction = predictions.get(question.id)
        if prediction is None or prediction.text is None:
            rows[question.id] = Row(
                question=question,
                prediction=None,
                rating=0,
                missing=scores.missing_reason(prediction),
                official={"match_success": False, "rating": 0},
            )
            continue
        said = rules.clean(prediction.text)
        if question.task == "captioning":
            said = rules.caption_of(said, model=model)
        rating = by_rule(question, said)
        if rating is None:
            waiting[question.id] = (question, said)
        else:
            rows[question.id] = Row(
                question=question,
                prediction=said,
                rating=rating,
                official={"match_success": True, "rating": rating},
            )
    rows |= _judged(waiting, judge=judge, data=data)
    return [rows[question.id] for question in questions]


def _judged(
    waiting: Mapping[str, tuple[Question, str]], *, judge: Judge, data: str | os.PathLike
) -> dict[str, Row]:
    templates = judging.load_templates(data) if judge.asks and waiting else None
    asked = {
        name: judging.asked(question, said, templates=templates)
        for name, (question, said) in waiting.items()
    }
    captions = {n: a for n, a in asked.items() if waiting[n][0].task == "captioning"}
    others = {n: a for n, a in asked.items() if n not in captions}
    replies = judge.ask(list(others.values()), rule=judging.RULE, read=rules.verdict)
    replies |= judge.ask(list(captions.values()), rule=judging.RULE, read=_no_check)
    return {
        name: (_caption_row if name in captions else _choice_row)(
            question, said, replies.get(name), absent=judge.absent
        )
        for name, (question, said) in waiting.items()
    }


def _no_check(reply: str) -> str:
    return reply


def _choice_row(question: Question, said: str, reply: str | None, *, absent: bool) -> Row:
    """Without a judge, and where it fails, an answer that no rule reads counts as wrong."""
    rating = 0
    official: dict[str, Any] = {"match_success": False}
    if not absent:
        official["chatgpt-response"] = reply
    if reply is not None:
        rating = rules.verdict(reply)
    official["rating"] = rating
    return Row(
        question=question,
        prediction=said,
        rating=rating,
        judged=reply is not None,
        unjudged=reply is None,
        official=official,
    )


def _caption_row(question: Question, said: str, reply: str | None, *, absent: bool) -> Row:
    """Without a judge nobody can rate a caption; where one fails the rating is -1."""
    rating, answer, reasoning = (None if absent else _REFUSED), None, None
    if reply:
        rating, answer, reasoning = rules.captioning(reply, gold=question.gold)
    return Row(
        question=question,
        prediction=said,
        rating=rating,
        judged=bool(reply),
        unjudged=not reply,
        official={
            "chatgpt-answer": answer,
            "chatgpt-reasoning": reasoning,
            "rating": rating,
            "token_count": None,
        },
    )


def summarise(rows: Sequence[Row], *, protocol: Protocol) -> Result:
    """Cells by task and aspect and the averages, each by its name.

    The authors average within a task (micro) and never over tasks; the mean of tasks as the
    headline is our choice. Tasks without a score are left out of it, and its name then says so.
    """
    asked = [task for task in TASKS if any(row.question.task == task for row in rows)]
    found = scores.cells(rows, tasks=asked, groups=ASPECTS)
    tasks = [c for c in found if c.group is None]
    grouped = [c for c in found if c.group is not None and c.total]
    averages: dict[str, float | None] = {f"{c.task} (micro)": c.score for c in tasks}
    whole = len(tasks) == len(TASKS)
    averages["mean of tasks"] = scores.mean(tasks) if whole else None
    averages["micro"] = scores.micro(tasks) if whole else None
    averages["mean of cells"] = scores.mean(grouped) if whole else None
    averages["mean of aspects"] = scores.mean(_pooled(rows, ASPECTS, _aspect)) if whole else None
    headline = protocol.headline
    if averages[headline] is None:
        scored = [c for c in tasks if c.score is not None]
        headline = f"mean of {len(scored)} of {len(TASKS)} tasks: " + (
            ", ".join(c.task for c in scored) or "none has a score"
        )
        averages[headline] = scores.mean(scored)
    return Result(
        rows=rows, cells=found, averages=averages, headline=headline, fine=_fine(rows, asked)
    )


def _aspect(row: Row) -> str | None:
    return row.question.group


def _pooled(
    rows: Sequence[Row], groups: Sequence[str], group_of: Callable[[Row], str | None]
) -> list[Cell]:
    """A cell over all tasks for each group that has a row."""
    by_group: dict[str | None, list[Row]] = {}
    for row in rows:
        by_group.setdefault(group_of(row), []).append(row)
    return [
        scores.cell(by_group[group], task="", group=group) for group in groups if group in by_group
    ]


def _fine(rows: Sequence[Row], tasks: Sequence[str]) -> list[Cell]:
    found = []
    for task in tasks:
        of_task = [r for r in rows if r.question.task == task and "fine" in r.question.extra]
        for name in FINE_ASPECTS if of_task else ():
            members = [r for r in of_task if r.question.extra["fine"] == name]
            found.append(scores.cell(members, task=task, group=name))
    return found
