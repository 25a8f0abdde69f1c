"""Runs the caller's function over a shard's items: one row for each, an error being a row too."""

from __future__ import annotations

import errno
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from sg4v_jax.errors import (
    CheckpointError,
    ConfigError,
    RecordError,
    StorageError,
    VideoError,
    WorkdirError,
)

Item = Mapping[str, Any]
Do = Callable[[Sequence[Item]], Iterable[Mapping[str, Any]]]

# The fault is not the item's, and every other item would meet it: the worker stops.
FATAL = (StorageError, ConfigError, WorkdirError, CheckpointError, MemoryError)
# The fault is in the input: another try would find it again.
PERMANENT = (RecordError, VideoError)
_NO_SPACE = (errno.ENOSPC, errno.EDQUOT)


def run_items(
    items: Sequence[Item],
    do: Do,
    *,
    attempts: int = 3,
    batch: int | None = None,
    check: Callable[[], None] = lambda: None,
) -> list[dict[str, Any]]:
    """One row for each item, in order.

    A call of `do` that raises is repeated item by item, so that one bad item spoils no other. A
    row with an "error" that is not None, an exception, and a missing row are failures; a failed
    item is tried again until `attempts` tries have been made. Exceptions that blame the input
    (`PERMANENT`) are not repeated. What still fails becomes a row
    `{"id": ..., "error": "CorruptVideoError: ...", "attempts": 1}`, with what `do` gave besides.

    Args:
      items: objects with an "id".
      do: takes some items, gives a row with the same "id" for each, in any order.
      attempts: tries for each item in all.
      batch: items a call; all at once by default.
      check: called before each call of `do`; may raise to stop.

    Raises:
      RecordError: `do` gave a row with an id that it was not asked for, or gave one twice.
      any of `FATAL`, OSError for a full disk: the whole shard is left for later.
    """
    done: dict[str, dict[str, Any]] = {}
    waiting, size = list(items), batch or max(1, len(items))
    for attempt in range(1, attempts + 1):
        failed = []
        for start in range(0, len(waiting), size):
            group = waiting[start : start + size]
            for item, row, final in _run_group(group, do, check=check):
                if row.get("error") is not None:
                    row["attempts"] = attempt
                    if not final:
                        failed.append(item)
                done[item["id"]] = row
        waiting = failed
    return [done[item["id"]] for item in items]


def _run_group(
    group: Sequence[Item], do: Do, *, check: Callable[[], None]
) -> list[tuple[Item, dict[str, Any], bool]]:
    """For each item its row, and whether a failure is final."""
    check()
    try:
        rows = _by_id(group, do(group))
    except FATAL:
        raise
    except Exception as e:
        if isinstance(e, OSError) and e.errno in _NO_SPACE:
            raise
        if isinstance(e, _WrongRowsError):
            raise RecordError(str(e), mend="mend the function that makes the rows") from e
        if len(group) > 1:
            return [result for item in group for result in _run_group([item], do, check=check)]
        row = _failure(group[0], f"{type(e).__name__}: {e}")
        return [(group[0], row, isinstance(e, PERMANENT))]
    missing = "no row came back"
    return [(i, rows.get(i["id"]) or _failure(i, missing), False) for i in group]


def _failure(item: Item, error: str) -> dict[str, Any]:
    return {"id": item["id"], "error": error}


class _WrongRowsError(Exception):
    pass


def _by_id(group: Sequence[Item], rows: Iterable[Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    asked, found = {item["id"] for item in group}, {}
    for row in rows:
        name = row.get("id")
        if name not in asked:
            raise _WrongRowsError(f"a row has id {name!r}, which was not asked for")
        if name in found:
            raise _WrongRowsError(f"two rows have id {name!r}")
        try:
            json.dumps(row, allow_nan=False)
            found[name] = dict(row)
        except (TypeError, ValueError) as e:
            found[name] = {"id": name, "error": f"the row is not JSON: {e}"}
    return found
