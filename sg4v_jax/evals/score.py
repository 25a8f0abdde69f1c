"""`score`: question files and predictions in, scores out. Needs no model and no accelerator."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterable, Sequence
from typing import Any

from sg4v_jax import files
from sg4v_jax.errors import ConfigError, RecordError
from sg4v_jax.evals import judges, scores
from sg4v_jax.evals.benchmarks import get_protocol, open_benchmark
from sg4v_jax.evals.judges import Judge
from sg4v_jax.evals.questions import Loaded, Question, subset
from sg4v_jax.evals.run_files import RUN, Answers, read_answers, read_run
from sg4v_jax.evals.scores import Row

OFFICIAL = "official"  # the folder of the benchmark's own files


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """How to score.

    Attributes:
      protocol: whose rules; None takes those of the run, or `official`.
      tasks, limit: which questions; by default those that the run asked.
      judge: as `judges.open_judge` takes it; `budget` is the most requests it may send.
      strict: rows without an answer are an error; the released MVBench script cannot have any.
      skip_missing: leave rows without an answer (or without a rating) out; they are wrong
        otherwise.
      answers: Video-Bench's folder of files with answers.
      q1_twice: see `videochatgpt.scoring.rate`.
    """

    protocol: str | None = None
    tasks: tuple[str, ...] = ()
    limit: int | None = None
    judge: str = "none"
    budget: int | None = None
    strict: bool = False
    skip_missing: bool = False
    answers: str | None = None
    q1_twice: bool = False
    model: str = ""


def score(
    benchmark: str,
    *,
    data: str | os.PathLike,
    predictions: str | os.PathLike,
    out: str | os.PathLike,
    options: Options = Options(),
) -> dict[str, Any]:
    """Scores predictions and writes `scores.json`, `rows.jsonl` and `official/` into `out`.

    Args:
      benchmark: a name of `benchmarks.BENCHMARKS`.
      data: the benchmark's folder.
      predictions: a run's folder, a file of it, or the benchmark's own prediction files.

    Returns:
      what `scores.json` holds.

    Raises:
      RecordError: files that cannot be used, or no prediction for any question.
      ConfigError: an option that does not fit.
    """
    room = open_benchmark(benchmark)
    run = read_run(predictions)
    _check_run(run, benchmark, predictions)
    protocol = get_protocol(benchmark, options.protocol or run.get("protocol") or "official")
    loaded, limit = _load(benchmark, data, run, options)
    questions = subset(loaded.questions, limit=limit)
    answers = read_answers(predictions, benchmark=room, loaded=loaded)
    questions, left_tasks = _answered_tasks(questions, answers, options)
    judge = judges.open_judge(
        options.judge,
        stored=room.read_judged,
        log=files.path(out) / judges.LOG,
        cache=str(files.path(out) / "judge_answers"),
        budget=options.budget,
    )
    model = options.model or run.get("model") or "unknown"
    rows = room.rate(
        questions,
        answers.by_id,
        protocol=protocol,
        judge=judge,
        data=data,
        model=model,
        q1_twice=options.q1_twice,
    )
    if options.strict:
        _refuse_missing(rows)
    kept, left_out = rows, []
    if options.skip_missing:
        kept = [r for r in rows if r.missing is None and r.rating is not None]
        left_out = [r for r in rows if r.missing is not None or r.rating is None]
    result = room.summarise(kept, protocol=protocol)
    facts = {
        "benchmark": benchmark,
        "protocol": protocol.name,
        "model": model,
        "judge": judge.name,
        "skip_missing": options.skip_missing,
        "limit": limit,
        "expected": loaded.expected,
        "found": loaded.found,
        "warnings": [
            *loaded.warnings,
            *_warnings(rows, kept, left_tasks, judge=judge, published=room.JUDGES),
        ],
        "left_out": left_out,
    }
    room.write(kept, files.path(out) / OFFICIAL, model=model, absent=judge.absent)
    if run and not (files.path(out) / RUN).exists():
        files.write_json(files.path(out) / RUN, run)  # so that reports know how it was made
    return scores.write_scores(out, result, facts=facts)


def _check_run(run: Any, benchmark: str, predictions: str | os.PathLike) -> None:
    made_for = run.get("benchmark", benchmark)
    if made_for != benchmark:
        raise ConfigError(
            f"{predictions}: predictions for {made_for}, not {benchmark}",
            mend=f"use --benchmark={made_for}",
        )


def _load(
    benchmark: str, data: str | os.PathLike, run: Any, options: Options
) -> tuple[Loaded, int | None]:
    tasks = options.tasks or tuple(run.get("tasks") or ())
    limit = options.limit if options.limit is not None else run.get("limit")
    return load_questions(benchmark, data=data, tasks=tasks, answers=options.answers), limit


def load_questions(
    benchmark: str,
    *,
    data: str | os.PathLike,
    tasks: Iterable[str] = (),
    answers: str | None = None,
) -> Loaded:
    """The questions of a benchmark; `answers` is for Video-Bench alone.

    Raises:
      ConfigError: answers for another. What the benchmark's `load` raises.
    """
    more = {"answers": answers} if answers else {}
    if answers and benchmark != "videobench":
        raise ConfigError(f"{benchmark} takes no files of answers", mend="leave --answers out")
    return open_benchmark(benchmark).load(data, tasks=tasks, **more)


def _answered_tasks(
    questions: Sequence[Question], answers: Answers, options: Options
) -> tuple[Sequence[Question], list[str]]:
    """Leaves tasks out that were not asked for and have no prediction; gives their names.

    A run says which tasks it asked; of official files, only those that are there count.
    """
    if not any(question.id in answers.by_id for question in questions):
        raise RecordError(
            "no prediction is for any of the questions",
            mend="see --benchmark, --data, --tasks and --predictions",
        )
    if answers.run or options.tasks:
        return questions, []
    there = {question.task for question in questions if question.id in answers.by_id}
    gone = dict.fromkeys(q.task for q in questions if q.task not in there)
    return tuple(q for q in questions if q.task in there), list(gone)


def _refuse_missing(rows: Sequence[Row]) -> None:
    lost = [row for row in rows if row.missing is not None]
    if lost:
        raise RecordError(
            f"{len(lost)} questions have no answer, the first is {lost[0].question.id}: "
            f"{lost[0].missing}",
            mend="fetch the videos and predict again with --retry_failed, or score without --strict",
        )


def _warnings(
    rows: Sequence[Row],
    kept: Sequence[Row],
    left_tasks: Sequence[str],
    *,
    judge: Judge,
    published: Sequence[str],
) -> list[str]:
    """What a reader of the numbers must know besides the question files."""
    found = [f"{task}: no prediction at all; the task is left out" for task in left_tasks]
    if unjudged := sum(row.unjudged for row in rows):
        found.append(f"{unjudged} answers wanted a judge and have no usable reply ({judge.name})")
    if judge.asks and judge.name.removeprefix("openai:") not in published:
        found.append(
            f"judge {judge.name} is not the published one ({', '.join(published)}): these numbers "
            "do not compare with published ones"
        )
    if unrated := sum(row.rating is None for row in kept):
        found.append(f"{unrated} rows have no rating, so their cells have no score")
    return found
