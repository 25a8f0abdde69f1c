"""A run's folder: `scores.json` and `rows.jsonl` of `sg4v eval score`, `run.json` of `predict`."""

from __future__ import annotations

import dataclasses
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from sg4v_jax import files
from sg4v_jax.errors import RecordError

TITLES = {
    "tempcompass": "TempCompass",
    "videobench": "Video-Bench",
    "mvbench": "MVBench",
    "videochatgpt": "Video-ChatGPT benchmark",
}
_SCORES = ("benchmark", "protocol", "model", "judge", "averages", "headline", "cells", "counts")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Row:
    """One question with its answer and rating; see `evals.scores`."""

    id: str
    task: str
    group: str | None
    video: str
    question: str
    gold: str
    prediction: str | None
    rating: float | None
    judged: bool = False
    missing: bool = False


@dataclasses.dataclass(frozen=True, kw_only=True)
class Run:
    """A scored run.

    Attributes:
      folder: where it lies.
      name: how the report calls it, distinct within a benchmark.
      scores: `scores.json`.
      rows: `rows.jsonl`.
      settings: `run.json`; empty where the predictions came from elsewhere.
    """

    folder: str
    name: str
    scores: Mapping[str, Any]
    rows: tuple[Row, ...]
    settings: Mapping[str, Any]

    @property
    def benchmark(self) -> str:
        return self.scores["benchmark"]

    @property
    def protocol(self) -> str:
        return self.scores["protocol"]

    @property
    def scale(self) -> float:
        """What a mean rating is multiplied by: 100 makes percentages, 1 leaves 0 to 5."""
        return 1.0 if self.benchmark == "videochatgpt" else 100.0

    @property
    def unit(self) -> str:
        return "%" if self.scale == 100 else "of 5"

    @property
    def headline(self) -> tuple[str, float | None]:
        """The name and value of the average that is quoted first."""
        return self.scores["headline"]["name"], self.scores["headline"]["value"]

    @property
    def scored(self) -> frozenset[str]:
        """The tasks that have a score."""
        whole = (c for c in self.cells() if c["group"] is None)
        return frozenset(c["task"] for c in whole if c["score"] is not None)

    def cells(self, *, fine: bool = False) -> list[Mapping[str, Any]]:
        """The cells of tasks and groups; with `fine` those across the groups, if any."""
        return list(self.scores.get("fine_cells", ()) if fine else self.scores["cells"])

    def rated(self, *, task: str | None = None, group: str | None = None) -> list[Row]:
        """The rows with a rating, of a task and group if given."""
        return [
            r
            for r in self.rows
            if r.rating is not None
            and (task is None or r.task == task)
            and (group is None or r.group == group)
        ]


def read_runs(folders: Sequence[str | os.PathLike]) -> list[Run]:
    """The runs in `folders`, in that order, named apart.

    Raises:
      RecordError: a folder without scores, or scores of another shape.
    """
    return _named([_read(folder) for folder in folders])


def _read(folder: str | os.PathLike) -> Run:
    place = files.path(folder)
    name = place / "scores.json"
    if not name.exists():
        raise RecordError(
            f"{folder}: no scores.json", mend="run `sg4v eval score --out` into this folder first"
        )
    scores = files.read_json(name)
    lacking = [f for f in _SCORES if not isinstance(scores, dict) or f not in scores]
    if lacking:
        raise RecordError(
            f"{name}: no field {lacking[0]!r}", mend="score again with `sg4v eval score`"
        )
    fields = {f.name for f in dataclasses.fields(Row)}
    rows = []
    for number, row in enumerate(files.read_jsonl(place / "rows.jsonl"), 1):
        try:
            rows.append(Row(**{k: v for k, v in row.items() if k in fields}))
        except TypeError as e:
            raise RecordError(
                f"{place / 'rows.jsonl'}: line {number}: {e}",
                mend="score again with `sg4v eval score`",
            ) from e
    beside = place / "run.json"
    settings = files.read_json(beside) if beside.exists() else {}
    return Run(
        folder=os.fspath(folder), name="", scores=scores, rows=tuple(rows), settings=settings
    )


def _named(runs: Sequence[Run]) -> list[Run]:
    """Runs with short names: the model's, then also the protocol's, then also the folder's."""

    def model(run: Run) -> str:
        return str(run.scores["model"] or "model").rstrip("/").replace(":", "/").split("/")[-1]

    def folder(run: Run) -> str:
        return os.path.basename(os.path.normpath(run.folder))

    ways = (
        model,
        lambda run: f"{model(run)} ({run.protocol})",
        lambda run: f"{model(run)} ({run.protocol}, {folder(run)})",
        lambda run: f"{model(run)} ({run.protocol}, {run.folder})",
    )
    names: dict[int, str] = {}
    for benchmark in {run.benchmark for run in runs}:
        members = [i for i, run in enumerate(runs) if run.benchmark == benchmark]
        for way in ways:
            found = {i: way(runs[i]) for i in members}
            if len(set(found.values())) == len(members):
                break
        else:
            found = {i: f"{way(runs[i])} #{n}" for n, i in enumerate(members, 1)}
        names |= found
    return [dataclasses.replace(run, name=names[i]) for i, run in enumerate(runs)]


def by_benchmark(runs: Sequence[Run]) -> dict[str, list[Run]]:
    """Runs by benchmark, in the order of `TITLES`, then of appearance."""
    order = [*TITLES, *dict.fromkeys(run.benchmark for run in runs if run.benchmark not in TITLES)]
    found = {b: [run for run in runs if run.benchmark == b] for b in order}
    return {b: members for b, members in found.items() if members}


_TASK_TITLES = {"yes_no": "yes/no", "caption_matching": "caption matching"}


def task_title(name: str) -> str:
    """How tables call a task: `fine_grained_action` is "Fine-grained Action"."""
    if "_" not in name or not name.islower() or name in _TASK_TITLES:
        return _TASK_TITLES.get(name, name)
    words = name.replace("fine_grained", "fine-grained").split("_")
    return " ".join(word[:1].upper() + word[1:] for word in words)


def short_title(name: str) -> str:
    """The initials of a task's title, as papers print them: "FA"."""
    parts = task_title(name).split(" ")
    return "".join(p[0] for p in parts) if len(parts) > 1 else name[:4]


def video_counts(rows: Sequence[Row]) -> tuple[int, int]:
    """(questions, different videos)."""
    return len(rows), len(Counter(r.video for r in rows))
