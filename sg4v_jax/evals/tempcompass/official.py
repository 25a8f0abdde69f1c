"""TempCompass's own files: predictions and stored results in, both out.

predictions/MODEL/TASK.json                        id -> aspect -> [{question, answer, prediction}]
auto_eval_results[_disable_llm]/MODEL/TASK.json    id -> aspect -> [{..., rating}]
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from sg4v_jax import files
from sg4v_jax.errors import RecordError
from sg4v_jax.evals.questions import Loaded, Prediction, read_object
from sg4v_jax.evals.scores import Row
from sg4v_jax.evals.tempcompass import rules
from sg4v_jax.evals.tempcompass.questions import ASPECTS, FINE_ASPECTS, TASKS


def read_predictions(path: str | os.PathLike, loaded: Loaded) -> dict[str, Prediction]:
    """Predictions by question id from a folder of `TASK.json`, or one such file.

    `response` stands for a missing `prediction`, as in the authors' scripts.

    Raises:
      RecordError: a file of another form, or whose questions are not those of the question files.
    """
    known = {question.id: question for question in loaded.questions}
    found = {}
    for name, task in _task_files(path):
        for where, id_, row in _rows(name, task):
            question = known.get(id_)
            if question is None:
                continue  # of a task or question that is not asked for
            if "question" in row and row["question"] != question.text:
                raise RecordError(
                    f"{where}: question {row['question']!r:.80} is not that of the question file",
                    mend="score with the question files that the predictions were made for",
                )
            said = row.get("prediction", row.get("response"))
            if said is not None and not isinstance(said, str):
                raise RecordError(f"{where}: prediction {said!r:.60} is not a text")
            found[id_] = Prediction(said)
    return found


def read_judged(path: str | os.PathLike) -> list[dict[str, Any]]:
    """Stored replies of the judge, as rows {id, prediction, answer}, from result files.

    Result files of captioning hold the reply's parts; it is put together again of them.
    """
    rows = []
    for name, task in _task_files(path):
        for _, id_, row in _rows(name, task):
            reply = row.get("chatgpt-response")
            if task == "captioning" and row.get("chatgpt-answer") is not None:
                reply = f"Answer: {row['chatgpt-answer']}"
                if row.get("chatgpt-reasoning"):
                    reply = f"Reasoning: {row['chatgpt-reasoning']}\n{reply}"
            if reply is not None or row.get("rating") == -1:
                said = row.get("video-llm-prediction")
                # Results of older scripts keep blanks around what the model said.
                said = rules.clean(said) if isinstance(said, str) else None
                rows.append({"id": id_, "prediction": said, "answer": reply})
    return rows


def write(rows: Sequence[Row], out: str | os.PathLike, *, model: str, absent: bool) -> list[str]:
    """Writes predictions, results and their tables as the authors' scripts do; gives the names.

    Args:
      absent: whether there was no judge (the authors' `--disable_llm`).
    """
    results = "auto_eval_results" + ("_disable_llm" if absent else "")
    label = model.replace("/", "_").replace(":", "_").strip(".") or "model"
    names = []
    for task in TASKS:
        members = [row for row in rows if row.question.task == task]
        if not members:
            continue
        told = all(row.rating is not None for row in members)
        parts = {f"predictions/{label}/{task}.json": _nested(members, _prediction_row)}
        if told:
            parts[f"{results}/{label}/{task}.json"] = _nested(members, _result_row)
            parts[f"{results}/{label}/{task}_accuracy.json"] = table(members)
        for name, value in parts.items():
            files.write_json(files.path(out) / name, value)
            names.append(name)
    return names


def table(rows: Sequence[Row]) -> dict[str, Any]:
    """What the authors' `print_result` prints of one task, rounded as there; null where it fails.

    {"aspects": {"action": 70.1, ..., "avg": 61.5}, "fine": {...}, "match_success_rate": 98.2}
    """
    by_aspect = {a: [r for r in rows if r.question.group == a] for a in ASPECTS}
    by_fine = {f: [r for r in rows if r.question.extra.get("fine") == f] for f in FINE_ASPECTS}
    matched = sum(bool(row.official.get("match_success")) for row in rows)
    return {
        "aspects": {a: _percent(part) for a, part in by_aspect.items()} | {"avg": _percent(rows)},
        "fine": {f: _percent(part) for f, part in by_fine.items()},
        "match_success_rate": round(matched / len(rows) * 100, 1) if rows else None,
    }


def _percent(rows: Sequence[Row]) -> float | None:
    return round(sum(row.rating for row in rows) * 100 / len(rows), 1) if rows else None


def _prediction_row(row: Row) -> dict[str, Any]:
    question = row.question
    answer = question.extra.get("answer", question.gold)
    return {"question": question.text, "answer": answer, "prediction": row.prediction}


def _result_row(row: Row) -> dict[str, Any]:
    gold, said = row.question.gold, row.prediction
    if row.question.task == "captioning" and "token_count" in row.official:
        return {**row.official, "video-llm-prediction": said, "gt-answer": gold}
    asked = {"question": row.question.text, "gt-answer": gold, "video-llm-prediction": said}
    return asked | row.official


def _nested(rows: Sequence[Row], content) -> dict[str, dict[str, list[Any]]]:
    value: dict[str, dict[str, list[Any]]] = {}
    for row in rows:
        video, aspect = row.question.extra["video_id"], row.question.group
        value.setdefault(video, {}).setdefault(aspect, []).append(content(row))
    return value


def _task_files(path: str | os.PathLike) -> list[tuple[Any, str]]:
    place = files.path(path)
    if place.is_dir():
        found = [(place / f"{task}.json", task) for task in TASKS]
        found = [(name, task) for name, task in found if name.exists()]
    else:
        found = [(place, task) for task in TASKS if place.stem == task]
    if not found:
        raise RecordError(
            f"{path}: no file of a task is there",
            mend=f"name a folder that holds {', '.join(f'{t}.json' for t in TASKS)}, or one of them",
        )
    return found


def _rows(name, task: str) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
    """(where, question id, row) of one file."""
    for written, aspects in read_object(name).items():
        video = written.removesuffix(".mp4").removesuffix(".jpg")  # as some predictions have it
        if not isinstance(aspects, Mapping):
            raise RecordError(f"{name}: video {video!r}: {aspects!r:.60} is not an object")
        for aspect, rows in aspects.items():
            for number, row in enumerate(rows):
                where = f"{name}: video {video!r}: {aspect} {number}"
                if not isinstance(row, Mapping):
                    raise RecordError(f"{where}: {row!r:.60} is not an object")
                yield where, f"{task}/{video}/{aspect}/{number}", row
