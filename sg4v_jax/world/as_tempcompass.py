"""Scenes as TempCompass files: four tasks over five aspects, in the shape of its repository.

    DIR/questions/{multi-choice,yes_no,caption_matching,captioning}.json
    DIR/meta_info.json
    DIR/videos/{id}.mp4

Question files are {video id: {aspect: [{"question", "answer"}]}}. The wording is ours; the layout
of lines ("A. ...", "Caption A: ...", "Generated Caption:") is what the official scorer reads.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from sg4v_jax.world.captions import detailed_caption
from sg4v_jax.world.facts import ASPECTS, Fact, facts_of
from sg4v_jax.world.scene import Scene

LETTERS = "ABCDEFGH"
TASKS = ("multi-choice", "yes_no", "caption_matching", "captioning")
# First lines and labels of caption matching, in turn.
_MATCHING = (
    ("Which caption tells better what the video shows?", ("Caption A", "Caption B")),
    ("Which description fits the video?", ("Option 1", "Option 2")),
    ("Which sentence is true of the video?", ("Sentence A", "Sentence B")),
)


def content(scenes: dict[str, Scene], *, seed: int) -> dict[str, Any]:
    """File name -> content, for scenes by video id."""
    tasks: dict[str, dict] = {task: {} for task in TASKS}
    meta = {}
    for number, (name, scene) in enumerate(scenes.items()):
        rng = np.random.default_rng([seed, number, 41])
        found = facts_of(scene, rng)
        for task in TASKS:
            tasks[task][name] = {
                f.aspect: _rows(task, f, rng, turn=number + place) for place, f in enumerate(found)
            }
        dims: dict[str, dict | None] = dict.fromkeys(ASPECTS)
        for f in found:
            # The original's `order` has no finer aspect: it is its own.
            dims[f.aspect] = {} if f.aspect == "order" else {"type": f.fine}
        meta[name] = {"eval_dim": dims, "content": detailed_caption(scene, rng)}
    return {f"questions/{task}.json": rows for task, rows in tasks.items()} | {
        "meta_info.json": meta
    }


def _rows(task: str, fact: Fact, rng: np.random.Generator, *, turn: int) -> list[dict[str, str]]:
    """The rows of one task about one fact."""
    lines = [f"{letter}. {option}" for letter, option in zip(LETTERS, fact.options, strict=False)]
    right = lines[fact.number]
    wrong = (fact.number + 1 + int(rng.integers(len(lines) - 1))) % len(lines)
    if task == "multi-choice":
        return [{"question": "\n".join([fact.question, *lines]), "answer": right}]
    if task == "yes_no":
        ask = "Is it true that {}?".format
        return [
            {"question": ask(fact.claims[fact.number]), "answer": "yes"},
            {"question": ask(fact.claims[wrong]), "answer": "no"},
        ]
    if task == "caption_matching":
        first, labels = _MATCHING[turn % len(_MATCHING)]
        shown = [fact.claims[fact.number], fact.claims[wrong]]
        if swapped := bool(rng.integers(2)):
            shown.reverse()
        pair = [f"{label}: {_sentence(text)}" for label, text in zip(labels, shown, strict=True)]
        return [{"question": "\n".join([first, *pair]), "answer": pair[int(swapped)]}]
    pieces = [
        f"Information {letter}: {_sentence(claim)}"
        for letter, claim in zip(LETTERS, fact.claims, strict=False)
    ]
    ask = "Write a caption of the video that holds the one right piece of information."
    return [{"question": "\n".join([ask, *pieces, "Generated Caption:"]), "answer": right}]


def _sentence(clause: str) -> str:
    return f"{clause[0].upper()}{clause[1:]}."
