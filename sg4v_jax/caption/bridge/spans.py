"""The elements of a JSON list as stretches of its bytes, without parsing what is in them."""

from __future__ import annotations

import re
from collections.abc import Iterator

from sg4v_jax.errors import RecordError

# A whole string, or a bracket: brackets inside strings do not count.
TOKEN = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"|[\[\]{}"]', re.DOTALL)
_BETWEEN = re.compile(rb"\s*,\s*")
_LINE = re.compile(rb"[^\n]*")
_SPACE = re.compile(rb"\s*")


def elements(content, *, start: int = 0, where: str) -> Iterator[tuple[int, int]]:
    """(start, end) of each element of the JSON list in `content`.

        b'[{"a": 1}, {"b": "]"}]'  ->  (1, 9), (11, 21)

    Args:
      content: bytes, or anything with their interface (a mapped file).
      start: where the list begins; white space before it is skipped.
      where: the file, for messages.

    Raises:
      RecordError: no list; cut off; an element that is no object; no comma between two.
    """
    at = _SPACE.match(content, start).end()
    if bytes(content[at : at + 1]) != b"[":
        raise RecordError(
            f"{where}: expected a JSON list of records, it begins with "
            f"{bytes(content[at : at + 20])!r}",
            mend="wrap the records in [ ]; name a file of one record a line .jsonl",
        )
    at = _SPACE.match(content, at + 1).end()
    number = 0
    if bytes(content[at : at + 1]) == b"]":
        _end(content, at + 1, where)
        return
    while True:
        number += 1
        end = _object_end(content, at, f"{where}: record {number}")
        yield at, end
        comma = _BETWEEN.match(content, end)
        if comma is None:
            break
        at = comma.end()
    at = _SPACE.match(content, end).end()
    if bytes(content[at : at + 1]) != b"]":
        raise RecordError(
            f"{where}: after record {number}: expected ',' or ']', got "
            f"{bytes(content[at : at + 20])!r}",
            mend="mend the file, or fetch it again: it may be cut off",
        )
    _end(content, at + 1, where)


def lines(content, *, start: int = 0) -> Iterator[tuple[int, int]]:
    """(start, end) of each line that is not blank, without its line end."""
    size = len(content)
    while start < size:
        found = _LINE.match(content, start)
        if bytes(content[found.start() : found.end()]).strip():
            end = found.end()
            yield start, end - (content[end - 1 : end] == b"\r")
        start = found.end() + 1


def _object_end(content, start: int, where: str) -> int:
    if bytes(content[start : start + 1]) != b"{":
        raise RecordError(
            f"{where}: expected an object, got {bytes(content[start : start + 20])!r}",
            mend="give each record as { }",
        )
    depth = 0
    for token in TOKEN.finditer(content, start):
        kind = content[token.start()]
        if kind in b"{[":
            depth += 1
        elif kind in b"}]":
            depth -= 1
            if depth == 0:
                return token.end()
        elif token.end() - token.start() == 1:
            break  # a quote that opens no whole string
    raise RecordError(
        f"{where}: its brackets or quotes are never closed",
        mend="fetch the file again: it may be cut off",
    )


def _end(content, at: int, where: str) -> None:
    at = _SPACE.match(content, at).end()
    if at != len(content):
        raise RecordError(
            f"{where}: after the list there is {bytes(content[at : at + 20])!r}",
            mend="keep one JSON list in a file",
        )
