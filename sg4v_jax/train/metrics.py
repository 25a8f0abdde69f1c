"""The training log: one JSON line a logged step, which resuming cuts back to its checkpoint."""

from __future__ import annotations

import json
import os

from sg4v_jax import files


class MetricsLog:
    """Appends records to `metrics.jsonl`; one process writes.

    Args:
      path: the file.
      step: the step resumed from; records after it were not saved and are cut away, so that the
        log tells one run, however often it was interrupted.
    """

    def __init__(self, path: str | os.PathLike, *, step: int):
        self._path = files.path(path)
        self._rows = [r for r in read(path) if r["step"] <= step]
        files.write_atomic(path, "".join(json.dumps(r) + "\n" for r in self._rows))

    def write(self, record: dict) -> None:
        """Adds one record; it must have `step`."""
        with self._path.open("a") as f:
            f.write(json.dumps(record) + "\n")


def read(path: str | os.PathLike) -> list[dict]:
    """The records of a log; a last line cut by a kill is left out. Empty without a file."""
    file = files.path(path)
    if not file.exists():
        return []
    rows = []
    for line in file.read_text().splitlines():
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError:
            break
    return rows
