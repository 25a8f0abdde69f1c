"""Asks a model everything about a world data set, as filmed and under controls, and reports."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Mapping

from rich.console import Console
from rich.progress import Progress

from sg4v_jax import files
from sg4v_jax.data.record import Visual
from sg4v_jax.evals.runner import answer_items
from sg4v_jax.evals.world_qa import CONDITIONS, load_items
from sg4v_jax.infer.chat import Chat
from sg4v_jax.infer.engine import Engine
from sg4v_jax.models.params import skeleton
from sg4v_jax.models.video_lm import VideoLM
from sg4v_jax.tasks import world_report
from sg4v_jax.text.chat import DEFAULT_QUERY
from sg4v_jax.weights.store import load_settings

REPORT = "report.html"


def evaluate(
    model: str | os.PathLike,
    *,
    data: str | os.PathLike,
    out: str | os.PathLike,
    clip: str,
    facts: Mapping[str, object],
    console: Console,
) -> world_report.Results:
    """Answers the questions of `data`, writes `report.html`, `scores.json`, `answers.json`.

    Args:
      model: a model directory; its training log is shown where it has one.
      data: a folder made by `sg4v world make`.
      clip: a real video for the path check, "" for none.
      facts: what the report lists first.

    Raises:
      CheckpointError, RecordError, VideoError: a folder or file that cannot be used.
    """
    began = time.perf_counter()
    engine = Engine.load(model)
    items = load_items(data)
    answers = {}
    with Progress(console=console) as bar:
        for condition in CONDITIONS:
            task = bar.add_task(f"answer, {condition.replace('_', ' ')}", total=len(items))
            answers[condition] = answer_items(
                engine,
                items,
                condition=condition,
                progress=lambda done, task=task: bar.update(task, completed=done),
            )
    results = world_report.Results(items, answers)
    seconds = time.perf_counter() - began
    check = _path_check(engine, clip) if clip else None
    log = files.path(model) / "metrics.jsonl"
    world_report.write(
        files.path(out) / REPORT,
        engine=engine,
        results=results,
        log=log if log.exists() else None,
        facts={
            **facts,
            "questions": f"{len(items)} about {len({i.video for i in items})} held-out videos",
            "answering": f"{seconds:.0f} s for {len(CONDITIONS)} x {len(items)} answers",
        },
        check=check,
    )
    files.write_json(files.path(out) / "scores.json", world_report.summary_json(results))
    world_report.save_answers(files.path(out) / "answers.json", results)
    console.print(world_report.verdict(results))
    return results


def _path_check(engine: Engine, clip: str) -> world_report.PathCheck:
    query = DEFAULT_QUERY
    chat = Chat(engine, visual=Visual("video", clip), max_new_tokens=64)
    answer = chat.ask(query)
    seen = world_report.as_seen(engine, chat.picture)
    return world_report.PathCheck(clip=clip, query=query, answer=answer, picture=seen)


def parameters(model: str | os.PathLike) -> str:
    """A model's size in words, from its settings alone."""
    config = load_settings(model).config
    shapes = skeleton(lambda key: VideoLM(config, key=key)).shapes.values()
    return f"{sum(math.prod(s.shape) for s in shapes) / 1e6:.2f} M parameters"
