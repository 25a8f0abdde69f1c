"""An annotation file as JSON values, whatever strangers have put into it."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable
from typing import Any

from sg4v_jax import files
from sg4v_jax.errors import RecordError

# Escapes of half a character: JSON allows them alone, UTF-8 and file names do not.
_HALF_CHARACTER = re.compile(r"\\u[dD][89a-fA-F]")
_UTF_16 = (b"\xff\xfe", b"\xfe\xff")
_DEEPEST = 16  # levels of brackets in a record; real ones have four


def read_text(path: str | os.PathLike) -> str:
    """The text of an annotation file; a UTF-8 byte order mark is taken off.

    Raises:
      RecordError: the file is missing, unreadable, empty, or not UTF-8; names the byte.
    """
    try:
        data = files.path(path).read_bytes()
    except FileNotFoundError as e:
        raise RecordError(f"{path}: no such file", mend="check the path") from e
    except OSError as e:
        raise RecordError(
            f"{path}: cannot be read ({e.strerror or e})",
            mend="give a file that this user may read",
        ) from e
    if not data.strip():
        raise RecordError(f"{path}: the file is empty", mend="fetch it or make it again")
    if data.startswith(_UTF_16):
        raise RecordError(f"{path}: the text is UTF-16", mend="save it as UTF-8")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as e:
        raise RecordError(
            f"{path}: byte {e.start} is 0x{data[e.start]:02x}, not UTF-8",
            mend="save the file as UTF-8, or fetch it again",
        ) from e


def parse_json(text: str, *, where: str, line: int = 0) -> Any:
    """The JSON value of `text`.

    Args:
      where: the file, for messages.
      line: the line that `text` is, in a file of one value a line; 0 where it is the whole file.

    Raises:
      RecordError: it is not JSON, nested too deep, a number has too many digits, or an escape
        stands for half a character.
    """
    at = f"{where}: line {line}: " if line else f"{where}: "
    try:
        value = json.loads(text)
    except json.JSONDecodeError as e:
        at = f"{where}: line {line or e.lineno}: "
        raise RecordError(
            f"{at}not JSON ({e.msg}, column {e.colno})", mend="mend the file or make it again"
        ) from e
    except RecursionError as e:
        raise RecordError(
            f"{at}brackets are nested too deep", mend="annotations need a few levels only"
        ) from e
    except ValueError as e:  # Python refuses whole numbers of thousands of digits
        raise RecordError(f"{at}{e}", mend="mend the number") from e
    if _HALF_CHARACTER.search(text):
        try:
            json.dumps(value, ensure_ascii=False).encode()
        except UnicodeEncodeError as e:
            raise RecordError(
                f"{at}an escape \\u{ord(e.object[e.start]):04x} is half a character",
                mend="write both halves, or take it out",
            ) from e
        except RecursionError as e:  # writing runs out of stack a little before reading does
            raise RecordError(f"{at}brackets are nested too deep", mend="flatten it") from e
    return value


def read_list(path: str | os.PathLike) -> list[tuple[str, dict]]:
    """The objects of a JSON list, each with its place in the file (`record 3`).

    Raises:
      RecordError: as `read_text` and `parse_json`; not a list, or not one of objects.
    """
    items = parse_json(read_text(path), where=str(path))
    if not isinstance(items, list):
        raise RecordError(
            f"{path}: expected a JSON list of records, got {type(items).__name__}",
            mend="wrap the records in [ ]; a file of one record a line has format 'jsonl'",
        )
    return [(f"record {n}", _object(x, f"{path}: record {n}")) for n, x in enumerate(items)]


def read_lines(path: str | os.PathLike) -> list[tuple[str, dict]]:
    """The objects of a file of one JSON object a line, each with its place (`line 4`).

    Raises: as `read_list`.
    """
    rows = []
    for number, line in enumerate(read_text(path).split("\n"), 1):  # not at U+2028, as JSON
        if line.strip():
            value = parse_json(line, where=str(path), line=number)
            rows.append((f"line {number}", _object(value, f"{path}: line {number}")))
    return rows


def _object(value: Any, where: str) -> dict:
    level, depth = [value], 0
    while level:  # before anything is shown: to print brackets takes stack, as to read them
        level = [y for x in level for y in _inside(x)]
        depth += 1
        if depth > _DEEPEST:
            raise RecordError(
                f"{where}: brackets are nested deeper than {_DEEPEST}", mend="flatten the record"
            )
    if not isinstance(value, dict):
        raise RecordError(
            f"{where}: expected an object, got {value!r:.60}", mend="give each record as { }"
        )
    return value


def _inside(value: Any) -> Iterable:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list) else ()
