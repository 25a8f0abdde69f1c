"""A model's own captions of the study's clips, and what they tell: the fourth form of questions."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sg4v_jax.infer.engine import Engine, Request
from sg4v_jax.study import pictures
from sg4v_jax.study.videos import Videos, user_turn
from sg4v_jax.world.aspects import reader
from sg4v_jax.world.aspects.facts import EventFact, truth
from sg4v_jax.world.aspects.questions import CAPTION_PROMPT, Claim, Question
from sg4v_jax.world.aspects.scene import Scene

CAPTION_TOKENS = 96  # the longest true caption has about 60


def describe(
    model: str | os.PathLike,
    scenes: Sequence[Scene],
    *,
    data: str | os.PathLike,
    path: str,
    dtype: str = "float32",
) -> tuple[dict[str, str], dict[str, int]]:
    """A model's captions of scenes, by clip file, and `events_of` them.

    Args:
      model: a model directory or any other name that `--model` takes.
      data: the folder with their pictures.
      path: the visual path, "grid" or "frames".

    Raises:
      RecordError: a picture that is missing.
      CheckpointError: no such model.
    """
    engine = Engine.load(model, dtype=dtype)
    clips = [pictures.clip_file(scene) for scene in scenes]
    videos = Videos(engine.show, data=data, path=path)
    texts = captions_of(engine, clips, videos=videos)
    pairs = list(zip(scenes, texts, strict=True))
    return dict(zip(clips, texts, strict=True)), events_of(pairs)


def captions_of(engine: Engine, clips: Sequence[str], *, videos: Videos) -> list[str]:
    """A caption of each clip, the likeliest token at a time."""
    asked = []
    for clip in clips:
        shown = videos.shown(clip)
        asked.append(Request([user_turn(CAPTION_PROMPT, images=len(shown))], shown))
    return engine.answer(asked, max_new_tokens=CAPTION_TOKENS) if asked else []


def answers(asked: Sequence[Mapping[str, Any]], told: Mapping[int, str]) -> list[dict[str, Any]]:
    """The fourth form: each choice question as somebody answers it who reads the caption alone."""
    lines = []
    for line in asked:
        if line["form"] != "choice" or line["scene"] not in told:
            continue
        caption = told[line["scene"]]
        said = reader.answer(reader.read(caption), question_of(line)) or ""
        kept = {name: line[name] for name in ("scene", "aspect", "unseen", "answer")}
        name = line["id"].removesuffix("choice") + "captioning"
        head = {"id": name, "scene": kept["scene"], "aspect": kept["aspect"], "form": "captioning"}
        lines.append(head | kept | {"said": {"right": said}, "caption": caption})
    return lines


def question_of(line: Mapping[str, Any]) -> Question:
    """A line of the questions as the reader takes it: what its options say, not how."""
    claims = tuple(
        Claim(option, "", "", tuple((field, value) for field, value in tells))
        for option, tells in zip(line["options"], line["claims"], strict=True)
    )
    return Question(
        line["id"],
        line["aspect"],
        line["form"],
        line["text"],
        tuple(line["options"]),
        line["answer"],
        claims,
    )


def events_of(told: Iterable[tuple[Scene, str]]) -> dict[str, int]:
    """How many events captions tell, how many of them are false, and how many are not told.

    An event is true if one of the scene's agrees with all that is said of it; each of the scene's
    makes one told event true.
    """
    counts = dict(events_told=0, events_false=0, events_missing=0, events_true=0)
    for scene, caption in told:
        left = list(truth(scene).events)
        events = reader.read(caption).events
        for event in events:
            match = next((e for e in left if _agrees(event, e)), None)
            if match is not None:
                left.remove(match)
                counts["events_true"] += 1
        counts["events_told"] += len(events)
        counts["events_missing"] += len(left)
    counts["events_false"] = counts["events_told"] - counts["events_true"]
    return counts


def _agrees(said: EventFact, fact: EventFact) -> bool:
    told = dataclasses.asdict(said)
    return all(value is None or value == getattr(fact, field) for field, value in told.items())
