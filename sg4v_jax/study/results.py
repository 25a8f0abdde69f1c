"""A study's folder as its runs left it: `results.jsonl`, plans, questions, compute, pilots.

Nothing is filled in: what is not there stays away and is named.
"""

from __future__ import annotations

import dataclasses
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from sg4v_jax import files
from sg4v_jax.errors import ConfigError, RecordError
from sg4v_jax.study import design
from sg4v_jax.study.design import ARMS, TOWERS

DOSES = ("sentences", "omission", "false", "vqa_items")
_FIELDS = {"id": str, "arm": str, "tower": str, "seed": int, "path": str, "group": str}


class Design(NamedTuple):
    """What the runs of a row of the design share: all but the seed.

    A dosed arm has the name of what it is a dose of: `false_25` is `detailed` with kind "false"
    and dose 0.25. `kind` is "" where there is no dose; `dose` "all" keeps all sentences.
    """

    arm: str
    tower: str
    path: str = "grid"
    kind: str = ""
    dose: float | str = 0.0

    @property
    def name(self) -> str:
        """As tables call it: `detailed, unlocked`, `detailed, unlocked, false 0.25`."""
        parts = [self.arm.replace("_", " "), self.tower]
        parts += [f"{self.kind.replace('_', ' ')} {shown_dose(self.dose)}"] if self.kind else []
        return ", ".join(parts + ([] if self.path == "grid" else [f"path {self.path}"]))


def shown_dose(dose: float | str) -> str:
    """`0.25`, `1,600`, `all`."""
    return dose if isinstance(dose, str) else f"{dose:,g}" if dose < 1000 else f"{dose:,.0f}"


@dataclasses.dataclass(frozen=True)
class Run:
    """A run of the plan, or one that is done; then `row` is its line of a file, found at `where`."""

    id: str
    design: Design
    seed: int
    group: str
    row: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    where: str = ""


@dataclasses.dataclass(frozen=True)
class Study:
    """All that a report needs of a folder.

    Attributes:
      out: the folder.
      settings: `study.json`.
      planned: the runs of its design, None where it has no rows.
      runs: those done, without tuning.
      tuning: those of group "tuning".
      split: the split that all `runs` were asked.
      questions: those of the split; empty where the file is not there.
      dev_captions: the detailed captions of the development videos, as far as there.
      guesser: the scores of the prior-only guesser on the split, or None.
      compute: lines of `compute.jsonl`.
      pilots: (file, line) of every pilot run.
      probes: lines of `probe.jsonl`, as far as there.
    """

    out: str
    settings: Mapping[str, Any]
    planned: tuple[Run, ...] | None
    runs: tuple[Run, ...]
    tuning: tuple[Run, ...]
    split: str
    questions: tuple[Mapping[str, Any], ...]
    dev_captions: tuple[str, ...]
    guesser: Mapping[str, Any] | None
    compute: tuple[Mapping[str, Any], ...]
    pilots: tuple[tuple[str, Mapping[str, Any]], ...]
    probes: tuple[Mapping[str, Any], ...] = ()

    @property
    def missing(self) -> list[Run]:
        """Planned runs without a line in `results.jsonl`, tuning apart, in the plan's order."""
        done = {run.id for run in self.runs}
        return [r for r in self.planned or () if r.id not in done and r.group != "tuning"]

    def answers(self, run: Run) -> list[dict] | None:
        """The answers of a run, None where the file is not there.

        Raises:
          RecordError: a damaged line, named by file and number.
        """
        name = files.path(self.out) / "runs" / run.id / "answers.jsonl"
        if not name.exists():
            return None
        lines = files.read_jsonl(name)
        for number, line in enumerate(lines, 1):
            _need(
                line, ("scene", "aspect", "form", "answer", "said"), where=f"{name}: line {number}"
            )
            if not isinstance(line["said"], dict) or "right" not in line["said"]:
                raise _bad(f"{name}: line {number}", "said", line["said"])
        return lines


def read(out: str | os.PathLike, *, pilots: Sequence[str | os.PathLike] = ()) -> Study:
    """Reads a study's folder; only `study.json` must be there.

    Args:
      pilots: files of pilot runs, beside `pilots.jsonl` of the folder.

    Raises:
      RecordError: no study there, a damaged line, a field that is missing or of another type, two
        lines of one run, runs that were asked different splits.
    """
    place = files.path(out)
    if not (place / "study.json").exists():
        raise RecordError(f"{place}: no study.json", mend="name the --out of `sg4v study run`")
    settings = files.read_json(place / "study.json")
    every = read_runs(place / "results.jsonl") if (place / "results.jsonl").exists() else []
    runs = tuple(run for run in every if run.group != "tuning")
    split = _split(runs, default=settings.get("split", "test"), where=place)
    guesser = files.read_json(place / "guesser.json") if (place / "guesser.json").exists() else {}
    own = [place / "pilots.jsonl"] if (place / "pilots.jsonl").exists() else []
    return Study(
        out=os.fspath(out),
        settings=settings,
        planned=_planned(settings.get("rows"), where=f"{place / 'study.json'}"),
        runs=runs,
        tuning=tuple(run for run in every if run.group == "tuning"),
        split=split,
        questions=tuple(_optional(place / "data" / "questions" / f"{split}.jsonl")),
        dev_captions=tuple(
            line.get("caption", "") for line in _optional(place / "data" / "captions" / "dev.jsonl")
        ),
        guesser=guesser.get(split),
        compute=tuple(_compute(place / "compute.jsonl")),
        pilots=tuple((files.path(p).name, r) for p in [*own, *pilots] for r in _pilots(p)),
        probes=tuple(_probes(place / "probe.jsonl")),
    )


def read_runs(name: str | os.PathLike) -> list[Run]:
    """The runs of a file in the format of `results.jsonl`.

    Raises:
      RecordError: as `read`.
    """
    found: dict[str, tuple[int, Run]] = {}
    for number, row in enumerate(files.read_jsonl(name), 1):
        where = f"{name}: line {number}"
        run = _run(row, where=where)
        _need(row, ("split", "accuracy"), where=where)
        right = row["accuracy"].get("right") if isinstance(row["accuracy"], dict) else None
        if not isinstance(right, dict) or not _share(right.get("average")):
            raise _bad(where, "accuracy.right.average", row["accuracy"])
        curve = row.get("curve") or []
        if not isinstance(curve, list) or not all(_pair(point) for point in curve):
            raise _bad(where, "curve", curve, mend="give pairs of step and loss")
        if run.id in found:
            raise RecordError(
                f"{where}: run {run.id!r} stands in line {found[run.id][0]} already",
                mend="remove one of the two lines",
            )
        found[run.id] = (number, run)
    return [run for _, run in found.values()]


def _run(row: Mapping[str, Any], *, where: str) -> Run:
    _need(row, _FIELDS, where=where)
    for field, kind in _FIELDS.items():
        if not isinstance(row[field], kind) or isinstance(row[field], bool):
            raise _bad(where, field, row[field])
    if row["tower"] not in TOWERS:
        raise _bad(where, "tower", row["tower"], mend=f"use one of {TOWERS}")
    # The captioner's "dose" is what it was measured at, another in every seed: no row of the design.
    dose = row.get("dose") if row["group"] != "captioner" else None
    kind, value = "", 0.0
    if dose is not None:
        if not isinstance(dose, dict) or dose.get("kind") not in DOSES or "value" not in dose:
            raise _bad(where, "dose", dose, mend=f"give kind (one of {DOSES}) and value")
        kind, value = dose["kind"], dose["value"]
        if value != "all" and not _number(value):
            raise _bad(where, "dose.value", value)
        value = value if value == "all" else float(value)
    own = Design(
        _undosed(row["arm"]) if kind else row["arm"], row["tower"], row["path"], kind, value
    )
    return Run(row["id"], own, row["seed"], row["group"], row, where)


def _undosed(arm: str) -> str:
    """The arm that a dosed one is a dose of."""
    known = ARMS.get(arm)
    return arm if known is None else "vqa" if known.style is None else "detailed"


def _planned(rows: Any, *, where: str) -> tuple[Run, ...] | None:
    if not rows:
        return None
    try:
        runs = design.runs(rows)
    except (ConfigError, AttributeError, KeyError, TypeError, ValueError) as e:
        raise RecordError(f"{where}: rows: {e}", mend="name the --out of `sg4v study run`") from e
    found = []
    for run in runs:
        row = dataclasses.asdict(run) | {"id": run.id, "dose": ARMS[run.arm].point}
        found.append(_run(row, where=f"{where}: {run.id}"))
    return tuple(found)


def _split(runs: Sequence[Run], *, default: str, where: object) -> str:
    by_split = {run.row["split"]: run.id for run in runs}
    if len(by_split) > 1:
        told = ", ".join(f"{name} in {split!r}" for split, name in by_split.items())
        raise RecordError(
            f"{where}: results.jsonl: runs of several splits ({told})",
            mend="keep runs of other splits in another study, or in group 'tuning'",
        )
    return next(iter(by_split), default)


def _compute(name: Any) -> list[dict]:
    lines = _optional(name)
    for number, line in enumerate(lines, 1):
        for field in ("cpu_seconds", "wall_seconds"):
            if not _number(line.get(field, 0)):
                raise _bad(f"{name}: line {number}", field, line[field])
    return lines


def _probes(name: Any) -> list[dict]:
    """Lines of probed towers: of each thing read, a value and what knows nothing gets."""
    lines = _optional(name)
    for number, line in enumerate(lines, 1):
        where = f"{name}: line {number}"
        _need(line, ("id", "arm", "seed", "path", "read"), where=where)
        for thing, one in line["read"].items():
            if not _number(one.get("value")) or not _number(one.get("chance")):
                raise _bad(where, f"read.{thing}", one, mend="probe that tower again")
    return lines


def _pilots(name: str | os.PathLike) -> list[dict]:
    """Lines of pilot runs; what of them is there must have its type."""
    lines = files.read_jsonl(name)
    for number, line in enumerate(lines, 1):
        where = f"{name}: line {number}"
        accuracy = line.get("accuracy") or {}
        right = accuracy.get("right") or {} if isinstance(accuracy, dict) else accuracy
        if not isinstance(right, dict) or not _share(right.get("average")):
            raise _bad(where, "accuracy", accuracy, mend="mend the line")
        slots = line.get("slots") or {}
        if not isinstance(slots, dict) or not all(map(_pair, slots.values())):
            raise _bad(where, "slots", slots, mend="mend the line")
    return lines


def _optional(name: Any) -> list[dict]:
    return files.read_jsonl(name) if name.exists() else []


def _share(value: Any) -> bool:
    """Whether `value` is a share; None is one that nothing was asked for."""
    if value is None:
        return True
    return _number(value) and 0 <= value <= 1


def _pair(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 2 and all(map(_number, value))


def _number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _need(row: Mapping[str, Any], fields: Iterable[str], *, where: str) -> None:
    for field in fields:
        if field not in row:
            raise RecordError(f"{where}: no field {field!r}", mend="run that run again")


def _bad(where: str, field: str, value: Any, *, mend: str = "run that run again") -> RecordError:
    return RecordError(f"{where}: field {field!r} is {value!r:.80}", mend=mend)
