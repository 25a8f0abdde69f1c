"""A slice of a caption file as rows, each with its place; what is broken is a fault in its row."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
from collections.abc import Iterator
from typing import Any, NamedTuple

from sg4v_jax.caption.bridge import spans
from sg4v_jax.caption.bridge.clips import RowFault
from sg4v_jax.caption.bridge.slices import quoted_after
from sg4v_jax.errors import ConfigError, RecordError

_DEEPEST = 16  # levels of brackets in a row; real ones have four
_LARGEST_CELL = 1 << 24  # characters
FALLBACKS = ("", "cp1252", "latin-1")


class Row(NamedTuple):
    """One row: its place in the file, and its values or what is wrong with it."""

    where: str
    values: dict[str, Any] | None
    fault: RowFault | None
    decoded_as: str = ""  # the fallback encoding, where UTF-8 did not do


@dataclasses.dataclass(frozen=True)
class RowReader:
    """Reads the slices of one file.

    Args:
      name: the file, for messages.
      layout: of `slices.LAYOUTS`.
      header: the CSV header line.
      fallback: how rows that are not UTF-8 are decoded, one of `FALLBACKS`; empty: not at all.

    Raises:
      ConfigError: another fallback.
      RecordError: a header with no, empty or repeated column names.
    """

    name: str
    layout: str
    header: bytes = b""
    fallback: str = ""

    def __post_init__(self):
        if self.fallback not in FALLBACKS:
            raise ConfigError(
                f"fallback encoding {self.fallback!r} is not read",
                mend=f"use one of {', '.join(FALLBACKS[1:])}",
            )
        if self.layout == "csv":
            try:
                columns = self.columns
            except (RowFault, csv.Error) as e:
                told = f"{e.kind}: {e.value}" if isinstance(e, RowFault) else str(e)
                raise RecordError(f"{self.name}: line 1: {told}", mend="mend the header") from e
            if not columns or "" in columns or len(set(columns)) < len(columns):
                raise RecordError(
                    f"{self.name}: line 1: the columns are {columns!r:.200}",
                    mend="begin the file with a line of column names, each once",
                )

    @property
    def columns(self) -> list[str]:
        """The CSV header's names."""
        text, _ = self._text(self.header)
        return [name.strip() for name in next(csv.reader([text.strip("\r\n")]), [])]

    def rows(self, content: bytes, *, first: int) -> Iterator[Row]:
        """The rows of a slice that begins at line (of a list: record) `first`."""
        return {"lines": self._lines, "csv": self._csv, "list": self._list}[self.layout](
            content, first
        )

    def _lines(self, content: bytes, first: int) -> Iterator[Row]:
        for number, line in enumerate(content.split(b"\n"), first):
            if line.strip():
                yield self._json(line, f"{self.name}: line {number}")

    def _list(self, content: bytes, first: int) -> Iterator[Row]:
        found = list(spans.elements(io.BytesIO(b"[" + content + b"]"), where=self.name))
        for number, (start, end) in enumerate(found, first):
            yield self._json(content[start - 1 : end - 1], f"{self.name}: record {number}")

    def _json(self, line: bytes, where: str) -> Row:
        try:
            if line.count(b"[") + line.count(b"{") > _DEEPEST and _too_deep(line):
                raise RowFault("not JSON", value=f"brackets deeper than {_DEEPEST}")
            text, decoded_as = self._text(line)
            value = json.loads(text, parse_constant=_no_number)
        except RowFault as e:
            return Row(where, None, e)
        except (ValueError, RecursionError) as e:  # also a number of thousands of digits
            return Row(where, None, RowFault("not JSON", value=str(e)))
        if not isinstance(value, dict):
            return Row(where, None, RowFault("not an object", value=value))
        return Row(where, value, None, decoded_as)

    def _csv(self, content: bytes, first: int) -> Iterator[Row]:
        csv.field_size_limit(_LARGEST_CELL)
        columns = self.columns
        for where, record in self._records(content, first):
            try:
                text, decoded_as = self._text(record)
                [cells] = csv.reader(io.StringIO(text, newline=""), strict=True)
            except RowFault as e:
                yield Row(where, None, e)
                continue
            except (csv.Error, ValueError) as e:
                yield Row(where, None, RowFault("wrong number of cells", value=str(e)))
                continue
            if len(cells) != len(columns):
                told = f"{len(cells)} cells for {len(columns)} columns"
                yield Row(where, None, RowFault("wrong number of cells", value=told))
                continue
            yield Row(where, dict(zip(columns, cells, strict=True)), None, decoded_as)

    def _records(self, content: bytes, first: int) -> Iterator[tuple[str, bytes]]:
        """CSV records of whole lines, by the same rule that cut the slices."""
        begun, start, inside = [], first, False
        for number, line in enumerate(io.BytesIO(content), first):
            if b'"' in line:
                inside = quoted_after(line, inside=inside)
            begun.append(line)
            if not inside:
                record = b"".join(begun)
                if record.strip():
                    yield f"{self.name}: line {start}", record
                begun, start = [], number + 1

    def _text(self, data: bytes) -> tuple[str, str]:
        """`data` as text, and the fallback if it was needed."""
        try:
            return data.decode(), ""
        except UnicodeDecodeError as e:
            if not self.fallback:
                shown = f"byte {e.start} is 0x{data[e.start]:02x}"
                raise RowFault("not UTF-8", value=shown) from e
            # cp1252 leaves five bytes without a character; latin-1 reads those as C1 controls.
            try:
                return data.decode(self.fallback), self.fallback
            except UnicodeDecodeError as again:
                shown = f"byte 0x{data[again.start]:02x} is not {self.fallback} either"
                raise RowFault("not UTF-8", value=shown) from again


def _no_number(name: str) -> None:
    raise ValueError(f"{name} is no number of JSON")


def _too_deep(line: bytes) -> bool:
    depth = deepest = 0
    for token in spans.TOKEN.finditer(line):
        kind = line[token.start()]
        depth += (kind in b"{[") - (kind in b"}]")
        deepest = max(deepest, depth)
    return deepest > _DEEPEST
