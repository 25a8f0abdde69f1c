"""Records that a run left out: named in a file, counted, and too many of them stop it.

One line of `skipped.jsonl` is `{"record": ..., "reason": ...}`; each record stands there once, over
all epochs and resumptions. Beside it, `substituted.jsonl` names the records of which other frames
stand for lost ones.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Sequence
from typing import Any

from sg4v_jax import files
from sg4v_jax.data.record import Note
from sg4v_jax.errors import RecordError

SUBSTITUTED = "substituted.jsonl"
_NAMED = 3  # records that the error names


class SkipLog:
    """Counts and writes what could not be read.

    Args:
      path: the file; what an earlier run left there counts. Each process of a run of several
        hosts sees its own rows and needs a file of its own.
      total_records: records read from the annotation files, of all parts.
      max_share: how much of them may be skipped.

    Attributes:
      skipped: record -> reason.
      substituted: record -> places of its pictures that show other frames than wanted.
    """

    def __init__(self, path: str | os.PathLike, *, total_records: int, max_share: float):
        self._path, self._total, self._share = files.path(path), total_records, max_share
        self._beside = self._path.parent / SUBSTITUTED
        self.skipped = {r["record"]: r["reason"] for r in _lines(self._path, "reason")}
        self.substituted = {r["record"]: r["frames"] for r in _lines(self._beside, "frames")}

    def index(self, skipped: Sequence[tuple[str, str]]) -> None:
        """Adds what the index pass skipped: (file and record, reason).

        Raises: as `add`.
        """
        self.add(Note(where, "skipped", reason, 1) for where, reason in skipped)
        if not self._path.exists():
            self._write()  # an empty file says that nothing was skipped

    def add(self, notes: Iterable[Note]) -> None:
        """Adds what went wrong while reading rows.

        Raises:
          RecordError: the skipped records are more than the share allowed; names the first.
          StorageError: the file cannot be written.
        """
        skipped, substituted = dict(self.skipped), dict(self.substituted)
        for note in notes:
            if note.kind == "skipped":
                skipped.setdefault(note.record, note.reason)
            else:  # the same frames again in the next epoch
                substituted[note.record] = max(note.count, substituted.get(note.record, 0))
        changed = len(skipped) > len(self.skipped), substituted != self.substituted
        self.skipped, self.substituted = skipped, substituted
        if changed[0]:
            self._write()
        if changed[1]:
            rows = [{"record": record, "frames": n} for record, n in substituted.items()]
            files.write_atomic(self._beside, _jsonl(rows))
        self._check()

    def _write(self) -> None:
        rows = [{"record": record, "reason": reason} for record, reason in self.skipped.items()]
        files.write_atomic(self._path, _jsonl(rows))

    def _check(self) -> None:
        if len(self.skipped) <= self._share * self._total:
            return
        first = "; ".join(
            reason if record in reason else f"{record}: {reason}"
            for record, reason in list(self.skipped.items())[:_NAMED]
        )
        raise RecordError(
            f"{len(self.skipped)} of {self._total} records cannot be used, more than "
            f"{self._share:.1%} of them: {first}",
            mend=f"mend those named in {self._path} and remove that file, or raise "
            "data.max_skipped",
        )


def _jsonl(rows: Iterable[dict[str, Any]]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


def _lines(path, field: str) -> list[dict[str, Any]]:
    """The objects of an earlier run's file; none where there is no file."""
    if not path.exists():
        return []
    rows = files.read_jsonl(path)
    for number, row in enumerate(rows, 1):
        if "record" not in row or field not in row:
            raise RecordError(
                f"{path}: line {number}: no 'record' or no {field!r}",
                mend="remove the file; it is written anew",
            )
    return rows
