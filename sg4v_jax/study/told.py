"""A model's own captions of the study's clips, and what they tell: the fourth form of questions."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from sg4v_jax.infer.engine import Engine, Request
from sg4v_jax.study.videos import Videos, user_turn
from sg4v_jax.world.aspects import reader
from sg4v_jax.world.aspects.facts import EventFact, truth
from sg4v_jax.world.aspects.questions import CAPTION_PROMPT, Claim, Question
from sg4v_jax.world.aspects.scene import WorldSettings, sample_scene

CAPTION_TOKENS = 96  # the longest true caption has about 60


def describe(
    engine: Engine, scenes: Sequence[int], *, videos: Videos, every: Mapping[int, str]
) -> dict[int, str]:
    """A caption of each scene, the likeliest token at a time."""
    prompts = []
    for scene in scenes:
        shown = videos.shown(every[scene])
        prompts.append(Request([user_turn(CAPTION_PROMPT, images=len(shown))], shown))
    texts = engine.answer(prompts, max_new_tokens=CAPTION_TOKENS) if prompts else []
    return dict(zip(scenes, texts, strict=True))


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


def events_of(told: Mapping[int, str], *, split: str, world: WorldSettings) -> dict[str, int]:
    """How many events the captions tell, how many of them are false, and how many are not told.

    An event is true if one of the scene's agrees with all that is said of it; each of the scene's
    makes one told event true.
    """
    counts = dict(events_told=0, events_false=0, events_missing=0, events_true=0)
    for scene, caption in told.items():
        left = list(truth(sample_scene(scene, split=split, settings=world)).events)
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
