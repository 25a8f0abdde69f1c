"""What the index pass learnt, kept for the next start.

Each record has a key: a hash of its text, of how it is shown (settings, tokenizer) and of its files'
names, sizes and times of change. What changes gets another key and is measured anew; the file can
be removed at any time, and one that is damaged counts as none.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from collections.abc import Sequence

from sg4v_jax import files
from sg4v_jax.data.inputs import InputSpec, Measured
from sg4v_jax.data.record import Record, Visual
from sg4v_jax.errors import DecodeTimeoutError, RecordError, Sg4vError, StorageError
from sg4v_jax.text.tokenizer import Tokenizer

FORMAT = 1  # raise it when the same record would be laid out in another length


class IndexCache:
    """Measurements by record.

    Args:
      path: the file; None: nothing is kept.
      records: all that will be asked for.
      spec, tokenizer, positions: as `inputs.measure`.
    """

    def __init__(
        self,
        path: str | os.PathLike | None,
        records: Sequence[Record],
        *,
        spec: InputSpec,
        tokenizer: Tokenizer,
        positions: int | None,
    ):
        self._path, self._new, self._used = path, {}, {}
        self._old, self._keys = {}, {}
        if path is None:
            return
        shown = json.dumps([FORMAT, dataclasses.asdict(spec), positions], sort_keys=True)
        settings = hashlib.sha256(f"{shown}{tokenizer.digest()}".encode()).digest()
        prints: dict[str, str] = {}
        self._keys = {id(r): _key(r, settings=settings, prints=prints) for r in records}
        self._old = _read(path)

    def get(self, record: Record) -> Measured | Sg4vError | None:
        """What is known of `record`; None: nothing."""
        key = self._keys.get(id(record))
        value = self._old.get(key)
        if value is None:
            return None
        found = _parse(value)
        if found is not None:
            self._used[key] = value
        return found

    def put(self, record: Record, found: Measured | Sg4vError) -> None:
        """Keeps what was measured; not that a file took too long, which may be a slow hour's."""
        if self._path is None or isinstance(found, DecodeTimeoutError):
            return
        told = [found.message, found.mend] if isinstance(found, Sg4vError) else list(found)
        self._new[self._keys[id(record)]] = told

    def save(self) -> None:
        """Writes what was asked for; without a place to write, the next start measures again."""
        if self._path is None or (not self._new and len(self._used) == len(self._old)):
            return
        value = {"format": FORMAT, "records": self._used | self._new}
        try:
            files.write_atomic(self._path, json.dumps(value, separators=(",", ":")))
        except StorageError:
            return


def _key(record: Record, *, settings: bytes, prints: dict[str, str]) -> str:
    h = hashlib.sha256(settings)
    h.update(json.dumps(record.as_json(), sort_keys=True).encode())
    for visual in record.visuals:
        h.update(_fingerprint(visual, prints).encode())
    return h.hexdigest()[:32]


def _fingerprint(visual: Visual, known: dict[str, str]) -> str:
    """Size and time of change of a file; its stored picture's size is in the record itself."""
    if visual.slot is not None:
        return ""
    if visual.path not in known:
        try:
            if "://" in visual.path:
                about = files.path(visual.path).stat()
                known[visual.path] = f"{about.length} {about.mtime}"
            else:
                status = os.stat(visual.path)
                known[visual.path] = f"{status.st_size} {status.st_mtime_ns}"
        except OSError:
            known[visual.path] = "absent"
    return known[visual.path]


def _read(path: str | os.PathLike) -> dict[str, list]:
    try:
        value = json.loads(files.path(path).read_text())
        return dict(value["records"]) if value["format"] == FORMAT else {}
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def _parse(value: list) -> Measured | Sg4vError | None:
    try:
        if isinstance(value[0], str):
            message, mend = value
            return RecordError(message, mend=mend)
        sizes, (positions, tiles, scored), cut = value
        return Measured(tuple((w, h) for w, h in sizes), (positions, tiles, scored), cut)
    except (IndexError, KeyError, TypeError, ValueError):
        return None
