"""MVBench's files: a JSON list a task, of video, question, candidates, answer, maybe start and end.

    json/TASK.json       (or TASK.json beside the videos)
    video/FOLDER/...     the branch `main`: whole videos, and bounds in the JSON
    FOLDER/...           the branch `video`: mp4 files, cut to the bounds already

Users mix the two, so a video is looked for in the folders of both, and below `data0613`, which
holds clips that were added later. What is cut already is shown whole.
"""

from __future__ import annotations

import dataclasses
import math
import os
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from sg4v_jax import files
from sg4v_jax.errors import RecordError
from sg4v_jax.evals.questions import (
    Loaded,
    Question,
    Videos,
    chosen_tasks,
    count_warning,
    read_object,
    text_field,
)

EACH = 200  # questions a task in the published files; other versions have 198 or 199 of some
FRAME_RATE = 3.0  # of the frame folders


@dataclasses.dataclass(frozen=True)
class Task:
    """A task: its file's name, the board's name and abbreviation, and where its videos lie.

    `cut` is the folder of the branch `video`, None where both have the same. `bounded` tasks look
    at a part of their videos; `frames` says that videos are folders of frames.
    """

    stem: str
    title: str
    short: str
    folder: str
    cut: str | None = None
    bounded: bool = False
    frames: bool = False


_STAR, _STAR_CUT = "star/Charades_v1_480", "star/Charades_segment"
_CLEVRER, _PERCEPTION = "clevrer/video_validation", "perception/videos"
TABLE = (
    Task("action_sequence", "Action Sequence", "AS", _STAR, _STAR_CUT, bounded=True),
    Task("action_prediction", "Action Prediction", "AP", _STAR, _STAR_CUT, bounded=True),
    Task("action_antonym", "Action Antonym", "AA", "ssv2_video", "ssv2_video_mp4"),
    Task("fine_grained_action", "Fine-grained Action", "FA", "Moments_in_Time_Raw/videos"),
    Task("unexpected_action", "Unexpected Action", "UA", "FunQA_test/test"),
    Task("object_existence", "Object Existence", "OE", _CLEVRER),
    Task("object_interaction", "Object Interaction", "OI", _STAR, _STAR_CUT, bounded=True),
    Task("object_shuffle", "Object Shuffle", "OS", _PERCEPTION),
    Task("moving_direction", "Moving Direction", "MD", _CLEVRER),
    Task(
        "action_localization",
        "Action Localization",
        "AL",
        "sta/sta_video",
        "sta/sta_video_segment",
        bounded=True,
    ),
    Task("scene_transition", "Scene Transition", "ST", "scene_qa/video"),
    Task("action_count", "Action Count", "AC", _PERCEPTION),
    Task("moving_count", "Moving Count", "MC", _CLEVRER),
    Task("moving_attribute", "Moving Attribute", "MA", _CLEVRER),
    Task("state_change", "State Change", "SC", _PERCEPTION),
    Task("fine_grained_pose", "Fine-grained Pose", "FP", "nturgbd", "nturgbd_convert"),
    Task("character_order", "Character Order", "CO", _PERCEPTION),
    Task("egocentric_navigation", "Egocentric Navigation", "EN", "vlnqa"),
    Task(
        "episodic_reasoning",
        "Episodic Reasoning",
        "ER",
        "tvqa/frames_fps3_hq",
        "tvqa/video_fps3_hq_segment",
        bounded=True,
        frames=True,
    ),
    Task("counterfactual_inference", "Counterfactual Inference", "CI", _CLEVRER),
)
TASKS = tuple(task.stem for task in TABLE)
_BY_NAME = {name: task.stem for task in TABLE for name in (task.title, task.short, task.stem)}


def load(data: str | os.PathLike, *, tasks: Iterable[str] = ()) -> Loaded:
    """The questions in `data`; ids are `TASK/n`, in the order of the file.

    Args:
      tasks: file names without `.json`, titles, or the abbreviations of the board.

    Raises:
      RecordError: a file is missing, or a row of it cannot be used.
      UnsafePathError: a video outside the folder.
    """
    chosen = chosen_tasks(TASKS, [_BY_NAME.get(name, name) for name in tasks])
    questions: list[Question] = []
    warnings: list[str] = []
    videos = Videos(data)
    for task in TABLE:
        if task.stem not in chosen:
            continue
        name = _json_file(data, task)
        of_task = list(_questions(name, task, videos=videos))
        warning = count_warning(f"{task.stem}.json", found=len(of_task), published=EACH)
        warnings += [warning] if warning else []
        warnings += [
            f"{task.stem}.json: row {q.id.split('/')[1]}: the answer is none of the candidates"
            for q in of_task
            if q.gold.startswith("(@)")
        ]
        questions += of_task
    return Loaded(tuple(questions), dict.fromkeys(chosen, EACH), tuple(warnings))


def _json_file(data: str | os.PathLike, task: Task) -> Any:
    inner = files.path(data) / "json" / f"{task.stem}.json"
    return inner if inner.exists() else files.path(data) / f"{task.stem}.json"


def _questions(name: Any, task: Task, *, videos: Videos) -> Iterator[Question]:
    for number, row in enumerate(read_object(name, of=list)):
        where = f"{name}: row {number}"
        candidates, answer = _choices(row, where=where)
        file = text_field(row, "video", where=where)
        video, cut = _place(videos, task, file, where=where)
        # An answer that is no candidate is (@) in the authors' scripts, which nobody can say.
        letter = ord("A") + (candidates.index(answer) if answer in candidates else -1)
        yield Question(
            id=f"{task.stem}/{number}",
            task=task.stem,
            video=video,
            text=text_field(row, "question", where=where),
            gold=f"({chr(letter)}) {answer}",
            options=candidates,
            bounds=None if cut else _bounds(row, task, where=where),
            fps=FRAME_RATE if task.frames and not cut else None,
        )


def _choices(row: Any, *, where: str) -> tuple[tuple[str, ...], str]:
    answer = text_field(row, "answer", where=where)
    candidates = row.get("candidates")
    if not isinstance(candidates, list) or not candidates:
        raise RecordError(
            f"{where}: candidates are {candidates!r:.60}, not a list", mend="fetch the file again"
        )
    texts = (text_field({"candidates": c}, "candidates", where=where) for c in candidates)
    return tuple(texts), answer


def _place(videos: Videos, task: Task, file: str, *, where: str) -> tuple[str, bool]:
    """The path of a video below the data folder, and whether it is cut to its bounds already."""
    roots = ("video/", "video/data0613/", "", "data0613/")
    whole = [f"{root}{task.folder}" for root in roots]
    cut = [f"{root}{task.cut}" for root in ("", "video/")] if task.cut else []
    # The converted files have another ending; the folder tells which kind a file is.
    converted = f"{file.rsplit('.', 1)[0]}.mp4" if "." in file or task.frames else file
    names = list(dict.fromkeys((file, converted)))
    found = videos.find([*whole, *cut], names, where=where)
    return found, any(found.startswith(f"{folder}/") for folder in cut)


def _bounds(row: Mapping[str, Any], task: Task, *, where: str) -> tuple[float, float] | None:
    """The row's start and end in seconds, of tasks that look at a part."""
    if not task.bounded or row.get("start") is None or row.get("end") is None:
        return None
    try:
        bounds = float(row["start"]), float(row["end"])
    except (TypeError, ValueError):
        bounds = (math.nan, math.nan)
    if not (math.isfinite(bounds[0]) and math.isfinite(bounds[1])):
        raise RecordError(
            f"{where}: start {row['start']!r} and end {row['end']!r} are no times",
            mend="fetch the file again",
        )
    return bounds
