"""What a finished store is: which files, made how, with which counts and checksums.

`store.json` is written last, so that a folder that has it is whole:

    {"format": 1,
     "made": {"pictures": "views", "codec": "png", "inputs": {"frames": 16, ...}},
     "records": 7, "records_sha256": "...",
     "shards": [{"file": "sg4v_...-00000-of-00002", "records": 4, "bytes": 70012, "sha256": ...}],
     "skipped": [{"record": "...", "reason": "..."}]}
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
from collections.abc import Iterable, Mapping
from typing import Any

from sg4v_jax import files
from sg4v_jax.errors import ConfigError, RecordError

NAME, SPLIT, VERSION = "sg4v_video_captions", "train", "1.0.0"
STORE, RECORDS, JOB = "store.json", "records.jsonl", "job"
FORMAT = 1
PICTURES = ("views", "grid")
_CHUNK = 1 << 22


@dataclasses.dataclass(frozen=True)
class Shard:
    """One ArrayRecord file of a store."""

    file: str
    records: int
    bytes: int
    sha256: str


@dataclasses.dataclass(frozen=True)
class Catalog:
    """A finished store.

    Attributes:
      folder: where it lies.
      made: how its pictures were made: `pictures`, `codec` and the `inputs` that they depend on.
      records: how many; `records_sha256`: checksum of `records.jsonl`.
      shards: the files, in order.
      skipped: (record, reason) of those that were left out when it was made.
      by: hash of the records and settings that it was made of; empty where TFDS made it.
    """

    folder: str
    made: Mapping[str, Any]
    records: int
    records_sha256: str
    shards: tuple[Shard, ...]
    skipped: tuple[tuple[str, str], ...] = ()
    by: str = ""

    def path(self, shard: Shard) -> str:
        """Where a shard lies; its name cannot lead out of the folder."""
        return files.safe_join(self.folder, shard.file, where=f"{self.folder}/{STORE}")

    def save(self) -> None:
        """Writes `store.json`."""
        value = {
            "format": FORMAT,
            "made": self.made,
            "records": self.records,
            "records_sha256": self.records_sha256,
            "shards": [dataclasses.asdict(s) for s in self.shards],
            "skipped": [{"record": r, "reason": why} for r, why in self.skipped],
            "by": self.by,
        }
        files.write_json(files.path(self.folder) / STORE, value)


def shard_name(number: int, count: int) -> str:
    """The file of shard `number`, counted from 0, as TFDS names it."""
    return f"{NAME}-{SPLIT}.array_record-{number:05d}-of-{count:05d}"


def folder_of(name: str | os.PathLike) -> str:
    """The store's folder, also where its `store.json` is named."""
    text = os.fspath(name)
    return os.path.dirname(text) or "." if text.endswith(f"/{STORE}") or text == STORE else text


def load(name: str | os.PathLike) -> Catalog:
    """The catalog of a finished store, once all its files are there in their full sizes.

    Raises:
      RecordError: not a finished store, a file is missing or has another size, or `store.json` is
        damaged or of another version; names the file.
      UnsafePathError: a name in it leads out of the folder.
    """
    folder = folder_of(name)
    catalog = _parse(folder)
    for shard in catalog.shards:
        path = files.path(catalog.path(shard))
        if not path.exists():
            raise RecordError(f"{path}: this shard of the store is missing", mend=_FETCH)
        size = path.stat().length
        if size != shard.bytes:
            raise RecordError(f"{path}: {size} bytes, the store says {shard.bytes}", mend=_FETCH)
    return catalog


_FETCH = "copy the store again, or build it again"


def _parse(folder: str) -> Catalog:
    if not files.path(folder).exists():
        raise RecordError(f"{folder}: no such file or folder", mend="check the path")
    where = files.path(folder) / STORE
    if not where.exists():
        raise RecordError(
            f"{folder}: not a finished store (it has no {STORE})",
            mend="run the command that builds it again; it goes on where it stopped",
        )
    value = files.read_json(where)
    try:
        if value["format"] != FORMAT:
            raise RecordError(
                f"{where}: field 'format' is {value['format']!r}, this version reads {FORMAT}",
                mend="build the store again",
            )
        catalog = Catalog(
            folder=folder,
            made=dict(value["made"]),
            records=int(value["records"]),
            records_sha256=value["records_sha256"],
            shards=tuple(Shard(**s) for s in value["shards"]),
            skipped=tuple((s["record"], s["reason"]) for s in value["skipped"]),
            by=value["by"],
        )
    except (KeyError, TypeError, ValueError) as e:
        raise RecordError(f"{where}: a field is missing or wrong: {e!r}", mend=_FETCH) from e
    found = sum(s.records for s in catalog.shards)
    if found != catalog.records or catalog.made.get("pictures") not in PICTURES:
        raise RecordError(
            f"{where}: {found} records in its shards, {catalog.records} in all, pictures "
            f"{catalog.made.get('pictures')!r}",
            mend=_FETCH,
        )
    return catalog


def verify(catalog: Catalog, shard: Shard) -> None:
    """Reads a shard to its last byte.

    Raises:
      RecordError: its checksum is another than the store says.
    """
    path = catalog.path(shard)
    if (found := sha256_of(path)) != shard.sha256:
        raise RecordError(
            f"{path}: checksum {found[:16]}..., the store says {shard.sha256[:16]}...", mend=_FETCH
        )


def sha256_of(name: str | os.PathLike) -> str:
    """The SHA-256 of a file, read in pieces."""
    h = hashlib.sha256()
    with files.path(name).open("rb") as f:
        while piece := f.read(_CHUNK):
            h.update(piece)
    return h.hexdigest()


def read_lines(catalog: Catalog) -> list[dict[str, Any]]:
    """The objects of `records.jsonl`: all of the records but their pictures.

    Raises:
      RecordError: the file is not the one that the store was finished with.
    """
    path = files.path(catalog.folder) / RECORDS
    try:
        found = sha256_of(path)
    except FileNotFoundError as e:
        raise RecordError(f"{path}: missing from the store", mend=_FETCH) from e
    if found != catalog.records_sha256:
        raise RecordError(f"{path}: was changed after the store was finished", mend=_FETCH)
    return files.read_jsonl(path)


def made_with(spec: Any, *, pictures: str, codec: str) -> dict[str, Any]:
    """How pictures are made of videos by `spec` (an `InputSpec`); what a run must agree with."""
    inputs: dict[str, Any] = {
        "frames": spec.frames,
        "band": spec.band,
        "longest_side": spec.longest_side,
        "sampling": spec.sampling,
    }
    if pictures == "views":
        inputs["side"] = spec.anyres.side
        inputs["pinpoints"] = [list(p) for p in spec.anyres.pinpoints]
    return {"pictures": pictures, "codec": codec, "inputs": inputs}


def check_inputs(catalog: Catalog, spec: Any) -> None:
    """Whether a run that shows videos as `spec` says may read these pictures.

    Raises:
      ConfigError: they were made otherwise; names each field, its value there and here.
    """
    made = catalog.made
    wanted = made_with(spec, pictures=made["pictures"], codec=made.get("codec", ""))["inputs"]
    stored = made.get("inputs", {})
    differ = [
        f"{name} is {stored.get(name)!r} there, {value!r} here"
        for name, value in wanted.items()
        if stored.get(name) != value
    ]
    if differ:
        raise ConfigError(
            f"{catalog.folder}: its pictures were made with other settings: {'; '.join(differ)}",
            mend="set data.frames, band, longest_side and sampling as there, or build it again",
        )


def lines_bytes(lines: Iterable[str]) -> tuple[bytes, str]:
    """`records.jsonl` of these lines, and its checksum."""
    data = "".join(f"{line}\n" for line in lines).encode()
    return data, hashlib.sha256(data).hexdigest()
