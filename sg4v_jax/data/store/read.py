"""Pictures by their place in a store. Worker processes import this: neither jax nor grain here.

The ArrayRecord library reads local files. A shard on `gs://` is fetched once into a local folder
(`$SG4V_CACHE`, else `~/.cache/sg4v_jax`), checked against the store's checksum, and kept.
"""

from __future__ import annotations

import functools
import hashlib
import os
import pathlib
import shutil
import threading

import filelock
import numpy as np
from array_record.python.array_record_module import ArrayRecordReader

from sg4v_jax import files
from sg4v_jax.data.record import Slot
from sg4v_jax.data.store import catalog, example, pictures
from sg4v_jax.errors import CorruptVideoError, MissingVideoError, RecordError, StorageError
from sg4v_jax.video.anyres import Views

_last = threading.local()  # a record with several pictures is read once


def read_picture(slot: Slot) -> np.ndarray | Views:
    """The stored picture: u8[H,W,3] where the store holds whole pictures, else its two views.

    Raises:
      MissingVideoError: there is no such shard.
      CorruptVideoError: the shard or the picture is damaged; names shard and record.
    """
    first, second = _encoded(slot)
    where = f"{slot.shard}: record {slot.number}, picture {slot.place}"
    pixels = pictures.decode(first, where=where)
    return pixels if second is None else Views(pixels, pictures.decode(second, where=where))


def read_overview(slot: Slot) -> np.ndarray | None:
    """The overview u8[R,R,3] alone; None where the store holds whole pictures.

    Raises: as `read_picture`.
    """
    second = _encoded(slot)[1]
    where = f"{slot.shard}: record {slot.number}, overview {slot.place}"
    return None if second is None else pictures.decode(second, where=where)


def _encoded(slot: Slot) -> tuple[bytes, bytes | None]:
    values = _record(slot.shard, slot.number)
    main, overviews = values.get("pictures", []), values.get("overviews", [])
    if slot.place >= len(main) or (overviews and len(overviews) != len(main)):
        raise CorruptVideoError(
            f"{slot.shard}: record {slot.number}: {len(main)} pictures, {len(overviews)} "
            f"overviews, picture {slot.place} is wanted",
            mend="build the store again",
        )
    return main[slot.place], overviews[slot.place] if overviews else None


def _record(shard: str, number: int) -> dict[str, list]:
    if getattr(_last, "key", None) != (shard, number):
        try:
            values = example.decode(read_bytes(shard, number), where=f"{shard}: record {number}")
        except RecordError as e:
            raise CorruptVideoError(e.message, mend=e.mend) from e
        _last.key, _last.values = (shard, number), values
    return _last.values


def read_bytes(shard: str, number: int) -> bytes:
    """One record of an ArrayRecord file as it lies there.

    Raises: as `read_picture`.
    """
    try:
        return _open(shard, os.getpid()).read([number])[0]
    except (RuntimeError, IndexError, OSError) as e:
        raise CorruptVideoError(
            f"{shard}: record {number} cannot be read ({str(e).splitlines()[0]:.200})",
            mend="copy the store again, or build it again",
        ) from e


def count(shard: str) -> int:
    """How many records an ArrayRecord file has.

    Raises:
      MissingVideoError: there is no such file.
      CorruptVideoError: it is cut or damaged.
    """
    return _open(shard, os.getpid()).num_records()


@functools.lru_cache(maxsize=1024)
def _open(shard: str, process: int) -> ArrayRecordReader:
    """A reader, which any threads of this process may share; one that was forked opens its own."""
    local = local_copy(shard)
    if not os.path.isfile(local):
        raise MissingVideoError(f"{shard}: no such shard", mend="copy the store again")
    # No read-ahead: rows ask for records in no order.
    reader = ArrayRecordReader(local, "readahead_buffer_size:0,max_parallelism:0")
    if not reader.ok():
        raise CorruptVideoError(
            f"{shard}: not a whole ArrayRecord file", mend="copy the store again, or build it again"
        )
    return reader


def local_copy(shard: str) -> str:
    """A local file of the same bytes: the shard itself, or what was fetched of it.

    Raises:
      StorageError: it cannot be fetched, or what came has another checksum than the store says.
    """
    if "://" not in shard:
        return shard
    path = files.path(shard)
    known = {s.file: s.sha256 for s in _catalog(str(path.parent)).shards}
    expected = known.get(path.name, "")
    name = hashlib.sha256(f"{shard}:{expected}".encode()).hexdigest()[:32]
    target = cache_folder() / "arrayrecord" / name
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with filelock.FileLock(f"{target}.lock"):  # the first of several workers fetches
            if not target.exists():
                _fetch(path, target, expected=expected)
    except OSError as e:
        raise StorageError(
            f"cannot fetch {shard} to {target}: {e}", mend="free some space, or set SG4V_CACHE"
        ) from e
    return str(target)


def _fetch(path, target: pathlib.Path, *, expected: str) -> None:
    temporary = target.with_name(f"{target.name}.tmp-{os.getpid()}")
    try:
        with path.open("rb") as source, open(temporary, "wb") as sink:
            shutil.copyfileobj(source, sink, 1 << 22)
        if expected and (found := catalog.sha256_of(temporary)) != expected:
            raise StorageError(
                f"{path}: checksum {found[:16]}..., the store says {expected[:16]}...",
                mend="copy the store again, or build it again",
            )
        os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)


def cache_folder() -> pathlib.Path:
    """Where local copies and indices of remote data are kept; may be removed at any time."""
    return pathlib.Path(os.environ.get("SG4V_CACHE") or "~/.cache/sg4v_jax").expanduser()


@functools.lru_cache(maxsize=64)
def _catalog(folder: str) -> catalog.Catalog:
    return catalog.load(folder)
