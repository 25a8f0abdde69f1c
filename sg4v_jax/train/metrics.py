"""The training log: one JSON line a logged step, which resuming cuts back to its checkpoint."""

from __future__ import annotations

import json
import os

from sg4v_jax import files
from sg4v_jax.errors import StorageError


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
        """Adds one record; it must have `step`.

        Raises:
          StorageError: the disk is full or the folder cannot be written.
        """
        try:
            with self._path.open("a") as f:
                f.write(json.dumps(record) + "\n")
        except OSError as e:
            raise StorageError(
                f"cannot write {self._path} at step {record['step']}: {e.strerror or e}",
                mend="free some space; the same command goes on from the last checkpoint",
            ) from e


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
