"""TempCompass's question files: one a task, video id -> aspect -> rows of question and answer.

    questions/{multi-choice,yes_no,caption_matching,captioning}.json
    meta_info.json         fine aspects
    videos/ID.mp4          (or video/ID.mp4)

The files are for non-commercial use and stay with the user.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from sg4v_jax import files
from sg4v_jax.errors import RecordError
from sg4v_jax.evals.questions import (
    Loaded,
    Question,
    chosen_tasks,
    count_warning,
    read_object,
    text_field,
)

TASKS = ("multi-choice", "yes_no", "caption_matching", "captioning")
ASPECTS = ("action", "direction", "speed", "order", "attribute_change")
FINE_ASPECTS = (
    "fine-grained action",
    "coarse-grained action",
    "object motion",
    "camera motion",
    "absolute speed",
    "relative speed",
    "order",
    "color & light change",
    "size & shape change",
    "combined change",
    "other change",
)
# Rows of the published files, by task and aspect.
PUBLISHED: Mapping[str, tuple[int, ...]] = {
    "multi-choice": (338, 335, 317, 302, 288),
    "yes_no": (592, 494, 537, 382, 448),
    "caption_matching": (297, 327, 291, 300, 288),
    "captioning": (396, 436, 388, 400, 384),
}
EXPECTED = {task: sum(counts) for task, counts in PUBLISHED.items()}


def load(data: str | os.PathLike, *, tasks: Iterable[str] = ()) -> Loaded:
    """The questions in `data`, a clone of the TempCompass repository with its videos.

    Ids are `TASK/VIDEO/ASPECT/n`. A captioning question's gold and multiple-choice question are
    those of the multi-choice file's first row, as its own `answer` may belong to another.

    Raises:
      RecordError: a file is missing or is not of this form.
      UnsafePathError: a video id that leaves the folder.
    """
    chosen = chosen_tasks(TASKS, tasks)
    folder = _folder(data)
    videos = "video" if not _is_dir(data, "videos") and _is_dir(data, "video") else "videos"
    fine, warnings = _fine_aspects(data)
    choices = _rows(folder, "multi-choice") if "captioning" in chosen else {}
    questions: list[Question] = []
    checked: set[str] = set()
    for task in chosen:
        name = files.path(folder) / f"{task}.json"
        of_task = list(_questions(name, task, videos=videos, fine=fine, choices=choices))
        for video in {q.video for q in of_task} - checked:
            files.safe_join(data, video, where=str(name))
            checked.add(video)
        warnings += _count_warnings(f"{task}.json", of_task, PUBLISHED[task])
        questions += of_task
    return Loaded(
        tuple(questions), {task: EXPECTED[task] for task in chosen}, tuple(filter(None, warnings))
    )


def _count_warnings(
    name: str, questions: Sequence[Question], published: Sequence[int]
) -> list[str | None]:
    found = dict.fromkeys(ASPECTS, 0)
    for question in questions:
        found[question.group] = found.get(question.group, 0) + 1
    whole = count_warning(name, found=len(questions), published=sum(published))
    if whole or sum(published) == 0:
        return [whole]
    moved = [a for a, n in zip(ASPECTS, published, strict=True) if found[a] != n]
    return [f"{name}: another number of questions on {', '.join(moved)}"] if moved else []


def _folder(data: str | os.PathLike) -> str:
    inner = files.path(data) / "questions"
    return str(inner if inner.exists() else files.path(data))


def _is_dir(data: str | os.PathLike, name: str) -> bool:
    return (files.path(data) / name).exists()


def _rows(folder: str, task: str) -> dict[str, dict[str, list[Any]]]:
    name = files.path(folder) / f"{task}.json"
    value = read_object(name)
    for video, aspects in value.items():
        if not isinstance(aspects, Mapping):
            raise RecordError(
                f"{name}: video {video!r}: {aspects!r:.60} is not an object of aspects",
                mend="fetch the file again",
            )
        for aspect, rows in aspects.items():
            if not isinstance(rows, list):
                raise RecordError(
                    f"{name}: video {video!r}: {aspect}: {rows!r:.60} is not a list",
                    mend="fetch the file again",
                )
    return value


def _questions(
    name: os.PathLike,
    task: str,
    *,
    videos: str,
    fine: Mapping[tuple[str, str], str],
    choices: Mapping[str, Any],
) -> Iterator[Question]:
    for video, aspects in _rows(str(files.path(name).parent), task).items():
        for aspect, rows in aspects.items():
            for number, row in enumerate(rows):
                where = f"{name}: video {video!r}: {aspect} {number}"
                gold, extra = text_field(row, "answer", where=where), {}
                if task == "captioning":
                    first = _first_choice(choices, video, aspect, where=where)
                    extra = {"answer": gold, "mc_question": first["question"]}
                    gold = first["answer"]
                if (video, aspect) in fine:
                    extra["fine"] = fine[video, aspect]
                yield Question(
                    id=f"{task}/{video}/{aspect}/{number}",
                    task=task,
                    group=aspect,
                    video=f"{videos}/{video}.mp4",
                    text=text_field(row, "question", where=where),
                    gold=gold,
                    extra=extra | {"video_id": video},
                )


def _first_choice(
    choices: Mapping[str, Any], video: str, aspect: str, *, where: str
) -> dict[str, str]:
    rows = choices.get(video, {}).get(aspect)
    if not rows:
        raise RecordError(
            f"{where}: multi-choice.json has no question of this video and aspect",
            mend="use both files of the same version",
        )
    here = f"multi-choice.json: video {video!r}: {aspect} 0"
    return {field: text_field(rows[0], field, where=here) for field in ("question", "answer")}


def _fine_aspects(data: str | os.PathLike) -> tuple[dict[tuple[str, str], str], list[str | None]]:
    """(video, aspect) -> fine aspect, and a warning where the file is not there."""
    name = files.path(data) / "meta_info.json"
    if not name.exists():
        return {}, [f"{name.name} is not there: no scores by fine aspect"]
    found = {}
    for video, facts in read_object(name).items():
        kinds = facts.get("eval_dim") if isinstance(facts, Mapping) else None
        for aspect, kind in (kinds or {}).items():
            # Order has no kinds: it is one of itself.
            if aspect == "order":
                found[video, aspect] = "order"
            elif isinstance(kind, Mapping) and isinstance(kind.get("type"), str):
                found[video, aspect] = kind["type"]
    return found, []
