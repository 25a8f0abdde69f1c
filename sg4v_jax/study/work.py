"""The work of a study's jobs: a base pre-trained, an arm trained and asked. One process each.

Everything is in files, so that another process finds it: a training that came to its end has
`trained.json`, a run that was asked `result.json`. What is there is not done again.
"""

from __future__ import annotations

import abc
import dataclasses
import fcntl
import hashlib
import json
import os
import pathlib
import tempfile
import time
from collections.abc import Mapping, Sequence
from typing import Any, TextIO

import ml_collections
from rich.console import Console

from sg4v_jax import files
from sg4v_jax.report import machine
from sg4v_jax.study import data, training
from sg4v_jax.study.design import ARMS, Run
from sg4v_jax.study.training import RUNS

TRAINED, RESULT, COST, CURVE = "trained.json", "result.json", "compute.json", 40


@dataclasses.dataclass(frozen=True)
class _Work(abc.ABC):
    """The `do` of a job, an item at a time.

    Attributes:
      config: the study's, as JSON.
      out: the study's folder.
    """

    config: str
    out: str

    def __call__(self, items: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        if config_of(self.config).one_core:
            take_a_core()
        return [self.one(item) for item in items]

    @abc.abstractmethod
    def one(self, item: Mapping[str, Any]) -> dict[str, Any]:
        """Does one item; its row says that it is done, what came out lies in files."""


class BaseWork(_Work):
    """The job that pre-trains: items `{"id", "path", "seed"}`."""

    def one(self, item: Mapping[str, Any]) -> dict[str, Any]:
        """Trains each stage from the one before; the last one's folder is the base's."""
        config = config_of(self.config)
        folder, init, spent = f"{self.out}/{training.BASES}/{item['id']}", "", Spent()
        stages = list(config.order)
        for number, stage in enumerate(stages):
            last = number == len(stages) - 1
            where = folder if last else f"{folder}.{stage}"
            c = training.stage_config(
                config,
                out=self.out,
                path=item["path"],
                seed=item["seed"],
                stage=stage,
                init=init,
            )
            train(c, where)
            init = where
        spent.write(folder, id=item["id"], group="base")
        return {"id": item["id"], "error": None}


class ArmWork(_Work):
    """The job that trains and asks arms: items as `Run`, with `captioner`."""

    def one(self, item: Mapping[str, Any]) -> dict[str, Any]:
        """The result row of one run."""
        run = Run(**{f.name: item[f.name] for f in dataclasses.fields(Run)})
        folder = files.path(self.out) / RUNS / run.id
        if not (folder / RESULT).exists():
            config, spent = config_of(self.config), Spent()
            told = self.captions(config, run, item["captioner"]) if item["captioner"] else {}
            c = training.arm_config(config, run, out=self.out)
            train(c, str(folder))
            row = result(config, run, out=self.out, trained=c) | told
            spent.write(str(folder), id=run.id, group=run.group)
            files.write_json(folder / RESULT, row)
        return {"id": run.id, "error": None}

    def captions(self, config, run: Run, captioner: str) -> dict[str, Any]:
        """Writes the captions of another seed's model, and counts its errors."""
        from sg4v_jax.study import captioning

        path = files.path(self.out) / data.FOLDER / data.captions_file(run)
        counts = path.with_name(f"{path.stem}.counts.json")
        if not counts.exists():
            made, events = captioning.describe(
                f"{self.out}/{RUNS}/{captioner}",
                data.caption_scenes(config, run.seed),
                data=f"{self.out}/{data.FOLDER}",
                path=run.path,
            )
            data.write_captioner(config, run, out=self.out, made=made)
            files.write_json(counts, events)
        return {"captioner": {"model": captioner, **files.read_json(counts)}}


def take_a_core() -> None:
    """Keeps this process on one core, one that no other worker of this machine has where it can.

    jax then computes in one thread: sums have one order, whatever the number of workers, and two
    workers are faster than one with two threads. Nothing happens where cores cannot be chosen.
    """
    global _core
    if _core is not None or not hasattr(os, "sched_setaffinity"):
        return
    cores = sorted(os.sched_getaffinity(0))
    for core in cores:
        name = f"sg4v-{os.getuid()}-core-{core}.lock"
        lock = open(pathlib.Path(tempfile.gettempdir()) / name, "w")  # noqa: SIM115
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            lock.close()
            continue
        _core = lock  # held as long as the process lives
        os.sched_setaffinity(0, {core})
        return
    os.sched_setaffinity(0, {cores[os.getpid() % len(cores)]})


_core: TextIO | None = None


def config_of(text: str) -> ml_collections.ConfigDict:
    """The study's config from its JSON."""
    return ml_collections.ConfigDict(json.loads(text))


def train(config: ml_collections.ConfigDict, folder: str) -> None:
    """Trains to the end in `folder`, or goes on there.

    Raises:
      KeyboardInterrupt: told to stop; what was trained is saved.
    """
    from sg4v_jax.tasks import video_sft

    if (files.path(folder) / TRAINED).exists():
        return
    files.path(folder).mkdir(parents=True, exist_ok=True)
    with open(files.path(folder) / "log.txt", "a") as log:
        outcome = video_sft.train(config, folder=folder, console=Console(file=log, width=100))
    if not outcome.finished:
        raise KeyboardInterrupt
    files.write_json(files.path(folder) / TRAINED, {"step": int(outcome.state.step)})


def result(
    config: ml_collections.ConfigDict, run: Run, *, out: str, trained: ml_collections.ConfigDict
) -> dict[str, Any]:
    """Asks a trained model, and gives the row of its run; no times are in it."""
    from sg4v_jax.study import evaluate

    folder, arm = f"{out}/{RUNS}/{run.id}", ARMS[run.arm]
    asked = evaluate.evaluate(
        folder,
        data=f"{out}/{data.FOLDER}",
        out=folder,
        settings=evaluate.Settings(
            split=config.split,
            world=data.settings_of(config),
            path=run.path,
            # Points of dose curves are told by their accuracy alone.
            conditions=evaluate.CONDITIONS[:1] if run.group == "dose" else evaluate.CONDITIONS,
            scenes=config.asked.scenes or None,
            captions=config.asked.captions or None,
        ),
    )
    rows = trained.optim.steps * trained.data.batch_rows
    return {
        "id": run.id,
        **dataclasses.asdict(run),
        "dose": arm.point,
        "split": config.split,
        "steps": trained.optim.steps,
        "rows": rows,
        **seen(trained, folder),
        **asked,
        "curve": curve(f"{folder}/metrics.jsonl"),
        "config": config_hash(trained, out=out),
    }


def config_hash(trained: ml_collections.ConfigDict, *, out: str) -> str:
    """A hash of a training's config, the same wherever the study's folder lies."""
    text = trained.to_json_best_effort().replace(json.dumps(out)[1:-1], "OUT")
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def seen(trained: ml_collections.ConfigDict, folder: str) -> dict[str, Any]:
    """Samples and trained tokens of a run, by part, and how many records are cut to a row."""
    from sg4v_jax.tasks import run_setup

    quiet = Console(file=open(os.devnull, "w"))  # noqa: SIM115
    rows = run_setup.build_rows(
        trained, run_setup.model_settings(trained), console=quiet, folder=folder
    )
    samples: dict[str, int] = {}
    tokens: dict[str, int] = {}
    for row in range(trained.optim.steps * trained.data.batch_rows):
        for number in rows.records_of(row).tolist():
            part = rows.index.records[number].part
            samples[part] = samples.get(part, 0) + 1
            tokens[part] = tokens.get(part, 0) + int(rows.index.lengths[number, 2])
    return {"records": samples, "trained_tokens": tokens, "records_cut": rows.index.truncated}


def curve(log: str) -> list[list[float]]:
    """[step, loss] of a training log, about `CURVE` of them."""
    lines = [r for r in files.read_jsonl(log) if "loss" in r]
    every = max(len(lines) // CURVE, 1)
    return [[r["step"], round(r["loss"], 6)] for r in lines[every - 1 :: every]]


class Spent:
    """What something cost since this was made, in this process."""

    def __init__(self):
        self._wall, self._cpu = time.perf_counter(), time.process_time()

    def write(self, folder: str, **about: Any) -> None:
        """Adds it to `compute.json` in `folder`: a training that was cut off has several parts."""
        path = files.path(folder) / COST
        before = files.read_json(path) if path.exists() else {}
        files.write_json(
            path,
            {
                **about,
                "cpu": machine.describe(())["cpu"],
                "cpu_seconds": before.get("cpu_seconds", 0) + time.process_time() - self._cpu,
                "wall_seconds": before.get("wall_seconds", 0) + time.perf_counter() - self._wall,
            },
        )
