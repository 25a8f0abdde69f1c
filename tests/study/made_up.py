"""A made-up study: answers with a known effect, and the files that its runs would have left."""

from __future__ import annotations

import dataclasses
import json
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image

from sg4v_jax.study import design

ASPECTS = ("action", "direction", "speed", "order", "attribute", "camera")
FIVE = ASPECTS[:5]
FORMS = {
    "choice": ("one", "two", "three", "four"),
    "yesno": ("yes", "no"),
    "matching": ("a.", "b."),
}
SCENES = 24
EFFECTS = {  # what is right, beyond chance, before seed and video have their say
    "vqa": 0.10, "short": 0.10, "detailed": 0.30, "long_static": 0.15, "shuffled": 0.22,
    "text_only": 0.08, "detailed_short_tokens": 0.24, "vqa_passes": 0.09, "blind": 0.0,
    "captioner": 0.22,
}  # fmt: skip
NO_CAPTIONS = ("vqa", "vqa_passes", "blind")
MAIN = ("vqa", "short", "detailed")
CONTROLS = ("long_static", "shuffled", "text_only", "detailed_short_tokens", "vqa_passes", "blind")
DOSED = {
    "sentences_1": 0.12, "sentences_2": 0.18, "sentences_4": 0.25, "omission_25": 0.24,
    "omission_50": 0.16, "false_10": 0.27, "false_25": 0.20, "false_50": 0.11, "vqa_400": 0.05,
    "vqa_6400": 0.15, "detailed_400": 0.25, "detailed_6400": 0.35,
}  # fmt: skip


def questions(scenes: int = SCENES) -> list[dict[str, Any]]:
    """One question of each form and aspect about every scene; all the right answers differ."""
    rng = np.random.default_rng(3)
    found = []
    for scene in range(scenes):
        for aspect in ASPECTS:
            for form, options in FORMS.items():
                answer = options[int(rng.integers(len(options)))]
                found.append(
                    {
                        "id": f"test-{scene}-{aspect}-{form}",
                        "scene": scene,
                        "split": "test",
                        "video": f"pictures/test-{scene}.png",
                        "unseen": scene % 2 == 0,
                        "aspect": aspect,
                        "form": form,
                        "text": f"What of {aspect} in {scene}?",
                        "options": list(options),
                        "answer": answer,
                        "claims": [],
                    }
                )
    return found


def answer(
    asked: Sequence[Mapping[str, Any]], *, effect: float, seed: int, stream: int
) -> list[dict[str, Any]]:
    """Answers whose chance of being right rises with `effect`; seeds and scenes differ for all arms.

    The same (seed, scene) helps or harms every arm alike, and `stream` tells the arms apart.
    """
    common, own = np.random.default_rng([5, seed]), np.random.default_rng([7, seed, stream])
    of_seed = 0.02 * common.standard_normal()
    of_scene = 0.10 * np.random.default_rng(11).standard_normal(1000)
    lines = []
    for q in asked:
        chance = 1 / len(q["options"])
        skill = {"right": effect, "wrong": 0.1 * effect, "none": 0.0}
        said, luck = {}, own.random(3)
        for (condition, s), u in zip(skill.items(), luck, strict=True):
            p = chance + s * (1 - chance) * 1.4 + of_seed + of_scene[q["scene"]] * (s > 0)
            others = [o for o in q["options"] if o != q["answer"]]
            said[condition] = q["answer"] if u < p else others[int(own.integers(len(others)))]
        kept = {k: q[k] for k in ("id", "scene", "aspect", "form", "unseen", "answer")}
        lines.append(kept | {"said": said, "scores": [0.0] * len(q["options"])})
    for q in asked:
        if q["form"] == "choice":
            kept = {k: q[k] for k in ("scene", "aspect", "unseen", "answer")}
            right = q["answer"] if own.random() < 0.3 + effect else ""
            more = {"id": f"{q['id']}-captioning", "form": "captioning", "said": {"right": right}}
            lines.append(
                kept | more | {"caption": f"first it moves in {q['scene']}. then it grows."}
            )
    return lines


def scored(lines: Sequence[Mapping[str, Any]], condition: str = "right") -> dict[str, Any]:
    """S of a result row, counted in the plainest way."""
    cells: dict[str, dict[str, list[int]]] = {}
    for line in lines:
        cell = cells.setdefault(line["aspect"], {}).setdefault(line["form"], [0, 0])
        cell[0] += line["said"][condition] == line["answer"]
        cell[1] += 1
    aspects = {a: float(np.mean([r / n for r, n in c.values()])) for a, c in cells.items()}
    forms = {f: float(np.mean([cells[a][f][0] / cells[a][f][1] for a in FIVE])) for f in FORMS}
    average = float(np.mean([aspects[a] for a in FIVE]))
    return {"average": average, "aspects": aspects, "forms": forms, "cells": cells}


def result(
    lines: Sequence[Mapping[str, Any]], *, verbs: float, slots: float, effect: float
) -> dict[str, Any]:
    """The evaluation's fields of a result row."""
    asked = [line for line in lines if line["form"] != "captioning"]
    told = [line for line in lines if line["form"] == "captioning"]
    yes = [line for line in asked if line["form"] == "yesno"]
    described = {
        a: float(np.mean([t["said"]["right"] == t["answer"] for t in told if t["aspect"] == a]))
        for a in ASPECTS
    }
    names = ("verb", "direction", "speed", "colour", "size", "camera", "order")
    false = round(40 * (0.6 - effect))
    return {
        "accuracy": {c: scored(asked, c) for c in ("right", "wrong", "none")},
        "unseen": scored([line for line in asked if line["unseen"]]),
        "captioning": described,
        "yes_share": {
            "right": float(np.mean([y["said"]["right"] == "yes" for y in yes])),
            "truth": float(np.mean([y["answer"] == "yes" for y in yes])),
        },
        "slots": {n: [round(200 * (verbs if n == "verb" else slots)), 200] for n in names},
        "captions": {
            "events_told": 40, "events_false": false, "events_true": 40 - false,
            "events_missing": 8 + false,
        },
    }  # fmt: skip


def rows(unlocked: Sequence[int], frozen: Sequence[int]) -> list[dict[str, Any]]:
    """The rows of the paper alone."""
    return [
        dict(arm=arm, tower=tower, seeds=list(seeds), group="main")
        for tower, seeds in (("unlocked", unlocked), ("frozen", frozen))
        for arm in MAIN
    ]


def whole(
    *, unlocked: Sequence[int] = (1, 2, 3, 4, 5), frozen: Sequence[int] = tuple(range(1, 9))
) -> list[dict[str, Any]]:
    """The whole design: 117 runs at five unlocked and eight frozen seeds."""
    some = list(unlocked[:3])
    groups = dict.fromkeys(CONTROLS, "control") | dict.fromkeys(DOSED, "dose")
    groups |= {"captioner": "captioner"}
    found = rows(unlocked, frozen)
    for arm, group in groups.items():
        seeds = list(unlocked) if group == "control" else some
        found.append(dict(arm=arm, tower="unlocked", seeds=seeds, group=group))
    path = dict(tower="unlocked", seeds=some, group="path", path="frames")
    return found + [dict(arm=arm, **path) for arm in MAIN]


def effect_of(run: design.Run, effects: Mapping[str, float]) -> float:
    """The skill that a run has by its arm and tower."""
    return (effects | DOSED)[run.arm] * (1.0 if run.tower == "unlocked" else 0.7)


def write(
    out: pathlib.Path,
    *,
    effects: Mapping[str, float] = EFFECTS,
    verbs: float = 0.92,
    slots: float = 0.9,
    scenes: int = SCENES,
    plan: Sequence[Mapping[str, Any]] | None = None,
    pictures: int = 0,
    keep: Any = lambda run: True,
) -> pathlib.Path:
    """A study's folder.

    Args:
      effects: by arm.
      verbs, slots: how many of the slots the detailed arms get right.
      plan: rows of the design; by default `whole()`.
      pictures: of so many scenes; the report's examples need them.
      keep: which runs of the plan are done.
    """
    plan = whole() if plan is None else plan
    asked = questions(scenes)
    _json(out / "study.json", {"name": "made-up", "split": "test", "rows": list(plan)})
    _lines(out / "data" / "questions" / "test.jsonl", asked)
    told = [{"id": f"dev-{i}", "caption": "it is red. first it moves. then it grows. the camera "
             "pans left. a square rests. it ends."} for i in range(4)]  # fmt: skip
    _lines(out / "data" / "captions" / "dev.jsonl", told)
    guess = answer(asked, effect=0.0, seed=0, stream=0)
    prior = scored([g for g in guess if g["form"] != "captioning"])
    _json(out / "guesser.json", {"dev": prior, "test": prior})
    done, compute = [], []
    for number, run in enumerate(design.runs(plan)):
        if not keep(run):
            continue
        effect = effect_of(run, effects)
        lines = answer(asked, effect=effect, seed=run.seed, stream=number)
        _lines(out / "runs" / run.id / "answers.jsonl", lines)
        noise = np.random.default_rng([13, number]).normal(0, 0.03, size=40)
        curve = 3 * np.exp(-np.arange(40) / 9) + 0.9 - effect + noise
        about = dataclasses.asdict(run) | {"id": run.id, "dose": design.ARMS[run.arm].point}
        row = about | result(lines, verbs=verbs, slots=slots, effect=effect)
        row |= {
            "split": "test", "steps": 800, "rows": 12_800,
            "records": {"vqa": 1600, "captions": 0 if run.arm in NO_CAPTIONS else 4000},
            "trained_tokens": {"vqa": 52_000, "captions": 0 if run.arm in NO_CAPTIONS else 190_000},
            "curve": [[20 * (i + 1), round(float(y), 4)] for i, y in enumerate(curve)],
            "config": "0123abcd",
        }  # fmt: skip
        if run.arm == "captioner":
            row["captioner"] = {
                "model": "detailed",
                "events_told": 100, "events_false": 18 + run.seed, "events_true": 82,
                "events_missing": 10,
            }  # fmt: skip
        done.append(row)
        compute.append(
            {"id": run.id, "group": run.group, "cpu_seconds": 180.0, "wall_seconds": 95.0}
        )
    _lines(out / "results.jsonl", done)
    _lines(out / "compute.jsonl", compute)
    for scene in range(pictures):
        _picture(out / "data" / "pictures" / f"test-{scene}.png", scene)
    return out


def _picture(name: pathlib.Path, scene: int) -> None:
    grid = np.full((96, 96, 3), (40, 60, 80), np.uint8)
    for frame in range(16):
        y, x = divmod(frame, 4)
        at = 24 * x + 2 + frame % 8 * 2
        grid[24 * y + 8 : 24 * y + 14, at : at + 6] = (200, 40 * (scene % 6), 60)
    name.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(grid).save(name)


def _json(name: pathlib.Path, value: Any) -> None:
    name.parent.mkdir(parents=True, exist_ok=True)
    name.write_text(json.dumps(value))


def _lines(name: pathlib.Path, rows: Sequence[Mapping[str, Any]]) -> None:
    name.parent.mkdir(parents=True, exist_ok=True)
    name.write_text("".join(json.dumps(row) + "\n" for row in rows))
