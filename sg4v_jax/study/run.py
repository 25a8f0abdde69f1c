"""`sg4v study run`: data once, a pre-trained base for each seed, then every arm; each a resumable job.

    OUT/study.json      the design; another study is refused
    OUT/data/           data.py
    OUT/bases/          bases by path and seed, one job
    OUT/runs/           arms by seed, a job for those whose data are there, one for captioners
    OUT/results.jsonl   one line a run, in the order of the design; the same for the same config
    OUT/compute.jsonl   what each run cost; other each time

Killed anywhere and begun again it goes on: what is done stays done, and a training that was cut
off goes on from its last checkpoint.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from typing import Any

import ml_collections
from rich.console import Console

from sg4v_jax import files
from sg4v_jax.errors import ConfigError, WorkdirError
from sg4v_jax.jobs import begin, merge, open_store, reopen, run_pool
from sg4v_jax.report import machine
from sg4v_jax.study import data, guessers, training
from sg4v_jax.study.design import Run, runs, sources
from sg4v_jax.study.work import ArmWork, BaseWork

STUDY, RESULTS, COMPUTE, GUESSER = "study.json", "results.jsonl", "compute.jsonl", "guesser.json"
# Huge pages spare a small model's step a quarter of its time (glibc; others ignore it).
WORKER = {"GLIBC_TUNABLES": "glibc.malloc.hugetlb=1"}


def run(
    config: ml_collections.ConfigDict,
    *,
    out: str,
    arms: Sequence[str] = (),
    seeds: Sequence[int] = (),
    jobs: int = 1,
    lease: float = 60.0,
    retry_failed: bool = False,
    command: str = "",
    console: Console,
) -> list[dict[str, Any]]:
    """Makes what is missing of a study, and gives its result rows, the failed ones too.

    Args:
      config: of `configs/study/`.
      out: the study's folder, on a disk that all machines share if several work on it.
      arms, seeds: only these. Data are always made for the whole design.
      jobs: processes at a time.
      lease: seconds until what a machine left behind is taken up by another.
      retry_failed: try again what failed.
      command: by which a user would begin the same study, for its report.

    Raises:
      WorkdirError: another study is in `out`.
      ConfigError: a design that contradicts itself.
    """
    whole = runs(config.rows)
    wanted = runs(config.rows, arms=arms, seeds=seeds)
    out = os.path.abspath(out)
    _claim(config, out=out, command=command)
    data.make(config, whole, out=out, jobs=jobs, said=lambda x: console.print(x, markup=False))
    _write_guesser(config, whole, out=out)
    needed = _needed(wanted, whole)
    how = dict(out=out, jobs=jobs, lease=lease, retry=retry_failed, console=console)
    bases = sorted({(r.path, r.seed) for r in needed})
    console.print(f"{len(bases)} bases, {len(needed)} runs")
    _job("bases", BaseWork(config.to_json_best_effort(), out), bases_of(bases), **how)
    rows: dict[str, dict[str, Any]] = {}
    for name, part in (
        ("runs", [r for r in needed if r.arm != "captioner"]),
        ("captioners", [r for r in needed if r.arm == "captioner"]),
    ):
        if part:
            work = ArmWork(config.to_json_best_effort(), out)
            rows |= _job(name, work, [_item(r, whole) for r in part], **how)
    return _write_results(whole, rows, out=out)


def bases_of(names: Sequence[tuple[str, int]]) -> list[dict[str, Any]]:
    """Items of the job that makes bases."""
    return [{"id": f"{path}-{seed}", "path": path, "seed": seed} for path, seed in names]


def _item(run: Run, whole: Sequence[Run]) -> dict[str, Any]:
    source = sources(run, of=whole)
    captioner = source.id if source else None
    return {"id": run.id, **dataclasses.asdict(run), "captioner": captioner}


def _needed(wanted: Sequence[Run], whole: Sequence[Run]) -> list[Run]:
    """`wanted`, and the models that caption for them."""
    ids = {r.id for r in wanted}
    ids |= {s.id for r in wanted if (s := sources(r, of=whole))}
    return [r for r in whole if r.id in ids]


def _job(
    name: str,
    work,
    items: Sequence[dict[str, Any]],
    *,
    out: str,
    jobs: int,
    lease: float,
    retry: bool,
    console: Console,
) -> dict[str, dict[str, Any]]:
    """Brings a job to its end; its rows by id.

    A job's items are fixed when it begins. A choice of arms or seeds is a job of its own, whose
    work finds what another one has already done.
    """
    ids = [item["id"] for item in items]
    mark = hashlib.sha256("\n".join(ids).encode()).hexdigest()[:8]
    store = open_store(f"{out}/jobs/{name}-{mark}")
    begin(store, list(items), shard_size=1, settings={"study": os.path.basename(out)})
    if retry:
        reopen(store)
    console.print(f"{name}: {len(items)}", markup=False)
    with _environment(WORKER):
        run_pool(
            store, work, workers=min(jobs, len(items)), attempts=1, lease=lease, console=console
        )
    rows = {row["id"]: row for row in merge(store)}
    for row in rows.values():
        if row.get("error") is not None:
            console.print(f"{row['id']} failed: {row['error']}", style="red", markup=False)
    return rows


@contextlib.contextmanager
def _environment(changes: dict[str, str]) -> Iterator[None]:
    """Environment variables for processes that are started within."""
    old = {name: os.environ.get(name) for name in changes}
    os.environ.update(changes)
    try:
        yield
    finally:
        for name, value in old.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _claim(config: ml_collections.ConfigDict, *, out: str, command: str) -> None:
    """Writes `study.json`, or checks that the same study is there.

    Raises:
      WorkdirError: the config of what is there differs; the commit may.
    """
    path, text = files.path(out) / STUDY, json.loads(config.to_json_best_effort())
    if path.exists():
        known = files.read_json(path)
        if {name: known.get(name) for name in text} != text:
            raise WorkdirError(
                f"{path}: another study, or another config of it",
                mend="use another --out; what was run stays as it was run",
            )
        return
    files.path(out).mkdir(parents=True, exist_ok=True)
    here = machine.describe(("jax", "flax", "optax", "numpy"))
    made = {"commit": here["commit"], "versions": here["versions"], "system": here["system"]}
    files.write_json(path, {**text, "command": command, **made})


def _write_guesser(config: ml_collections.ConfigDict, whole: Sequence[Run], *, out: str) -> None:
    """What guessing from the questions' texts alone gets, counted from all training questions."""
    path = files.path(out) / GUESSER
    if path.exists():
        return
    folder = files.path(out) / data.FOLDER
    names = sorted({data.questions_file(r) for r in whole if r.path == "grid"})
    rows = [row for name in names for row in files.read_json(folder / name)]
    found = guessers.accuracy_of(rows, data=str(folder), splits=("dev", "test"))
    files.write_json(path, found)


def _write_results(
    whole: Sequence[Run], rows: dict[str, dict[str, Any]], *, out: str
) -> list[dict[str, Any]]:
    """`results.jsonl` and `compute.jsonl` of all runs that are done, in the design's order."""
    results, costs = [], []
    for run_ in whole:
        folder = files.path(out) / training.RUNS / run_.id
        if (folder / "result.json").exists():
            results.append(files.read_json(folder / "result.json"))
            costs.append(files.read_json(folder / "compute.json"))
    for name in sorted({r.base for r in whole}):
        folder = files.path(out) / training.BASES / name
        if (folder / "compute.json").exists():
            costs.append(files.read_json(folder / "compute.json"))
    if not results and not any(r.get("error") for r in rows.values()):
        raise ConfigError(f"{out}: no run came to its end", mend="see what failed above")
    text = "".join(json.dumps(row) + "\n" for row in results)
    files.write_atomic(files.path(out) / RESULTS, text)
    files.write_atomic(files.path(out) / COMPUTE, "".join(json.dumps(row) + "\n" for row in costs))
    return [*results, *(row for row in rows.values() if row.get("error") is not None)]
