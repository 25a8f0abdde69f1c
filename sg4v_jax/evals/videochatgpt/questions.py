"""VideoChatGPT's benchmark: three question files on 500 videos, read for five scores.

generic_qa.json       {video_name, Q, A}: correctness, detail, context
temporal_qa.json      {video_name, Q, A}: temporal
consistency_qa.json   {video_name, Q1, Q2, A}: consistency; both questions are asked
Test_Videos/NAME.mp4  (or videos/, or beside the files; .mp4 .avi .mov .mkv)
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from sg4v_jax import files
from sg4v_jax.evals.questions import (
    Loaded,
    Question,
    Videos,
    chosen_tasks,
    count_warning,
    read_object,
    text_field,
)

TASKS = ("generic", "temporal", "consistency")
ROWS: Mapping[str, int] = {"generic": 1996, "temporal": 499, "consistency": 499}
SCORES_OF: Mapping[str, tuple[str, ...]] = {
    "generic": ("correctness", "detail", "context"),
    "temporal": ("temporal",),
    "consistency": ("consistency",),
}
SCORES = tuple(name for task in TASKS for name in SCORES_OF[task])
_FOLDERS = ("Test_Videos", "videos", "")
_ENDINGS = (".mp4", ".avi", ".mov", ".mkv")


def load(data: str | os.PathLike, *, tasks: Iterable[str] = ()) -> Loaded:
    """The questions in `data`; ids are `TASK/KEY`, of consistency `TASK/KEY/1` and `/2`.

    A key is the video's name and how many rows of the file had it before: `v_abc_0`, as the
    authors number them.

    Raises:
      RecordError: a file is missing, or a row of it cannot be used.
      UnsafePathError: a video outside the folder.
    """
    chosen = chosen_tasks(TASKS, tasks)
    questions: list[Question] = []
    warnings, expected, finder = [], {}, Videos(data)
    for task in chosen:
        inner = files.path(data) / "Benchmarking_QA"
        name = (inner if inner.exists() else files.path(data)) / f"{task}_qa.json"
        rows = read_object(name, of=list)
        warning = count_warning(name.name, found=len(rows), published=ROWS[task])
        warnings += [warning] if warning else []
        questions += _questions(name, task, rows, finder=finder)
        expected[task] = ROWS[task] * (2 if task == "consistency" else 1)
    return Loaded(tuple(questions), expected, tuple(warnings))


def _questions(name: Any, task: str, rows: list[Any], *, finder: Videos) -> Iterator[Question]:
    met: Counter[str] = Counter()
    videos: dict[str, str] = {}
    for number, row in enumerate(rows):
        where = f"{name}: row {number}"
        video = text_field(row, "video_name", where=where)
        key = f"{video}_{met[video]}"
        met[video] += 1
        if video not in videos:
            names = [f"{video}{ending}" for ending in _ENDINGS]
            videos[video] = finder.find(_FOLDERS, names, where=where)
        fields = ("Q1", "Q2") if task == "consistency" else ("Q",)
        texts = [text_field(row, field, where=where) for field in fields]
        for which, text in enumerate(texts, 1):
            yield Question(
                id=f"{task}/{key}" + (f"/{which}" if len(texts) > 1 else ""),
                task=task,
                video=videos[video],
                text=text,
                gold=text_field(row, "A", where=where),
                extra={"key": key, "video_name": video, "questions": texts, "which": which},
            )
