"""Caption files as people have them: rows of `caption run`, JSON lines, LLaVA records, id to text.

What cannot be used is named and counted, and the rest is read.
"""

from __future__ import annotations

import collections
import dataclasses
import itertools
import json
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from sg4v_jax import files
from sg4v_jax.errors import RecordError

DETAILED = ("caption_detailed", "caption", "detailed", "text", "caption_short", "short")
SHORT = ("caption_short", "short", "caption", "text", "caption_detailed", "detailed")
_SHOWN = 5  # problems of one kind that a report names


@dataclasses.dataclass(frozen=True)
class Problem:
    """One row that cannot be used: its kind, its place in the file, its id if it has one."""

    kind: str
    where: str
    id: str | None = None


@dataclasses.dataclass(frozen=True)
class Captions:
    """What a file holds: `texts` and whole `rows` by id, in the file's order, and its problems."""

    name: str
    texts: dict[str, str]
    rows: dict[str, dict[str, Any]]
    problems: tuple[Problem, ...]

    def counted(self) -> dict[str, dict[str, Any]]:
        """Kind -> how many, and where the first of them are."""
        return counted(self.problems)

    def unusable(self) -> tuple[str, ...]:
        """The ids that have rows, but none that can be used."""
        ids = dict.fromkeys(p.id for p in self.problems if p.id is not None)
        return tuple(i for i in ids if i not in self.texts)


def counted(problems: Sequence[Problem]) -> dict[str, dict[str, Any]]:
    """Kind -> {"count": how many, "first": where the first of them are}."""
    places = collections.defaultdict(list)
    for problem in problems:
        named = f" ({problem.id})" if problem.id is not None else ""
        places[problem.kind].append(problem.where + named)
    return {kind: {"count": len(p), "first": p[:_SHOWN]} for kind, p in sorted(places.items())}


def read_captions(
    name: str | os.PathLike, *, fields: Sequence[str] = DETAILED, blank: bool = False
) -> Captions:
    """The captions in file `name`.

    JSON lines (`.jsonl`) or JSON: a list of objects, or one object from id to text. An object has
    an `id` (or `video_id`) and its caption in the first of `fields` that it has, or in
    `conversations` (the last answer), or in `captions` (the content of index -1).

        {"id": "a", "caption": "A dog runs."}   ->   texts {"a": "A dog runs."}

    Problems, by row: not UTF-8, not JSON, no id, duplicate id (the first usable row counts),
    failed (its `error` says so), no caption, empty caption, times out of order.

    Args:
      name: the file, local or `gs://`.
      fields: where a caption may stand, the likeliest first.
      blank: whether rows without any caption are wanted, with "" as their text.

    Raises:
      RecordError: no such file, a JSON file that cannot be read, or no row at all.
    """
    texts: dict[str, str] = {}
    rows: dict[str, dict[str, Any]] = {}
    problems: list[Problem] = []
    empty = True
    for where, row in _rows(name):
        empty = False
        if isinstance(row, Problem):
            problems.append(row)
            continue
        identity, text, fault = _read_row(row, fields)
        if blank and fault in ("no caption", "empty caption"):
            fault, text = None, ""
        if fault is None and identity in texts:
            fault = "duplicate id"
        if fault is not None:
            problems.append(Problem(fault, where, identity))
        else:
            texts[identity], rows[identity] = text, row
    if empty:
        raise RecordError(f"{name}: holds no captions", mend="make the captions first")
    return Captions(os.fspath(name), texts, rows, tuple(problems))


def _rows(name: str | os.PathLike) -> Iterator[tuple[str, dict[str, Any] | Problem]]:
    try:
        content = files.path(name).read_bytes()
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError) as e:
        raise RecordError(f"{name}: no such file", mend="check the path") from e
    if str(name).endswith(".jsonl"):
        for number, line in enumerate(content.split(b"\n"), 1):
            if line.strip():
                where = f"{name}: line {number}"
                yield where, _line(line, where)
        return
    try:
        value = json.loads(content.decode())
    except (UnicodeDecodeError, json.JSONDecodeError) as e:
        raise RecordError(f"{name}: not JSON in UTF-8 ({e})", mend="mend the file") from e
    if isinstance(value, dict):
        value = [{"id": key, "caption": text} for key, text in value.items()]
    if not isinstance(value, list):
        raise RecordError(f"{name}: expected a list of objects, got {type(value).__name__}")
    for number, row in enumerate(value, 1):
        where = f"{name}: record {number}"
        yield where, row if isinstance(row, dict) else Problem("not an object", where)


def _line(line: bytes, where: str) -> dict[str, Any] | Problem:
    try:
        row = json.loads(line.decode())
    except UnicodeDecodeError:
        return Problem("not UTF-8", where)
    except json.JSONDecodeError:
        return Problem("not JSON", where)
    return row if isinstance(row, dict) else Problem("not an object", where)


def _read_row(row: Mapping[str, Any], fields: Sequence[str]) -> tuple[str | None, str, str | None]:
    """Id, text, and what is wrong, of one row."""
    identity = row.get("id", row.get("video_id"))
    if isinstance(identity, bool) or not isinstance(identity, str | int) or identity == "":
        return None, "", "no id"
    identity = str(identity)
    if row.get("error"):
        return identity, "", "failed"
    text = _text(row, fields)
    if not isinstance(text, str):
        return identity, "", "no caption"
    if not _times_rise(row):
        return identity, "", "times out of order"
    try:
        text.encode()
    except UnicodeEncodeError:  # half of a surrogate pair, written as an escape
        return identity, "", "not UTF-8"
    return identity, text.strip(), None if text.strip() else "empty caption"


def _text(row: Mapping[str, Any], fields: Sequence[str]) -> Any:
    for field in fields:
        if row.get(field):
            return row[field]
    for part in row.get("captions") or ():
        if isinstance(part, dict) and str(part.get("idx")) == "-1":
            return part.get("content")
    for turn in reversed(row.get("conversations") or ()):
        if isinstance(turn, dict) and turn.get("from") == "gpt":
            return turn.get("value")
    return next((row[field] for field in fields if field in row), None)


def _times_rise(row: Mapping[str, Any]) -> bool:
    try:
        times = [float(t) for t in row.get("keyframe_times") or ()]
        ends = [float(row[k]) for k in ("start", "end") if row.get(k) is not None]
    except (TypeError, ValueError):
        return False
    rising = all(a < b for a, b in itertools.pairwise(times))
    return rising and all(map(math.isfinite, times)) and (len(ends) < 2 or ends[0] < ends[1])
