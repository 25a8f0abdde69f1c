"""Small made-up question files of each benchmark, in the published shapes, dirt included."""

from __future__ import annotations

import json
import pathlib
from typing import Any

ASPECTS = ("action", "direction", "speed", "order", "attribute_change")
FINE = {
    "action": "fine-grained action",
    "direction": "object motion",
    "speed": "relative speed",
    "attribute_change": "color & light change",
}


def dump(path: pathlib.Path, value: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value))


def tempcompass(folder: pathlib.Path, *, videos: int = 2, aspects=ASPECTS) -> pathlib.Path:
    """One question of each task for each video and aspect; two of captioning."""
    tasks: dict[str, dict] = {t: {} for t in TEMPCOMPASS_TASKS}
    meta: dict[str, dict] = {}
    for v in range(videos):
        name = f"10{v}_reverse" if v % 2 else f"10{v}"
        meta[name] = {"eval_dim": {a: {"type": FINE[a]} if a in FINE else None for a in aspects}}
        for of_task in tasks.values():
            of_task[name] = {}
        for a in aspects:
            gold = "B. blue" if v % 2 else "A. red"
            tasks["multi-choice"][name][a] = [
                {"question": f"What {a}?\nA. red\nB. blue\n D. away", "answer": gold},
            ]
            tasks["yes_no"][name][a] = [{"question": f"Is it {a}?", "answer": "yes"}]
            lines = f"Which sentence?\nSentence A: it is {a}\nSentence B: it is not"
            tasks["caption_matching"][name][a] = [
                {"question": lines, "answer": f"Sentence A: it is {a}"}
            ]
            tasks["captioning"][name][a] = [
                # The first has an answer of another question; it must not be scored against.
                {"question": f"Tell {n}.\nInformation A: x\nGenerated Caption:", "answer": own}
                for n, own in enumerate(["D. other", gold])
            ]
    for task, value in tasks.items():
        dump(folder / "questions" / f"{task}.json", value)
    dump(folder / "meta_info.json", meta)
    return folder


TEMPCOMPASS_TASKS = ("multi-choice", "yes_no", "caption_matching", "captioning")


def mvbench_row(number: int, **more: Any) -> dict[str, Any]:
    return {
        "video": f"v{number}.mp4",
        "question": f"Which {number}?",
        "candidates": ["red", "blue", "green"],
        "answer": "blue",
        **more,
    }


def mvbench(folder: pathlib.Path, tasks=("action_sequence", "object_existence")) -> pathlib.Path:
    """Three questions a task."""
    for task in tasks:
        more = {"start": 1.0, "end": 3.5} if task == "action_sequence" else {}
        dump(folder / "json" / f"{task}.json", [mvbench_row(n, **more) for n in range(3)])
    return folder


VIDEOBENCH = (
    "ActivityNet",
    "MSVD",
    "MSRVTT",
    "TGIF",
    "Youcook2",
    "Ucfcrime",
    "MOT",
    "TVQA",
    "MV",
    "NBA",
    "Driving-exam",
    "Driving-decision-making",
    "SQA3D",
)


def videobench_row(name: str, **more: Any) -> dict[str, Any]:
    return {
        "vid_path": f"Eval_video/{name}/x.mp4",
        "video_id": "x",
        "question": "Which song?",
        "choices": {"A": "One", "B": "Two"},
        **more,
    }


def videobench(folder: pathlib.Path, *, answers: bool = True) -> pathlib.Path:
    """Two questions a set; answers apart, as in an older commit; the dirty rows of the real files."""
    for name in VIDEOBENCH:
        rows = {key: videobench_row(name) for key in ("7", "8")}
        if name == "ActivityNet":
            rows["one"] = videobench_row(name, choices={"A": "only"})
            rows["null"] = videobench_row(name, choices={"A": "x", "B": None, "C": None})
        if name == "TGIF":
            rows["FRAMEQA39731"] = videobench_row(name, choices={"A": 1, "B": 2})
        if name == "MSVD":
            order = {"A": "a", "B": "b", "D": "d", "C": "c"}
            rows["45437"] = videobench_row(name, choices=order)
            rows["47609"] = videobench_row(name, correctAnswer="A", correct="A")
        if name == "MSRVTT":
            rows["7"] = videobench_row(name, video_id=12)
        dump(folder / "Eval_QA" / f"{name}_QA_new.json", rows)
        if answers:
            told = {
                key: row | {"answer": "A" if len(row["choices"]) == 1 else "B"}
                for key, row in rows.items()
            }
            dump(folder / "answers" / f"{name}_QA_new.json", told)
    dump(folder / "Eval_QA" / "MOT_QA.json", [{"old": "schema", "path": "/else/where"}])
    return folder


def videochatgpt(folder: pathlib.Path) -> pathlib.Path:
    generic = [{"video_name": "v_a", "Q": f"What {n}?", "A": f"It {n}."} for n in range(2)]
    generic.append({"video_name": "v_b", "Q": "What?", "A": "That."})
    dump(folder / "generic_qa.json", generic)
    dump(folder / "temporal_qa.json", [{"video_name": "v_a", "Q": "When?", "A": "Then."}])
    pair = {"video_name": "v_b", "Q1": "Is it?", "Q2": "Isn't it?", "A": "It is."}
    dump(folder / "consistency_qa.json", [pair])
    return folder
