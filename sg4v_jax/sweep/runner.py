"""`run`: all runs of a sweep through one job, and the table when they are done."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import time
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console

from sg4v_jax.jobs import Store, begin, merge, open_store, reopen, run_pool
from sg4v_jax.jobs.lease import latest_claims, read_claim
from sg4v_jax.jobs.manifest import Manifest
from sg4v_jax.jobs.results import read_done, read_part
from sg4v_jax.sweep import table
from sg4v_jax.sweep.expand import Run, base_config, check_runs
from sg4v_jax.sweep.launchers import Launcher, Local
from sg4v_jax.sweep.work import RunWork

JOB = "sweep"  # the job's folder, beside the runs'


@dataclasses.dataclass(frozen=True)
class Finished:
    """A sweep that is done.

    Attributes:
      rows: one a run, in order: `id`, `error` (None if all went well), `overrides`, `workdir`,
        `metrics`.
      files: where the table was written.
    """

    rows: tuple[dict[str, Any], ...]
    files: tuple[str, ...]

    @property
    def failed(self) -> tuple[dict[str, Any], ...]:
        """The rows of the runs that failed."""
        return tuple(row for row in self.rows if row["error"] is not None)


def run(
    runs: Sequence[Run],
    *,
    config: str,
    out: str | os.PathLike,
    launcher: Launcher | None = None,
    jobs: int = 1,
    metrics: Sequence[str] = (),
    restarts: int = 5,
    lease: float = 60.0,
    retry_failed: bool = False,
    logs: str = "",
    console: Console | None = None,
) -> Finished:
    """Brings `runs` to their end and writes `out/table.json`, `.csv` and `.md`.

    Called again after a kill, with the same arguments, it goes on: runs that are done stay done,
    one that was stopped resumes from its last checkpoint, and the table is the one that an
    uninterrupted sweep writes. Several machines that share `out` may call it at once.

    Args:
      runs: as `expand` gives them, or made by hand; each trains in `out/NAME`.
      config: the config file of all of them, with its argument.
      out: a folder, or `gs://...`, of this sweep alone.
      launcher: what starts a run; this machine by default.
      jobs: runs at a time.
      metrics: what to read of each run's `metrics.jsonl`; see `work.read_metrics`.
      restarts: how often a run may be stopped without having saved in between.
      lease: seconds until the run of a machine that died is taken up by another.
      retry_failed: try the runs that failed in a finished sweep again.
      logs: a local folder for the runs' output; `out/logs` by default where `out` is local.

    Raises:
      ConfigError: overrides that the config cannot take.
      WorkdirError: another sweep lives in `out`; the message names the differences.
    """
    out, launcher = os.fspath(out), launcher or Local()
    runs = check_runs(runs, file=config)
    store = open_store(f"{out.rstrip('/')}/{JOB}")
    items = [{"id": r.name, "overrides": dict(r.overrides)} for r in runs]
    begin(store, items, shard_size=1, settings=_settings(config, metrics=metrics))
    if retry_failed:
        reopen(store)
    work = RunWork(
        launcher,
        os.path.abspath(config) if isinstance(launcher, Local) else config,
        out,
        logs or default_logs(out),
        tuple(metrics),
        jobs,
        restarts,
    )
    # Processes, not threads: each can be told to stop while it waits for its run, and does so
    # when this process is killed.
    run_pool(store, work, workers=jobs, attempts=1, lease=lease, console=console)
    rows = tuple(_whole(row, of=r, workdir=work.workdir(r)) for row, r in _pairs(store, runs))
    written = table.write(rows, out)
    launcher.finish(jobs)
    return Finished(rows, tuple(written))


def states(runs: Sequence[Run], *, out: str | os.PathLike) -> list[tuple[str, str]]:
    """(name, state) of each run: `done`, `failed: WHY`, `running` or `waiting`."""
    store = open_store(f"{os.fspath(out).rstrip('/')}/{JOB}")
    if "manifest.json" not in store.names(""):
        return [(r.name, "waiting") for r in runs]
    claims, found = latest_claims(store), {}
    for shard in Manifest.load(store).shards:
        for item in Manifest.load(store).read_items(store, shard):
            found[item["id"]] = _state(store, shard.name, claims.get(shard.name, 0))
    return [(r.name, found.get(r.name, "not of the sweep that lives there")) for r in runs]


def default_logs(out: str) -> str:
    """A local folder for the logs of the sweep in `out`."""
    if "://" not in out:
        return f"{out.rstrip('/')}/logs"
    mark = hashlib.sha256(out.encode()).hexdigest()[:8]  # buckets may have folders of one name
    return f"runs/sweep-logs/{out.rstrip('/').rsplit('/', 1)[-1]}-{mark}"


def _pairs(store: Store, runs: Sequence[Run]):
    return zip(merge(store), runs, strict=True)


def _whole(row: Mapping[str, Any], *, of: Run, workdir: str) -> dict[str, Any]:
    """A row with all of its fields; where the worker itself failed, the job knows the error alone."""
    empty = {"id": of.name, "error": None, "overrides": dict(of.overrides), "workdir": workdir}
    return empty | {"metrics": {}} | {k: v for k, v in row.items() if k != "attempts"}


def _state(store: Store, shard: str, claim: int) -> str:
    mark = read_done(store, shard)
    if mark:
        [row] = read_part(store, mark)
        return "done" if row["error"] is None else f"failed: {row['error']}"
    held = read_claim(store, shard, number=claim)
    return "running" if held and held.expires > time.time() else "waiting"


def _settings(config: str, *, metrics: Sequence[str]) -> dict[str, Any]:
    """What results depend on beside the overrides: each field of the config, by name."""
    values = json.loads(json.dumps(base_config(config).to_dict(), default=list))
    return {"metrics": list(metrics), **dict(_fields(values, "config"))}


def _fields(value: Mapping[str, Any], prefix: str):
    for key, inner in value.items():
        if isinstance(inner, dict) and inner:
            yield from _fields(inner, f"{prefix}.{key}")
        else:
            yield f"{prefix}.{key}", inner
