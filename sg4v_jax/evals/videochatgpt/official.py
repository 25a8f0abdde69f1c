"""VideoChatGPT's own files: predictions and judged answers in, both out.

generic.json ...         [{video_name, Q, A, pred}]; of consistency Q1, Q2, pred1, pred2
CHUNKS_INDEX.json        the same as JSON lines (ShareGPT4Video)
correctness.json ...     {KEY: [{"score": 4}, {q, a, pred}]}, or a folder of KEY.json
"""

from __future__ import annotations

import json
import os
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from sg4v_jax import files
from sg4v_jax.errors import RecordError
from sg4v_jax.evals.questions import Loaded, Prediction, read_object, text_field
from sg4v_jax.evals.scores import Row
from sg4v_jax.evals.videochatgpt.questions import SCORES, SCORES_OF, TASKS


def read_predictions(path: str | os.PathLike, loaded: Loaded) -> dict[str, Prediction]:
    """Predictions by question id from one file or all JSON files of a folder.

    Which question a row answers is told by its video and its words, so files may come in parts
    and in any order; which task a file is of, by where its questions are.

    Raises:
      RecordError: a file of another form, or a row that answers no question.
    """
    place = files.path(path)
    names = [place]
    if place.is_dir():
        names = sorted((p for p in place.iterdir() if p.name.endswith(".json")), key=_by_number)
    if not names:
        raise RecordError(f"{path}: no JSON file is there", mend="name the predictions")
    known: dict[str, dict[tuple, list[str]]] = {t: defaultdict(list) for t in TASKS}
    for question in loaded.questions:
        if question.extra["which"] == 1:
            asked = (question.extra["video_name"], *question.extra["questions"])
            known[question.task][asked].append(f"{question.task}/{question.extra['key']}")
    found: dict[str, Prediction] = {}
    for name in names:
        rows = _rows(name)
        asked = [_asked(row, where=f"{name}: row {n}") for n, row in enumerate(rows)]
        task = max(TASKS, key=lambda t: (sum(a in known[t] for a in asked), t in name.name))
        for number, (row, key) in enumerate(zip(rows, asked, strict=True)):
            where = f"{name}: row {number}"
            if not known[task].get(key):
                raise RecordError(
                    f"{where}: no question {key[1]!r:.60} on video {key[0]!r}, or answered twice",
                    mend="score with the question files that the predictions were made for",
                )
            id_ = known[task][key].pop(0)
            fields = ("pred1", "pred2") if len(key) == 3 else ("pred",)
            for which, field in enumerate(fields, 1):
                said = text_field(row, field, where=where)
                found[id_ + (f"/{which}" if len(fields) > 1 else "")] = Prediction(said)
    return found


def read_judged(path: str | os.PathLike) -> list[dict[str, Any]]:
    """Stored scores of the judge as rows {id, prediction, answer}.

    `path` holds, for each score, a combined `correctness.json` or a folder `correctness/` of one
    file a key. Files of keys that are not asked for are not counted (the authors' scripts count
    whatever lies in the folder).
    """
    rows = []
    for score in SCORES:
        for key, (verdict, pair) in _judged_of(files.path(path), score):
            preds = [pair[k] for k in ("pred", "pred1", "pred2") if k in pair]
            said = "\n".join(preds) if preds else None
            rows.append({"id": f"{score}/{key}", "prediction": said, "answer": repr(verdict)})
    if not rows:
        raise RecordError(
            f"{path}: no stored scores", mend=f"name a folder with {SCORES[0]}.json and the like"
        )
    return rows


def _judged_of(place, score: str):
    combined, folder = place / f"{score}.json", place / score
    if combined.exists():
        found = list(read_object(combined).items())
    elif folder.exists():
        names = sorted((p for p in folder.iterdir() if p.name.endswith(".json")), key=str)
        found = [(p.name.removesuffix(".json"), read_object(p, of=list)) for p in names]
    else:
        found = []
    for key, value in found:
        if not (
            isinstance(value, list) and len(value) == 2 and all(isinstance(v, dict) for v in value)
        ):
            raise RecordError(f"{place}: {score}: {key}: {value!r:.60} is not [score, pair]")
    return found


def write(rows: Sequence[Row], out: str | os.PathLike, *, model: str, absent: bool) -> list[str]:
    """Writes a prediction list a task and, where judged, a combined file a score."""
    names = []
    for task in TASKS:
        members = [r for r in rows if r.question.task == SCORES_OF[task][0]]
        listed = [_prediction_row(r) for r in members if r.prediction is not None]
        if listed:
            names.append(f"{task}.json")
            files.write_json(files.path(out) / names[-1], listed)
    for score in SCORES:
        judged = {
            r.question.extra["key"]: [{"score": r.rating}, _pair(r)]
            for r in rows
            if r.question.task == score and r.judged
        }
        if judged:
            names.append(f"judged/{score}.json")
            files.write_json(files.path(out) / names[-1], judged)
    return names


def _prediction_row(row: Row) -> dict[str, Any]:
    question = row.question
    return {"video_name": question.extra["video_name"]} | _spelled(row, ("Q", "A", "pred"))


def _pair(row: Row) -> dict[str, Any]:
    return _spelled(row, ("q", "a", "pred"))


def _spelled(row: Row, names: tuple[str, str, str]) -> dict[str, Any]:
    """Question, answer and prediction under these names, or both questions and predictions."""
    asked, answer, said = names
    questions = row.question.extra["questions"]
    if len(questions) == 1:
        return {asked: questions[0], answer: row.question.gold, said: row.prediction}
    pairs = row.official["preds"]
    return (
        {f"{asked}{n}": text for n, text in enumerate(questions, 1)}
        | {answer: row.question.gold}
        | {f"{said}{n}": text for n, text in enumerate(pairs, 1)}
    )


def _by_number(path) -> tuple:
    """`4_10.json` after `4_9.json`."""
    return tuple(int(x) if x.isdecimal() else x for x in re.split(r"(\d+)", path.name))


def _rows(name) -> list[Mapping[str, Any]]:
    """The objects of a JSON list, or of JSON lines."""
    text = name.read_text()
    try:
        value = json.loads(text)
    except json.JSONDecodeError:
        return files.read_jsonl(name)
    if isinstance(value, Mapping) and "video_name" in value:
        return [value]
    if not isinstance(value, list):
        raise RecordError(f"{name}: not a list of predictions", mend="name the predictions")
    return value


def _asked(row: Any, *, where: str) -> tuple[str, ...]:
    video = text_field(row, "video_name", where=where)
    fields = ("Q1", "Q2") if "Q1" in row else ("Q",)
    return (video, *(text_field(row, field, where=where) for field in fields))
