"""The folder of a run: what was asked, and what was answered.

run.json            benchmark, protocol, model, tasks, limit, settings, versions
predictions.jsonl   a row for each question: id, task, group, video, question, prompt,
                    prediction, error
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from types import ModuleType
from typing import Any, NamedTuple

from sg4v_jax import files
from sg4v_jax.errors import RecordError, WorkdirError
from sg4v_jax.evals.questions import Loaded, Prediction, Question

RUN, PREDICTIONS = "run.json", "predictions.jsonl"


def prediction_row(
    question: Question, *, prompt: str, prediction: str | None, error: str | None
) -> dict[str, Any]:
    """The row of `predictions.jsonl` for one question."""
    return {
        "id": question.id,
        "task": question.task,
        "group": question.group,
        "video": question.video,
        "question": question.text,
        "prompt": prompt,
        "prediction": prediction,
        "error": error,
    }


class Answers(NamedTuple):
    """Predictions by question id, and what `run.json` says of them ({} where there is none)."""

    by_id: Mapping[str, Prediction]
    run: Mapping[str, Any]


def read_run(path: str | os.PathLike) -> dict[str, Any]:
    """`run.json` beside or in `path`; {} if there is none."""
    place = files.path(path)
    name = (place if place.is_dir() else place.parent) / RUN
    return files.read_json(name) if name.exists() else {}


def read_answers(path: str | os.PathLike, *, benchmark: ModuleType, loaded: Loaded) -> Answers:
    """The predictions in `path`: a run's folder, its `predictions.jsonl`, or official files.

    Raises:
      RecordError: nothing is there, or it is not of these forms.
      WorkdirError: the run in that folder is not finished.
    """
    place = files.path(path)
    if not place.exists():
        raise RecordError(f"{path}: no such file or folder", mend="check the path")
    if place.is_dir() and (place / RUN).exists() and not (place / PREDICTIONS).exists():
        raise WorkdirError(
            f"{path}: the run is not finished", mend="run `sg4v eval predict` again, to its end"
        )
    name = place / PREDICTIONS if place.is_dir() else place
    if name.exists() and name.name.endswith(".jsonl"):
        return Answers(_read_rows(name, loaded), read_run(path))
    return Answers(benchmark.read_predictions(path, loaded), {})


def _read_rows(name, loaded: Loaded) -> dict[str, Prediction]:
    known = {question.id: question for question in loaded.questions}
    found = {}
    for number, row in enumerate(files.read_jsonl(name), 1):
        where = f"{name}: line {number}"
        if not isinstance(row.get("id"), str) or "prediction" not in row:
            raise RecordError(f"{where}: needs id and prediction", mend="make the file again")
        said, error = row["prediction"], row.get("error")
        if not isinstance(said, str | None) or not isinstance(error, str | None):
            raise RecordError(f"{where}: prediction {said!r:.60} or error {error!r:.60} is no text")
        question = known.get(row["id"])
        if question is None:
            continue
        if row.get("question", question.text) != question.text:
            raise RecordError(
                f"{where}: {row['id']} asks {row['question']!r:.60}, the question file "
                f"{question.text!r:.60}",
                mend="score with the question files that the predictions were made for",
            )
        found[row["id"]] = Prediction(said, error)
    return found
