"""Benchmarks while training: `config.evals` asks a part of any of them every so many steps."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh
from rich.console import Console

from sg4v_jax.errors import ConfigError, RecordError
from sg4v_jax.evals import runner, world_qa
from sg4v_jax.evals.answering import Answerer, Pace
from sg4v_jax.evals.benchmarks import BENCHMARKS, get_protocol, open_benchmark
from sg4v_jax.evals.judges import NoJudge
from sg4v_jax.evals.predict import engine_inputs, in_groups
from sg4v_jax.evals.questions import Prediction, Question, subset
from sg4v_jax.evals.score import load_questions
from sg4v_jax.infer.engine import Engine
from sg4v_jax.train.evaluate import Evaluation
from sg4v_jax.weights.store import ModelSettings

WORLD = "world"
Params = dict[str, jax.Array]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Spec:
    """One entry of `config.evals`.

    Attributes:
      benchmark: a name of `evals.benchmarks`, or "world" for a folder of `sg4v world make`.
      data: its folder.
      every: steps between.
      limit: questions of each task (of "world": in all), spread evenly.
      protocol, tasks: as for `sg4v eval predict`.
      batch: questions at a time; a multiple of the devices that share a batch wastes nothing.
      name: of its metrics, `eval/NAME`; the benchmark's by default.
    """

    benchmark: str
    data: str
    every: int
    limit: int | None = None
    protocol: str = "sg4v"
    tasks: tuple[str, ...] = ()
    batch: int = 8
    name: str = ""


def evaluations(
    entries: Sequence[Mapping[str, Any]],
    *,
    settings: ModelSettings,
    dtype: str,
    mesh: Mesh,
    console: Console,
) -> list[Evaluation]:
    """The evaluations that `config.evals` names; question files are read now.

    Metrics are the headline, `eval/NAME`, and each task's score, `eval/NAME/TASK`; also
    `eval/NAME/missing`, the questions whose video could not be read (they count as wrong).

    Raises:
      ConfigError: an entry that cannot be used: its fields, a benchmark that needs a judge.
      RecordError: question files that cannot be used.
    """
    made = []
    for number, entry in enumerate(entries):
        spec = _spec(dict(entry), number)
        build = lambda params, **inputs: Engine(
            dataclasses.replace(settings, inputs=dataclasses.replace(settings.inputs, **inputs)),
            params,
            dtype=dtype,
            mesh=mesh,
        )
        run = (_world if spec.benchmark == WORLD else _benchmark)(spec, build, console=console)
        made.append(Evaluation(spec.name or spec.benchmark, spec.every, run))
    return made


def _spec(entry: dict[str, Any], number: int) -> Spec:
    known = {field.name for field in dataclasses.fields(Spec)}
    at = f"evals[{number}]"
    if unknown := sorted(set(entry) - known):
        raise ConfigError(f"{at}: no field {unknown[0]!r}", mend=f"use {', '.join(sorted(known))}")
    try:
        spec = Spec(**entry | {"tasks": tuple(entry.get("tasks", ()))})
    except TypeError as e:
        raise ConfigError(
            f"{at}: needs benchmark, data and every, has {', '.join(sorted(entry))}",
            mend='write dict(benchmark="mvbench", data=..., every=500, limit=10)',
        ) from e
    if spec.benchmark not in (*BENCHMARKS, WORLD):
        raise ConfigError(
            f"{at}: benchmark {spec.benchmark!r} is unknown",
            mend=f"use {', '.join((*BENCHMARKS, WORLD))}",
        )
    if spec.every < 1 or spec.batch < 1:
        raise ConfigError(f"{at}: every {spec.every}, batch {spec.batch}", mend="use 1 or more")
    return spec


def _benchmark(
    spec: Spec, build: Callable[..., Engine], *, console: Console
) -> Callable[[Params], dict[str, float]]:
    protocol = get_protocol(spec.benchmark, spec.protocol)
    if protocol.rule == "judge":
        raise ConfigError(
            f"evals: {spec.benchmark} under protocol {spec.protocol} needs a judge",
            mend="use another protocol, or predict and score after training",
        )
    loaded = load_questions(spec.benchmark, data=spec.data, tasks=spec.tasks)
    for warning in loaded.warnings:
        console.print(f"warning: {warning}", style="yellow", markup=False, soft_wrap=True)
    chosen = subset(loaded.questions, limit=spec.limit)
    questions = [q for group in in_groups(chosen, size=1) for q in group]
    room = open_benchmark(spec.benchmark)

    def run(params: Params) -> dict[str, float]:
        engine = build(params, **engine_inputs(protocol))
        answerer = Answerer(
            engine, questions, protocol=protocol, data=spec.data, pace=Pace(batch=spec.batch)
        )
        try:
            rows = _answers(answerer, questions)
        finally:
            answerer.close()
        rated = room.rate(
            questions, rows, protocol=protocol, judge=NoJudge(), data=spec.data, model=""
        )
        result = room.summarise(rated, protocol=protocol)
        name = spec.name or spec.benchmark
        metrics = {f"{name}/{c.task}": c.score for c in result.cells if c.group is None}
        metrics[name] = result.averages[result.headline]
        metrics[f"{name}/missing"] = float(sum(row.missing is not None for row in rated)) or None
        return {key: value for key, value in metrics.items() if value is not None}

    return run


def _answers(answerer: Answerer, questions: Sequence[Question]) -> dict[str, Prediction]:
    """Predictions by id.

    Raises:
      RecordError: the device failed. Training goes on without this evaluation.
    """
    try:
        rows = list(answerer.answer([q.id for q in questions]))
    except ConfigError as e:
        raise RecordError(e.message, mend="lower the batch of this entry of evals") from e
    return {row["id"]: Prediction(row["prediction"], row["error"]) for row in rows}


def _world(
    spec: Spec, build: Callable[..., Engine], *, console: Console
) -> Callable[[Params], dict[str, float]]:
    items = world_qa.load_items(spec.data)
    if spec.limit is not None and spec.limit < len(items):
        items = [items[i * len(items) // spec.limit] for i in range(spec.limit)]

    def run(params: Params) -> dict[str, float]:
        answers = runner.answer_items(build(params), items, condition="as_filmed")
        right = world_qa.hits(items, answers)
        name = spec.name or WORLD
        metrics = {name: 100 * float(np.mean(right))}
        for group in dict.fromkeys(item.group for item in items):
            member = [item.group == group for item in items]
            metrics[f"{name}/{group}"] = 100 * float(np.mean(right[member]))
        return metrics

    return run
