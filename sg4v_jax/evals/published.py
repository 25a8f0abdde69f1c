"""Published results: one data file, `assets/published.json`, in which each value says its source.

    status            what it means
    checked           read in the publication itself
    quoted by others  read in a later paper, a reading note, a third party's table
    recalled          recalled, not checked against the paper; shown with a mark
    n/a               could not be had

Numbers of the paper stand nowhere else in the package.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Mapping
from typing import Any

from sg4v_jax import files
from sg4v_jax.errors import RecordError

STATUSES = ("checked", "quoted by others", "recalled", "n/a")
RECALLED = "recalled, not checked against the paper"
MARKS = {"recalled": "†"}
FILE = f"{files.ASSET}published.json"
_TABLE_COLUMNS = ("videobench", "mvbench", "tempcompass", "average")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Result:
    """What is published of one model on one benchmark.

    Attributes:
      value: the average that is quoted, None where it could not be had.
      average: how it is formed, as far as known.
      cells: task -> value; empty where no cell could be had.
      status, cells_status: a key of `STATUSES`.
    """

    benchmark: str
    model: str
    value: float | None
    status: str
    source: str
    average: str
    cells: Mapping[str, float] = dataclasses.field(default_factory=dict)
    cells_status: str = "n/a"
    note: str = ""

    @property
    def shown(self) -> str:
        """The value as a table's cell: `42.5`, `35.4†` where recalled, `n/a`."""
        return cell(self.value, status=self.status)

    def cell(self, task: str) -> str:
        """The value of a task as a table's cell."""
        return cell(self.cells.get(task), status=self.cells_status)


@dataclasses.dataclass(frozen=True, kw_only=True)
class TableRow:
    """A row of the paper's tables over three benchmarks and their mean.

    Attributes:
      name: the model, or the training data.
      values: by `videobench`, `mvbench`, `tempcompass`, `average`.
      facts: what else the row says (`captions`, `vit_unlocked` ...).
    """

    name: str
    values: Mapping[str, float]
    status: str
    source: str
    facts: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def cell(self, column: str) -> str:
        """The value of a column as a table's cell."""
        return cell(self.values.get(column), status=self.status)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Published:
    """All of the data file.

    Attributes:
      notes: by benchmark, what a reader must know before comparing.
      caption_gains: the paper's Table 1.
      caption_ablation: its Table 2, captions by vision encoder.
      average_gains: by model, the mean gain that a reading note confirms.
      titles: of the two tables, `gains` and `ablation`.
      confirmed: what of the ablation a reading note confirms, in words.
    """

    results: tuple[Result, ...]
    notes: Mapping[str, str]
    caption_gains: tuple[TableRow, ...]
    caption_ablation: tuple[TableRow, ...]
    average_gains: Mapping[str, float]
    titles: Mapping[str, str]
    confirmed: str

    def of(self, benchmark: str) -> tuple[Result, ...]:
        """The results on one benchmark, the paper's own model first."""
        return tuple(r for r in self.results if r.benchmark == benchmark)


def cell(value: float | None, *, status: str) -> str:
    """A value with its status' mark, one decimal: `35.4†`; None gives `n/a`."""
    if value is None or status == "n/a":
        return "n/a"
    return f"{value:.1f}{MARKS.get(status, '')}"


def legend(statuses: Mapping[str, Any] | set[str]) -> str:
    """What the marks mean, for those of `statuses` that have one; "" if none has."""
    return "; ".join(f"{MARKS[s]} {RECALLED}" for s in STATUSES if s in statuses and s in MARKS)


@functools.cache
def load() -> Published:
    """The package's data file, read once.

    Raises:
      RecordError: the file does not fit this version of the package.
    """
    return parse(files.read_json(files.path(FILE)), where=FILE)


def parse(value: Mapping[str, Any], *, where: str) -> Published:
    """`Published` from the file's JSON value, checked.

    Raises:
      RecordError: a field that is missing or unknown, an unknown status, a value without one.
    """
    try:
        ablation, gains = value["caption_ablation"], value["caption_gains"]
        found = Published(
            results=tuple(Result(**row) for row in value["results"]),
            notes=value["notes"],
            caption_gains=tuple(_row(r, name="model") for r in gains["rows"]),
            caption_ablation=tuple(_row(r, name="data") for r in ablation["rows"]),
            average_gains={r["model"]: r["gain"] for r in gains["average_gains"]},
            titles={"gains": gains["title"], "ablation": ablation["title"]},
            confirmed=ablation["confirmed"],
        )
    except (KeyError, TypeError) as e:
        raise RecordError(f"{where}: {e}", mend="install the package again") from e
    for number, result in enumerate(found.results):
        at = f"{where}: results[{number}] ({result.model}, {result.benchmark})"
        _check(result.value, result.status, where=at)
        for task, x in result.cells.items():
            _check(x, result.cells_status, where=f"{at}, {task}")
    for row in (*found.caption_gains, *found.caption_ablation):
        for column in _TABLE_COLUMNS:
            _check(row.values.get(column), row.status, where=f"{where}: {row.name}, {column}")
    return found


def _row(row: Mapping[str, Any], *, name: str) -> TableRow:
    own = {"status": row["status"], "source": row["source"], "values": row["values"]}
    facts = {k: v for k, v in row.items() if k not in (*own, name)}
    return TableRow(name=row[name], facts=facts, **own)


def _check(value: float | None, status: str, *, where: str) -> None:
    if status not in STATUSES:
        raise RecordError(f"{where}: status {status!r}", mend=f"use one of {STATUSES}")
    if (value is None) != (status == "n/a"):
        raise RecordError(
            f"{where}: value {value!r} with status {status!r}",
            mend="give a value its source, and no value where it could not be had",
        )
    if value is not None and not (math.isfinite(value) and 0 <= value <= 100):
        raise RecordError(f"{where}: {value!r} is no percentage", mend="mend the file")
