"""VideoChatGPT's scores: answers in, five means of 0 to 5 out."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from sg4v_jax.evals import scores
from sg4v_jax.evals.judges import Asked, Judge
from sg4v_jax.evals.protocol import Protocol
from sg4v_jax.evals.questions import Prediction, Question
from sg4v_jax.evals.scores import Result, Row
from sg4v_jax.evals.videochatgpt import judging
from sg4v_jax.evals.videochatgpt.questions import SCORES, SCORES_OF


def rate(
    questions: Sequence[Question],
    predictions: Mapping[str, Prediction],
    *,
    protocol: Protocol,
    judge: Judge,
    q1_twice: bool = False,
    **_: Any,
) -> list[Row]:
    """A row for each question and score: a generic question has three, a pair of consistency one.

    Args:
      q1_twice: show the judge the first question of a pair twice, as ShareGPT4Video's script (and
        an early one of the authors) does.
    """
    subjects = [
        dataclasses.replace(question, id=f"{score}/{question.extra['key']}", task=score)
        for question in questions
        if question.extra["which"] == 1
        for score in SCORES_OF[question.task]
    ]
    rows: dict[str, Row] = {}
    waiting: dict[str, Asked] = {}
    preds: dict[str, list[str]] = {}
    for subject in subjects:
        found = [predictions.get(name) for name in _sources(subject)]
        said = [p.text for p in found if p is not None and p.text is not None]
        if len(said) < len(found):
            reasons = [scores.missing_reason(p) for p in found if p is None or p.text is None]
            rows[subject.id] = Row(
                question=subject,
                prediction=None,
                rating=0,
                missing=next(filter(None, reasons), None),
            )
            continue
        preds[subject.id] = said
        texts = subject.extra["questions"]
        waiting[subject.id] = judging.asked(
            subject.id,
            score=subject.task,
            questions=[texts[0]] * len(texts) if q1_twice else texts,
            answer=subject.gold,
            preds=said,
        )
    by_id = {subject.id: subject for subject in subjects}
    for score in SCORES:
        # One script of ShareGPT4Video takes a reply without a score for 0.
        lenient = protocol.name == "sg4v" and score == "detail"
        read = lambda reply, lenient=lenient: judging.read_score(reply, none_is_zero=lenient)
        asked = [one for name, one in waiting.items() if by_id[name].task == score]
        replies = judge.ask(asked, rule=judging.RULE, read=read)
        for one in asked:
            reply = replies.get(one.id)
            rows[one.id] = Row(
                question=by_id[one.id],
                prediction=one.prediction,
                rating=None if reply is None else read(reply),
                judged=reply is not None,
                unjudged=reply is None,
                official={"preds": preds[one.id]},
            )
    return [rows[subject.id] for subject in subjects]


def _sources(subject: Question) -> list[str]:
    """Ids of the predictions that a row is about."""
    task = next(task for task, names in SCORES_OF.items() if subject.task in names)
    key = f"{task}/{subject.extra['key']}"
    count = len(subject.extra["questions"])
    return [key] if count == 1 else [f"{key}/{which}" for which in range(1, count + 1)]


def summarise(rows: Sequence[Row], *, protocol: Protocol) -> Result:
    """A cell for each score, on its scale of 0 to 5; their mean as the headline is our choice."""
    asked = [score for score in SCORES if any(row.question.task == score for row in rows)]
    found = scores.cells(rows, tasks=asked, scale=1)
    averages = {f"{c.task} (mean)": c.score for c in found}
    headline = protocol.headline
    if len(asked) < len(SCORES):
        headline = f"mean of {len(asked)} of {len(SCORES)} scores"
    averages[headline] = scores.mean(found)
    return Result(rows=rows, cells=found, averages=averages, headline=headline)
