"""A caption file as slices: stretches of bytes that hold whole rows, small enough to hold.

    lines   one JSON object a line          (.jsonl)
    csv     a header line, then rows whose quoted cells may hold line ends
    list    one JSON list of objects        (.json)

The file is read once, from front to end, for its slices and its sha256; workers then read slices
by their bytes, so that memory does not grow with the file.
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
import re
from collections.abc import Iterator
from typing import BinaryIO

from sg4v_jax import files
from sg4v_jax.caption.bridge import spans
from sg4v_jax.errors import RecordError

LAYOUTS = {".jsonl": "lines", ".csv": "csv", ".json": "list"}
SIZE = 1 << 20  # bytes of a slice, about; a row is never cut
_BLOCK = 1 << 22
_UTF_16 = (b"\xff\xfe", b"\xfe\xff")
# The inside of a quoted cell with its closing quote; a doubled quote is a quote in it.
_CLOSING = re.compile(rb'[^"]*(?:""[^"]*)*"(?!")')


@dataclasses.dataclass(frozen=True)
class Slice:
    """`length` bytes from `offset`; `first` is the line of its first row (of a list: the record)."""

    offset: int
    length: int
    first: int


@dataclasses.dataclass(frozen=True)
class Sliced:
    """A file's slices, the bytes of its CSV header (else empty), its size and sha256."""

    layout: str
    slices: tuple[Slice, ...]
    header: bytes
    size: int
    sha256: str


def layout_of(name: str | os.PathLike) -> str:
    """By the ending of its name.

    Raises:
      RecordError: another ending.
    """
    ending = files.path(name).suffix.lower()
    if ending not in LAYOUTS:
        raise RecordError(
            f"{name}: files that end in {ending or 'nothing'} are not read",
            mend=f"give a file that ends in {', '.join(LAYOUTS)}",
        )
    return LAYOUTS[ending]


def cut(name: str | os.PathLike, *, size: int = SIZE) -> Sliced:
    """The slices of file `name`.

        lines  b"{1}\\n{2}\\n{3}\\n", size=5  ->  (0, 8, first=1), (8, 4, first=3)

    Raises:
      RecordError: no such file, empty, UTF-16, a quote that is never closed, or no JSON list.
    """
    layout = layout_of(name)
    try:
        with files.path(name).open("rb") as f:
            return _cut(f, layout, str(name), size)
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError) as e:
        raise RecordError(f"{name}: no such file", mend="check the path") from e


def read(name: str | os.PathLike, part: Slice) -> bytes:
    """The bytes of one slice."""
    with files.path(name).open("rb") as f:
        f.seek(part.offset)
        return f.read(part.length)


def _cut(f: BinaryIO, layout: str, name: str, size: int) -> Sliced:
    digest, total = hashlib.sha256(), 0
    start = f.read(3)
    if start.startswith(_UTF_16):
        raise RecordError(f"{name}: the text is UTF-16", mend="save it as UTF-8")
    skip = len(spans.BOM) if start == spans.BOM else 0
    f.seek(0)
    while block := f.read(_BLOCK):
        digest.update(block)
        total += len(block)
    if not total - skip:
        raise RecordError(f"{name}: the file is empty", mend="fetch it or make it again")
    f.seek(skip)
    header = b""
    if layout == "csv":
        header = f.readline()
        slices = tuple(_gathered(_csv_rows(f, skip + len(header), name), size))
    elif layout == "lines":
        slices = tuple(_gathered(_lines(f, skip), size))
    else:
        found = enumerate(spans.elements(f, where=name), 1)
        slices = tuple(_gathered(((a, b, n) for n, (a, b) in found), size))
    return Sliced(layout, slices, header, total, digest.hexdigest())


def _gathered(rows: Iterator[tuple[int, int, int]], size: int) -> Iterator[Slice]:
    """Rows (offset, end, number) put together to slices of at least `size` bytes."""
    begin = first = end = None
    for offset, stop, number in rows:
        if begin is None:
            begin, first = offset, number
        end = stop
        if end - begin >= size:
            yield Slice(begin, end - begin, first)
            begin = None
    if begin is not None:
        yield Slice(begin, end - begin, first)


def _lines(f: BinaryIO, offset: int) -> Iterator[tuple[int, int, int]]:
    for number, line in enumerate(f, 1):
        yield offset, offset + len(line), number
        offset += len(line)


def _csv_rows(f: BinaryIO, offset: int, name: str) -> Iterator[tuple[int, int, int]]:
    begin, first, inside = offset, 2, False
    for number, line in enumerate(f, 2):
        if b'"' in line:
            inside = quoted_after(line, inside=inside)
        offset += len(line)
        if not inside:
            yield begin, offset, first
            begin, first = offset, number + 1
    if inside:
        raise RecordError(
            f"{name}: line {first}: a quote is opened and never closed",
            mend="close it; a quote inside a quoted cell is written twice",
        )


def quoted_after(line: bytes, *, inside: bool) -> bool:
    """Whether the end of a CSV line lies in a quoted cell, if its start does (`inside`).

    quoted_after(b'a,"b', inside=False) -> True;  quoted_after(b'5" pipe,c', inside=False) -> False
    """
    at = 0
    while True:
        if inside:
            found = _CLOSING.match(line, at)
            if found is None:
                return True
            at, inside = found.end(), False
        if at == 0 and line.startswith(b'"'):
            at, inside = 1, True
            continue
        opening = line.find(b',"', at)
        if opening < 0:
            return False
        at, inside = opening + 2, True
