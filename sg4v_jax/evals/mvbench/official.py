"""MVBench's own files, and those of ShareGPT4Video's script: predictions in, results out.

all_results.json         {acc_dict: {task: [right, all]}, result_list: [{pred, gt, task_type, ...}]}
NAME.json                {acc_dict, res_list: [{pred, gt}]}   (the authors' notebook)
upload_leaderboard.json  {task: percent, ..., "Avg": percent}
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

from sg4v_jax import files
from sg4v_jax.errors import RecordError
from sg4v_jax.evals.mvbench.questions import TABLE
from sg4v_jax.evals.questions import Loaded, Prediction, read_object
from sg4v_jax.evals.scores import Row

RESULTS, BOARD = "all_results.json", "upload_leaderboard.json"
_MISSING = "missing"
_TITLES = {task.stem: task.title for task in TABLE}
_STEMS = {title: stem for stem, title in _TITLES.items()} | {stem: stem for stem in _TITLES}
_STEMS["Character Count"] = "character_order"  # the early board's name


def read_predictions(path: str | os.PathLike, loaded: Loaded) -> dict[str, Prediction]:
    """Predictions by question id from `all_results.json` or the notebook's file.

    Neither holds ids: rows are told by their order, within a task where the task is named, and
    each row's `gt` must be the gold of the question in that place.

    Raises:
      RecordError: a file of another form, or rows in another order than the question files.
    """
    name = files.path(path) / RESULTS if files.path(path).is_dir() else files.path(path)
    value = read_object(name)
    rows = value.get("result_list", value.get("res_list"))
    if not isinstance(rows, list):
        raise RecordError(
            f"{name}: no result_list or res_list", mend=f"use an {RESULTS} of MVBench"
        )
    by_task: dict[str, list[Any]] = {}
    for question in loaded.questions:
        by_task.setdefault(question.task, []).append(question)
    flat = list(loaded.questions)
    met: dict[str, int] = {}
    found = {}
    for number, row in enumerate(rows):
        where = f"{name}: row {number}"
        if not isinstance(row, Mapping) or not isinstance(row.get("pred"), str):
            raise RecordError(f"{where}: {row!r:.60} has no text 'pred'")
        task = _STEMS.get(row.get("task_type"))
        if "task_type" in row and task is None:
            raise RecordError(f"{where}: task_type {row['task_type']!r} is unknown")
        members = flat if task is None else by_task.get(task, [])
        place = met.get(task or "", 0)
        met[task or ""] = place + 1
        if task is not None and not members:
            continue  # of a task that is not asked for
        if place >= len(members):
            raise RecordError(f"{where}: more rows than questions", mend=_MEND)
        question = members[place]
        if row.get("gt", question.gold) != question.gold:
            raise RecordError(
                f"{where}: gt is {row['gt']!r:.60}, question {question.id} has {question.gold!r}",
                mend=_MEND,
            )
        found[question.id] = Prediction(row["pred"])
    return found


_MEND = "score with the question files that the predictions were made for, all tasks of them"


def read_judged(path: str | os.PathLike) -> list[dict[str, Any]]:
    """MVBench has no judge, so there is nothing to read."""
    return []


def write(rows: Sequence[Row], out: str | os.PathLike, *, model: str, absent: bool) -> list[str]:
    """Writes `all_results.json` and `upload_leaderboard.json`; gives their names."""
    counts: dict[str, list[int]] = {}
    for row in rows:
        of_task = counts.setdefault(_TITLES[row.question.task], [0, 0])
        of_task[0] += row.rating
        of_task[1] += 1
    listed = [
        {
            # An empty text would be right by the official rule.
            "pred": _MISSING if row.prediction is None else row.prediction,
            "gt": row.question.gold,
            "task_type": _TITLES[row.question.task],
            "video_path": row.question.video,
            "question": row.question.text,
        }
        for row in rows
    ]
    board = {title: right / total * 100 for title, (right, total) in counts.items()}
    right, total = (sum(count[i] for count in counts.values()) for i in range(2))
    board["Avg"] = right / total * 100 if total else None
    files.write_json(files.path(out) / RESULTS, {"acc_dict": counts, "result_list": listed})
    files.write_json(files.path(out) / BOARD, board)
    return [RESULTS, BOARD]
