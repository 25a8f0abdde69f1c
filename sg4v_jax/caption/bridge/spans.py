"""The records of a JSON file as stretches of its bytes, without parsing what is in them.

Files are read in blocks, so that memory does not grow with them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import BinaryIO

from sg4v_jax.errors import RecordError

BOM = b"\xef\xbb\xbf"
# A whole string, or a bracket: brackets inside strings do not count.
TOKEN = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"|[\[\]{}"]', re.DOTALL)
_SPACE = re.compile(rb"[ \t\r\n]*")
_BLOCK = 1 << 20


class _Window:
    """A file's bytes about where the reader is: `data` from `start` on, the reader at `at`."""

    def __init__(self, f: BinaryIO, block: int):
        self._f, self._block = f, block
        self.start, self.data, self.at, self.ended = f.tell(), b"", 0, False

    def more(self) -> None:
        """Reads another block, and forgets what the reader has left behind."""
        block = self._f.read(self._block)
        self.start += self.at
        self.data, self.at, self.ended = self.data[self.at :] + block, 0, not block

    def next(self) -> bytes:
        """Moves to the next byte that is no white space; gives it, empty at the end."""
        while True:
            self.at = _SPACE.match(self.data, self.at).end()
            if self.at < len(self.data) or self.ended:
                return self.shown(1)
            self.more()

    def shown(self, count: int = 20) -> bytes:
        """The bytes at the reader."""
        return self.data[self.at : self.at + count]


def elements(f: BinaryIO, *, where: str, block: int = _BLOCK) -> Iterator[tuple[int, int]]:
    """(start, end) of each object of the JSON list in a file.

        b'[{"a": 1}, {"b": "]"}]'  ->  (1, 9), (11, 21)

    Args:
      f: the file, open where the list begins (white space before it is skipped); it must not be
        moved before the last element has come.
      where: its name, for messages.
      block: bytes that are read at a time.

    Raises:
      RecordError: no list; cut off; an element that is no object; no comma between two.
    """
    window = _Window(f, block)
    if window.next() != b"[":
        raise RecordError(
            f"{where}: expected a JSON list of records, it begins with {window.shown()!r}",
            mend="wrap the records in [ ]; name a file of one record a line .jsonl",
        )
    window.at += 1
    number, after = 0, window.next()
    while after != b"]" or number:
        number += 1
        length = _object_length(window, f"{where}: record {number}")
        start = window.start + window.at
        yield start, start + length
        window.at += length
        if (after := window.next()) == b"]":
            break
        if after != b",":
            raise RecordError(
                f"{where}: after record {number}: expected ',' or ']', got {window.shown()!r}",
                mend="mend the file, or fetch it again: it may be cut off",
            )
        window.at += 1
        after = window.next()
    window.at += 1
    if window.next():
        raise RecordError(
            f"{where}: after the list there is {window.shown()!r}",
            mend="keep one JSON list in a file",
        )


def _object_length(window: _Window, where: str) -> int:
    """Bytes of the object at the reader."""
    if window.shown(1) != b"{":
        raise RecordError(
            f"{where}: expected an object, got {window.shown()!r}",
            mend="give each record as { }",
        )
    depth = done = 0  # brackets open, bytes of the object looked at
    while True:
        data, first = window.data, window.at
        for token in TOKEN.finditer(data, first + done):
            kind = data[token.start()]
            if kind == 0x22 and token.end() - token.start() == 1:
                done = token.start() - first  # a string that goes on in the next block
                break
            done = token.end() - first
            if kind in b"{[":
                depth += 1
            elif kind in b"}]":
                depth -= 1
                if depth == 0:
                    return done
        if window.ended:
            raise RecordError(
                f"{where}: its brackets or quotes are never closed",
                mend="fetch the file again: it may be cut off",
            )
        window.more()


def lines(f: BinaryIO) -> Iterator[tuple[int, int]]:
    """(start, end) of each line that is not blank, without its line end."""
    start = f.tell()
    for line in f:
        if line.strip():
            yield start, start + len(line.rstrip(b"\r\n"))
        start += len(line)
