"""Scenes as Video-Bench files: thirteen sets in the shape of its repository, with their answers.

    DIR/Eval_QA/{NAME}_QA_new.json     {question id: {vid_path, video_id, question, choices, answer}}
    DIR/Eval_video/{NAME}/{id}.mp4

Each set asks its own kinds of questions. The sets differ in the number of options, as the
original's do: six in MOT, five in TVQA, two in half of Driving-exam.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from sg4v_jax.world.as_tempcompass import LETTERS
from sg4v_jax.world.facts import facts_of
from sg4v_jax.world.scene import COLOURS, PLACES, SAMPLED, SHAPES, SIZES, Scene, place, state

# Set -> what it asks: an aspect of `facts`, or a look at the start or the end.
SETS = {
    "ActivityNet": "action",
    "MSVD": "shape",
    "MSRVTT": "start color",
    "TGIF": "attribute_change",
    "Youcook2": "order",
    "Ucfcrime": "start place",
    "MOT": "end color",
    "TVQA": "end place",
    "MV": "start size",
    "NBA": "direction",
    "Driving-exam": "end size",
    "Driving-decision-making": "direction",
    "SQA3D": "end place",
}
_OPTIONS = {"MOT": 6, "TVQA": 5}
_VALUES = {"color": COLOURS, "place": PLACES, "size": SIZES, "shape": SHAPES}


def content(scenes: dict[str, Scene], *, seed: int) -> dict[str, Any]:
    """File name -> content, for scenes by video id; each set has its own share of the scenes.

    A set that asks about motion skips scenes without any.
    """
    out = {}
    for set_number, (name, kind) in enumerate(SETS.items()):
        rows = {}
        for number, (video, scene) in enumerate(scenes.items()):
            rng = np.random.default_rng([seed, set_number, number, 42])
            asked = _ask(scene, kind, rng, count=_OPTIONS.get(name, 4))
            if asked is None:
                continue
            question, options, answer = asked
            row = {
                "vid_path": f"Eval_video/{name}/{video}.mp4",
                "video_id": video,
                "question": question,
                "choices": dict(zip(LETTERS, options, strict=False)),
                "answer": LETTERS[options.index(answer)],
            }
            if name in ("ActivityNet", "TGIF"):
                row["qid"] = f"{video}_0"
            if name == "Youcook2":
                row["sub_dir"] = "world"
            rows[f"{video}_0" if name == "ActivityNet" else str(number)] = row
        out[f"Eval_QA/{name}_QA_new.json"] = rows
    return out


def _ask(
    scene: Scene, kind: str, rng: np.random.Generator, *, count: int
) -> tuple[str, tuple[str, ...], str] | None:
    """(question, options, answer), or None where the scene has nothing of the kind."""
    edge, _, field = kind.rpartition(" ")
    if field not in _VALUES:
        fact = next((f for f in facts_of(scene, rng) if f.aspect == kind), None)
        return fact and (fact.question, fact.options, fact.answer)
    look = state(scene, 0 if edge == "start" else SAMPLED - 1)
    answer = {
        "color": look.colour,
        "place": place(look, canvas=scene.canvas),
        "size": look.size,
        "shape": look.shape,
    }[field]
    when = f" at the {edge} of the video" if edge else ""
    question = {
        "color": f"What color is the object{when}?",
        "place": f"Where is the object{when}?",
        "size": f"How large is the object{when}?",
        "shape": "What shape is the object?",
    }[field]
    others = [v for v in _VALUES[field] if v != answer]
    chosen = [answer, *(others[int(i)] for i in rng.permutation(len(others))[: count - 1])]
    return question, tuple(chosen[int(i)] for i in rng.permutation(len(chosen))), answer
