"""The results of a sweep as one table: a row a run, in the order of the sweep."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rich.table import Table

from sg4v_jax import files

FILE = "table"


def columns(rows: Sequence[Mapping[str, Any]]) -> tuple[list[str], list[str]]:
    """The fields that differ between runs, and all metrics, each in order of appearance.

    A field that some runs do not set differs.
    """
    fields = _names(row["overrides"] for row in rows)
    differ = [f for f in fields if len({str(row["overrides"].get(f)) for row in rows}) > 1]
    return differ, _names(row["metrics"] for row in rows)


def write(rows: Sequence[Mapping[str, Any]], out: str) -> list[str]:
    """Writes `out/table.json` (all of the rows), `.csv` and `.md`; gives their names."""
    paths = [f"{out.rstrip('/')}/{FILE}.{kind}" for kind in ("json", "csv", "md")]
    files.write_json(paths[0], list(rows))
    files.write_atomic(paths[1], as_csv(rows))
    files.write_atomic(paths[2], as_markdown(rows))
    return paths


def as_csv(rows: Sequence[Mapping[str, Any]]) -> str:
    """With every digit, for programs."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    head, *cells = _cells(rows, number=repr)
    writer.writerow(head)
    writer.writerows(cells)
    return text.getvalue()


def as_markdown(rows: Sequence[Mapping[str, Any]]) -> str:
    """With four digits, for people."""
    head, *cells = _cells(rows, number=_short)
    lines = [head, ["---"] * len(head), *cells]
    escaped = ([cell.replace("|", "\\|").replace("\n", " ") for cell in line] for line in lines)
    return "".join(f"| {' | '.join(line)} |\n" for line in escaped)


def as_rich(rows: Sequence[Mapping[str, Any]]) -> Table:
    """For the console."""
    head, *cells = _cells(rows, number=_short)
    table = Table(*head)
    for row, line in zip(rows, cells, strict=True):
        table.add_row(*line, style="red" if row["error"] is not None else None)
    return table


def _cells(rows: Sequence[Mapping[str, Any]], *, number) -> list[list[str]]:
    differ, metrics = columns(rows)
    failed = any(row["error"] is not None for row in rows)
    lines = [["run", *differ, *metrics, *(["error"] if failed else [])]]
    for row in rows:
        line = [row["id"]]
        line += [_text(row["overrides"].get(f), number) for f in differ]
        line += [_text(row["metrics"].get(m), number) for m in metrics]
        lines.append(line + ([row["error"] or ""] if failed else []))
    return lines


def _names(mappings: Iterable[Mapping[str, Any]]) -> list[str]:
    return list(dict.fromkeys(name for mapping in mappings for name in mapping))


def _text(value: Any, number) -> str:
    if value is None:
        return ""
    return number(value) if isinstance(value, float) else str(value)


def _short(value: float) -> str:
    return f"{value:.4g}"
