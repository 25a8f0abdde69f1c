"""Video-Bench's own files: predictions and judged answers in, both and the submission out.

NAME_eval.json              id -> {video_id, question (the whole prompt), output_sequence}
NAME_chatgpt_eval/ID.json   {id: the same with output_chatgpt_choice}
Video-Bench-Input.json      NAME -> id -> the same: what the board takes
Final_score_table.csv       the board's row, in fractions
"""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from sg4v_jax import files
from sg4v_jax.errors import RecordError
from sg4v_jax.evals import scores
from sg4v_jax.evals.questions import Loaded, Prediction, read_object
from sg4v_jax.evals.scores import Row
from sg4v_jax.evals.videobench.protocols import official_text
from sg4v_jax.evals.videobench.questions import LEVELS, TASKS
from sg4v_jax.evals.videobench.scoring import WEIGHTED, weighted_averages

SUBMISSION, TABLE = "Video-Bench-Input.json", "Final_score_table.csv"
_HEADS = dict(zip((WEIGHTED, *LEVELS), ("Avg. All", *(f"Avg. {x}" for x in LEVELS)), strict=True))


def read_predictions(path: str | os.PathLike, loaded: Loaded) -> dict[str, Prediction]:
    """Predictions by question id from a folder of `NAME_eval.json`, one such, or a submission.

    Raises:
      RecordError: a file of another form.
    """
    known = {question.id for question in loaded.questions}
    found = {}
    for where, id_, row in _rows(path):
        said = row.get("output_sequence")
        if said is not None and not isinstance(said, str):
            raise RecordError(f"{where}: output_sequence {said!r:.60} is not a text")
        if id_ in known:
            found[id_] = Prediction(said)
    return found


def read_judged(path: str | os.PathLike) -> list[dict[str, Any]]:
    """Stored choices of the judge as rows {id, prediction, answer}."""
    return [
        {
            "id": id_,
            "prediction": row.get("output_sequence"),
            "answer": json.dumps({"maximum probability": row["output_chatgpt_choice"]}),
        }
        for _, id_, row in _rows(path)
        if row.get("output_chatgpt_choice")
    ]


def write(rows: Sequence[Row], out: str | os.PathLike, *, model: str, absent: bool) -> list[str]:
    """Writes a file a data set, the submission and the board's row; gives their names."""
    sets: dict[str, dict[str, Any]] = {}
    for row in rows:
        if row.prediction is None:
            continue  # the authors' scripts leave such questions out
        question = row.question
        sets.setdefault(question.task, {})[question.extra["key"]] = {
            "video_id": question.extra["video_id"],
            "question": official_text(question),
            "output_sequence": row.prediction,
            **row.official,
        }
    names = [f"{name}_eval.json" for name in sets]
    for name, items in sets.items():
        plain = {
            key: {k: v for k, v in item.items() if k != "output_chatgpt_choice"}
            for key, item in items.items()
        }
        files.write_json(files.path(out) / f"{name}_eval.json", plain)
    files.write_json(files.path(out) / SUBMISSION, sets)
    files.write_atomic(files.path(out) / TABLE, _table(rows, model=model))
    return [*names, SUBMISSION, TABLE]


def _table(rows: Sequence[Row], *, model: str) -> str:
    """The board's columns; empty where there is no score."""
    found = {c.task: c.score for c in scores.cells(rows, tasks=TASKS)}
    averages = weighted_averages(found)
    values = [*averages.values(), *found.values()]
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["Model", *(_HEADS[name] for name in averages), *found])
    table.writerow([model, *("" if v is None else v / 100 for v in values)])
    return text.getvalue()


def _rows(path: str | os.PathLike) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
    """(where, question id, item) of whatever of the authors' files is at `path`."""
    place = files.path(path)
    single = _dataset_of(place.name)
    if not place.is_dir():
        yield from _items(place, None if place.name == SUBMISSION else single)
        return
    if single is not None:  # NAME_chatgpt_eval, or one of the kind
        yield from _folder_items(place, single)
        return
    met = False
    for child in sorted(place.iterdir(), key=lambda p: p.name):
        dataset = _dataset_of(child.name)
        if dataset is None:
            continue
        met = True
        yield from _folder_items(child, dataset) if child.is_dir() else _items(child, dataset)
    if not met and (place / SUBMISSION).exists():
        yield from _items(place / SUBMISSION, None)
    elif not met:
        raise RecordError(
            f"{path}: no NAME_eval.json or NAME_chatgpt_eval is there",
            mend=f"name a folder of them, or a {SUBMISSION}",
        )


def _dataset_of(name: str) -> str | None:
    for ending in ("_chatgpt_eval", "_eval.json"):
        if name.endswith(ending) and name.removesuffix(ending) in TASKS:
            return name.removesuffix(ending)
    return None


def _folder_items(folder, dataset: str) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
    for name in sorted(folder.iterdir(), key=lambda p: p.name):
        if name.name.endswith(".json"):
            yield from _items(name, dataset)


def _items(name, dataset: str | None) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
    value = read_object(name)
    sets = value if dataset is None else {dataset: value}
    for task, items in sets.items():
        if task not in TASKS or not isinstance(items, Mapping):
            raise RecordError(f"{name}: {task!r:.40} is no data set of Video-Bench")
        for key, item in items.items():
            if not isinstance(item, Mapping):
                raise RecordError(f"{name}: {key}: {item!r:.60} is not an object")
            yield f"{name}: {key}", f"{task}/{key}", item
