"""Video-Bench's 13 question files: id -> {vid_path, question, choices, video_id, ...}.

    Eval_QA/NAME_QA_new.json     as the repository has them now: without answers
    answers/NAME_QA_new.json     the same of an older commit, with `answer` (or --answers=DIR)
    Eval_video/NAME/...

Rows of the published files that look broken are taken as they are: options that are null or
numbers become texts as the authors' own script makes them, letters may come in any order, and a
right answer that leaked into some rows (`correct`, `correctAnswer`, wrong in one) is not looked at.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from sg4v_jax import files
from sg4v_jax.errors import ConfigError, RecordError
from sg4v_jax.evals.questions import (
    Loaded,
    Question,
    chosen_tasks,
    count_warning,
    read_object,
    text_field,
)


class Dataset(NamedTuple):
    """One of the 13: published rows, level, and its weight there."""

    rows: int
    level: str
    weight: float


EXCLUSIVE, PRIOR, DECISION = "Video-Exclusive", "Prior-Knowledge QA", "Decision-Making"
LEVELS = (EXCLUSIVE, PRIOR, DECISION)
DATASETS: Mapping[str, Dataset] = {
    "ActivityNet": Dataset(2000, EXCLUSIVE, 1.0),
    "MSVD": Dataset(2000, EXCLUSIVE, 1.0),
    "MSRVTT": Dataset(2000, EXCLUSIVE, 1.0),
    "TGIF": Dataset(2107, EXCLUSIVE, 1.0),
    "Youcook2": Dataset(2000, EXCLUSIVE, 1.0),
    "Ucfcrime": Dataset(290, EXCLUSIVE, 1.0),
    "MOT": Dataset(18, EXCLUSIVE, 0.5),
    "TVQA": Dataset(2000, PRIOR, 1.0),
    "MV": Dataset(1117, PRIOR, 1.0),
    "NBA": Dataset(686, PRIOR, 1.0),
    "Driving-exam": Dataset(36, DECISION, 0.5),
    "Driving-decision-making": Dataset(780, DECISION, 1.0),
    "SQA3D": Dataset(2002, DECISION, 1.0),
}
TASKS = tuple(DATASETS)


def load(
    data: str | os.PathLike, *, tasks: Iterable[str] = (), answers: str | None = None
) -> Loaded:
    """The questions in `data`; ids are `NAME/ID`. The gold is "(B) text", "" where not told.

    Args:
      answers: the folder of question files with answers; by default `data`/answers, if there.

    Raises:
      RecordError: a file is missing, a row of it cannot be used, or answers are not to it.
      ConfigError: no such folder of answers.
      UnsafePathError: a video outside the folder.
    """
    chosen = chosen_tasks(TASKS, tasks)
    told = _answers_folder(data, answers)
    questions: list[Question] = []
    warnings: list[str] = []
    for name in chosen:
        of_set = list(_questions(data, name, told=told))
        warning = count_warning(_file_name(name), found=len(of_set), published=DATASETS[name].rows)
        warnings += [warning] if warning else []
        if untold := sum(not q.gold for q in of_set):
            warnings.append(
                f"{_file_name(name)}: {untold} questions without an answer: no score; give the "
                "files of an older commit as answers"
            )
        _check_paths(data, of_set)
        questions += of_set
    expected = {name: DATASETS[name].rows for name in chosen}
    return Loaded(tuple(questions), expected, tuple(warnings))


def _file_name(dataset: str) -> str:
    return f"{dataset}_QA_new.json"


def _answers_folder(data: str | os.PathLike, answers: str | None) -> Any | None:
    place = files.path(answers) if answers else files.path(data) / "answers"
    if answers and not place.exists():
        raise ConfigError(f"answers: {answers}: no such folder", mend="check the path")
    if (place / "Eval_QA").exists():
        place = place / "Eval_QA"
    return place if place.exists() else None


def _questions(data: str | os.PathLike, dataset: str, *, told: Any | None) -> Iterator[Question]:
    inner = files.path(data) / "Eval_QA"
    name = (inner if inner.exists() else files.path(data)) / _file_name(dataset)
    answers = {}
    if told is not None and (told / _file_name(dataset)).exists():
        answers = read_object(told / _file_name(dataset))
    for key, row in read_object(name).items():
        where = f"{name}: {key}"
        letters = _choices(row, where=where)
        gold = row.get("answer")
        if gold is None and key in answers:
            gold = _other_answer(answers[key], row, where=where)
        if gold is not None and gold not in letters:
            raise RecordError(
                f"{where}: answer {gold!r:.20} is none of {', '.join(letters)}",
                mend="fetch the file again",
            )
        yield Question(
            id=f"{dataset}/{key}",
            task=dataset,
            group=DATASETS[dataset].level,
            video=text_field(row, "vid_path", where=where),
            text=text_field(row, "question", where=where),
            gold="" if gold is None else f"({gold}) {letters[gold]}",
            options=tuple(letters[letter] for letter in sorted(letters)),
            extra={
                "key": key,
                "video_id": row.get("video_id"),
                "letters": letters,
                "answer": gold,
            },
        )


def _choices(row: Any, *, where: str) -> dict[str, str]:
    """The options by letter, as texts."""
    choices = row.get("choices") if isinstance(row, Mapping) else None
    if not isinstance(choices, Mapping) or not choices:
        raise RecordError(f"{where}: choices are {choices!r:.60}", mend="fetch the file again")
    return {letter: str(text) for letter, text in choices.items()}


def _other_answer(other: Any, row: Mapping[str, Any], *, where: str) -> Any:
    """The answer in the row of the older file, which must be of the same question."""
    if not isinstance(other, Mapping) or other.get("question") != row.get("question"):
        raise RecordError(
            f"{where}: the file of answers has another question here",
            mend="use the file of the same name from a commit that has the answers",
        )
    return other.get("answer")


def _check_paths(data: str | os.PathLike, questions: Iterable[Question]) -> None:
    for video in dict.fromkeys(q.video for q in questions):
        files.safe_join(data, video, where=f"vid_path {video!r:.60}")
