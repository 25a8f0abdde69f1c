"""A trained model and the study's data -> `answers.jsonl`, and what a result row says of them.

Each question is answered about the right video, about a wrong one and about none; the option said is
the likeliest. A generated caption of each video is read by `world.aspects.reader`, which answers
the choice questions from it.
"""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Mapping, Sequence
from typing import Any

from sg4v_jax import files
from sg4v_jax.errors import ConfigError
from sg4v_jax.infer.engine import Engine
from sg4v_jax.study import accuracy, captioning, slots
from sg4v_jax.study.likelihood import Request, Scorer
from sg4v_jax.study.videos import Videos, derangement, read_questions, user_turn
from sg4v_jax.weights.load import load_model
from sg4v_jax.world.aspects.scene import WorldSettings, sample_scene

ANSWERS = "answers.jsonl"
CONDITIONS = ("right", "wrong", "none")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """What is evaluated, and how.

    Attributes:
      split: "dev" or "test".
      world: of the scenes.
      path: "grid" (one picture a video) or "frames" (each of its frames is a picture).
      conditions: which of `CONDITIONS`; "right" must be one.
      scenes: only the questions about the first so many scenes; None for all.
      captions: describe the first so many scenes; None for all.
      dtype: of activations.
    """

    split: str
    world: WorldSettings
    path: str = "grid"
    conditions: Sequence[str] = CONDITIONS
    scenes: int | None = None
    captions: int | None = None
    dtype: str = "float32"

    def __post_init__(self):
        if "right" not in self.conditions or set(self.conditions) - set(CONDITIONS):
            raise ConfigError(
                f"conditions {self.conditions!r}", mend=f"use 'right' and others of {CONDITIONS}"
            )


def evaluate(
    model: str | os.PathLike,
    *,
    data: str | os.PathLike,
    out: str | os.PathLike,
    settings: Settings,
) -> dict[str, Any]:
    """Answers the questions of a split, writes `out/answers.jsonl`, and sums them up.

    Args:
      model: a model directory or any other name that `--model` takes.
      data: the folder with `questions/`, `pictures/` and `captions/`.

    Returns:
      The fields accuracy, unseen, captioning, yes_share, slots and captions of a result row.

    Raises:
      RecordError: a question or picture that is missing or damaged.
      CheckpointError: no such model.
    """
    loaded, params = load_model(model, dtype=settings.dtype)
    scorer = Scorer(loaded, params, dtype=settings.dtype)
    asked, every = read_questions(data, split=settings.split, scenes=settings.scenes)
    videos = Videos(scorer.show, data=data, path=settings.path)
    lines = answer(scorer, asked, videos=videos, every=every, conditions=settings.conditions)
    scenes = list(dict.fromkeys(line["scene"] for line in asked))[: settings.captions]
    engine = Engine(loaded, params, dtype=settings.dtype)
    texts = captioning.captions_of(engine, [every[scene] for scene in scenes], videos=videos)
    told = dict(zip(scenes, texts, strict=True))
    lines += captioning.answers(asked, told)
    # In ASCII: a bad caption may hold characters that some readers take for ends of lines.
    text = "".join(json.dumps(line) + "\n" for line in lines)
    files.write_atomic(files.path(out) / ANSWERS, text)
    shown = {n: sample_scene(n, split=settings.split, settings=settings.world) for n in scenes}
    return fields(lines, conditions=settings.conditions) | {
        "slots": slots.slot_accuracy(scorer, data=data, videos=videos),
        "captions": captioning.events_of((shown[n], told[n]) for n in scenes),
    }


def fields(lines: Sequence[Mapping[str, Any]], *, conditions: Sequence[str]) -> dict[str, Any]:
    """The fields accuracy, unseen, captioning and yes_share that follow from `answers.jsonl`."""
    asked = [line for line in lines if line["form"] != "captioning"]
    read = [line for line in lines if line["form"] == "captioning"]

    def right(line: Mapping[str, Any], condition: str = "right") -> tuple[str, str, bool]:
        return line["aspect"], line["form"], line["said"][condition] == line["answer"]

    described = accuracy.summary(right(line) for line in read)["cells"]
    yes_no = [line for line in asked if line["form"] == "yesno"]
    return {
        "accuracy": {c: accuracy.summary(right(line, c) for line in asked) for c in conditions},
        "unseen": accuracy.summary(right(line) for line in asked if line["unseen"]),
        "captioning": {
            aspect: round(cell["captioning"][0] / cell["captioning"][1], 6)
            for aspect, cell in described.items()
        },
        "yes_share": {
            "right": accuracy.mean(line["said"]["right"] == "yes" for line in yes_no),
            "truth": accuracy.mean(line["answer"] == "yes" for line in yes_no),
        },
    }


def answer(
    scorer: Scorer,
    asked: Sequence[Mapping[str, Any]],
    *,
    videos: Videos,
    every: Mapping[int, str],
    conditions: Sequence[str],
) -> list[dict[str, Any]]:
    """A line of `answers.jsonl` for each question.

    Args:
      every: the video of each scene of the split, those that are not asked about too.
    """
    other = derangement(list(every)) if "wrong" in conditions else {}
    look = {
        "right": lambda line: videos.shown(line["video"]),
        "wrong": lambda line: videos.shown(every[other[line["scene"]]]),
        "none": lambda line: videos.blank(),
    }
    scores = {}
    for condition in conditions:
        requests = []
        for line in asked:
            shown = look[condition](line)
            turn = user_turn(line["text"], images=len(shown))
            requests.append(Request([turn], line["options"], shown))
        scores[condition] = scorer.option_scores(requests)
    kept = ("id", "scene", "aspect", "form", "unseen", "answer")
    return [
        {name: line[name] for name in kept}
        | {"said": {c: line["options"][int(scores[c][n].argmax())] for c in conditions}}
        | {"scores": [round(float(x), 4) for x in scores["right"][n]]}
        for n, line in enumerate(asked)
    ]
