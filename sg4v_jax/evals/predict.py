"""`predict`: a model answers a benchmark's questions, on all devices and any number of hosts.

OUT/run.json            what is asked, of what, and how
OUT/answers/            rows as they come: a run that was stopped anywhere goes on behind them
OUT/job-*/              shards of questions that hosts claim (`jobs`)
OUT/predictions.jsonl   a row for each question, when all are answered
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import platform
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import jax
from rich.console import Console

import sg4v_jax
from sg4v_jax import files
from sg4v_jax.errors import WorkdirError
from sg4v_jax.evals.answering import Answerer, Pace, view_of
from sg4v_jax.evals.benchmarks import get_protocol
from sg4v_jax.evals.keeping import Bar, Kept
from sg4v_jax.evals.protocol import Protocol
from sg4v_jax.evals.questions import Question, subset
from sg4v_jax.evals.run_files import PREDICTIONS, RUN, prediction_row
from sg4v_jax.evals.score import load_questions
from sg4v_jax.infer.engine import Engine
from sg4v_jax.jobs import begin, merge, open_store, reopen, work

_PACE = Pace()
# Hosts that may die over a group before it is left alone: what they had answered is kept, so a
# slow group gets done however often hosts are taken away.
_DEATHS = 50
# Of run.json: may differ from run to run, or from host to host.
_FREE = ("data", "tasks", "limit", "versions", "counts")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Plan:
    """What to ask.

    Attributes:
      benchmark, protocol, data, tasks, limit: as on the command line.
      model: what results call the model.
      shard: questions that are claimed and committed together (and the rest of their videos').
      lease: seconds after which the shard of a host that died is taken up by another.
      retry_failed: ask again what failed.
    """

    benchmark: str
    data: str
    model: str
    protocol: str = "sg4v"
    tasks: tuple[str, ...] = ()
    limit: int | None = None
    shard: int = 64
    lease: float = 60.0
    retry_failed: bool = False


def engine_inputs(protocol: Protocol, **instead: Any) -> dict[str, Any]:
    """Fields of `InputSpec` that replace a model's own under `protocol`.

    Args:
      instead: fields that the user sets, such as `visual` or `double_bos`; None leaves them.
    """
    return protocol.inputs | {name: value for name, value in instead.items() if value is not None}


def predict(
    plan: Plan,
    *,
    engine: Engine,
    out: str | os.PathLike,
    pace: Pace = _PACE,
    console: Console | None = None,
) -> dict[str, Any]:
    """Answers all questions of `plan` and writes `predictions.jsonl`; returns what `run.json` holds.

    Several hosts may do so at once with the same arguments on a shared place; each returns when
    all questions are answered.

    Raises:
      WorkdirError: `out` holds another run.
      RecordError, ConfigError: question files or options that cannot be used.
    """
    console = console or Console(stderr=True)
    protocol = get_protocol(plan.benchmark, plan.protocol)
    loaded = load_questions(plan.benchmark, data=plan.data, tasks=plan.tasks)
    for warning in loaded.warnings:
        console.print(f"warning: {warning}", style="yellow", markup=False, soft_wrap=True)
    questions = subset(loaded.questions, limit=plan.limit)
    run = _describe(plan, protocol, engine, pace, questions)
    _claim(files.path(out), run)
    groups = in_groups(questions, size=plan.shard)
    items = [{"id": f"{n:06d}", "questions": [q.id for q in g]} for n, g in enumerate(groups)]
    kept = Kept(out, questions, protocol=protocol)
    job = hashlib.sha256(json.dumps(items).encode()).hexdigest()[:8]
    store = open_store(f"{os.fspath(out)}/job-{job}")
    begin(store, items, shard_size=1, settings=_fixed(run))
    if plan.retry_failed:
        reopen(store)
    with Bar(console, sizes=[len(group) for group in groups]) as bar:
        answerer = Answerer(
            engine,
            [question for group in groups for question in group],
            protocol=protocol,
            data=plan.data,
            pace=pace,
            keep=lambda rows: (kept.add(rows), bar.add(len(rows))),
            known=kept.read(failed=not plan.retry_failed),
        )

        def do(items: Sequence[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
            bar.look(store)
            for item in items:
                rows = list(answerer.answer(item["questions"]))
                failed = sum(row["error"] is not None for row in rows)
                error = f"{failed} questions failed" if failed else None
                yield {"id": item["id"], "rows": rows, "error": error}

        try:
            work(store, do, attempts=1, lease=plan.lease, deaths=_DEATHS)
        finally:
            answerer.close()
    rows = _merged(merge(store), groups, protocol=protocol)
    lines = (json.dumps(rows[q.id], ensure_ascii=False) + "\n" for q in questions)
    files.write_atomic(files.path(out) / PREDICTIONS, "".join(lines))
    failed = [row for row in rows.values() if row["error"] is not None]
    measured = answerer.clock.to_json() | {"pictures": answerer.pictures_made}
    run["counts"] = {"questions": len(rows), "failed": len(failed), "host": measured}
    files.write_json(files.path(out) / RUN, run)
    for row in failed[:5]:
        console.print(f"failed: {row['id']}: {row['error']}", style="yellow", markup=False)
    return run


def in_groups(questions: Sequence[Question], *, size: int) -> list[list[Question]]:
    """Groups of `size` questions or a few more; those that share a picture stand in one group."""
    views: dict[Any, list[Question]] = {}
    for question in questions:
        views.setdefault(view_of(question), []).append(question)
    groups: list[list[Question]] = []
    for members in views.values():
        if not groups or len(groups[-1]) >= size:
            groups.append([])
        groups[-1] += members
    return groups


def _merged(
    found: Iterable[Mapping[str, Any]],
    groups: Sequence[Sequence[Question]],
    *,
    protocol: Protocol,
) -> dict[str, dict[str, Any]]:
    """Prediction rows by question id; of a group that broke as a whole, rows with its error."""
    rows = {}
    for item, group in zip(found, groups, strict=True):
        rows |= {row["id"]: row for row in item.get("rows", ())}
        for question in group:
            if question.id not in rows:
                prompt = protocol.turns(question)[0].content
                rows[question.id] = prediction_row(
                    question, prompt=prompt, prediction=None, error=item["error"]
                )
    return rows


def _describe(
    plan: Plan, protocol: Protocol, engine: Engine, pace: Pace, questions: Sequence[Question]
) -> dict[str, Any]:
    inputs = engine.settings.inputs
    new = pace.max_new_tokens or protocol.max_new_tokens
    return {
        "benchmark": plan.benchmark,
        "protocol": plan.protocol,
        "model": plan.model,
        "weights": engine.fingerprint(),
        "data": plan.data,
        "tasks": list(dict.fromkeys(q.task for q in questions)),
        "limit": plan.limit,
        "generation": protocol.generation | {"max_new_tokens": new},
        "visual": inputs.visual,
        "frames": inputs.frames,
        "inputs": {
            "sampling": inputs.sampling,
            "band": inputs.band,
            "longest_side": inputs.longest_side,
            "template": inputs.template,
            "double_bos": inputs.double_bos,
        },
        "note": protocol.note,
        "versions": {
            "sg4v_jax": sg4v_jax.__version__,
            "jax": jax.__version__,
            "python": platform.python_version(),
            "devices": f"{jax.local_device_count()} x {jax.local_devices()[0].device_kind}",
        },
        "counts": {"questions": len(questions)},
    }


def _fixed(run: Mapping[str, Any]) -> dict[str, Any]:
    """What answers depend on."""
    return {key: value for key, value in run.items() if key not in _FREE}


def _claim(out: Any, run: Mapping[str, Any]) -> None:
    """Takes the folder for this run; predictions of another choice of questions go.

    Raises:
      WorkdirError: answers there are of another run.
    """
    name = out / RUN
    if name.exists():
        old = files.read_json(name)
        other = [
            f"{key}: {old.get(key)!r} there, {run.get(key)!r} now"
            for key in {**_fixed(old), **_fixed(run)}
            if old.get(key) != run.get(key)
        ]
        if other:
            raise WorkdirError(
                f"{out} holds another run:\n    " + "\n    ".join(other),
                mend="choose another --out, or repeat the run's options",
            )
        if (old["tasks"], old["limit"]) != (run["tasks"], run["limit"]):
            (out / PREDICTIONS).unlink(missing_ok=True)
    files.write_json(name, run)
