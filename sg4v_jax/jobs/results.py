"""Results: parts, done marks, and what is read from them.

    parts/00007.0002.jsonl    the rows of shard 00007, written by the owner of claim 2
    done/00007.json           which part counts, its sha256, counts of rows and errors
    redo/00007.json           the done mark of a shard that `reopen` opened again

A part is whole when its name appears. A done mark is created once, so a shard has one result
however many workers finish it.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from sg4v_jax.errors import RecordError, WorkdirError
from sg4v_jax.jobs.lease import Claim
from sg4v_jax.jobs.manifest import Manifest
from sg4v_jax.jobs.store import Store

_SHOWN = 10  # names of shards in a message


@dataclasses.dataclass(frozen=True)
class Status:
    """How far a job is: shards and items, in all and done; `errors` are done items that failed."""

    shards: int
    shards_done: int
    items: int
    items_done: int
    errors: int


def commit(store: Store, claim: Claim, rows: Sequence[Mapping[str, Any]]) -> bool:
    """Makes `rows` the result of the claim's shard; False if the shard has a result already."""
    part = f"parts/{claim.shard}.{claim.number:04d}.jsonl"
    content = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()
    mark = {
        "shard": claim.shard,
        "part": part,
        "sha256": hashlib.sha256(content).hexdigest(),
        "rows": len(rows),
        "errors": sum(row.get("error") is not None for row in rows),
        "owner": claim.owner,
        "claim": claim.number,
    }
    store.write(part, content)
    if store.create(f"done/{claim.shard}.json", json.dumps(mark).encode()):
        return True
    store.delete(part)
    return False


def done_shards(store: Store) -> set[str]:
    """The names of the shards that have a result."""
    return {name.removesuffix(".json") for name in store.names("done")}


def read_done(store: Store, shard: str, *, folder: str = "done") -> dict[str, Any] | None:
    """The done mark of `shard`, None if it has none."""
    try:
        return json.loads(store.read(f"{folder}/{shard}.json"))
    except FileNotFoundError:
        return None


def read_part(store: Store, mark: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The rows that a done mark stands for.

    Raises:
      RecordError: the part is missing or is not what was committed.
    """
    mend = f"delete done/{mark['shard']}.json and run the job again"
    try:
        content = store.read(mark["part"])
    except FileNotFoundError as e:
        raise RecordError(f"{store}: {mark['part']} is missing", mend=mend) from e
    if hashlib.sha256(content).hexdigest() != mark["sha256"]:
        raise RecordError(f"{store}: {mark['part']} has another checksum than its mark", mend=mend)
    rows = [json.loads(line) for line in content.decode().split("\n") if line]
    if len(rows) != mark["rows"]:
        raise RecordError(f"{store}: {mark['part']}: {len(rows)} rows, not {mark['rows']}")
    return rows


def merge(store: Store) -> Iterator[dict[str, Any]]:
    """The rows of a finished job in the order of its items, one each; failures have an "error".

    All done marks are looked at before the first row is given.

    Raises:
      WorkdirError: shards are not done; the message names them.
      RecordError: a part is missing or damaged.
    """
    manifest = Manifest.load(store)
    done = done_shards(store)
    missing = [shard.name for shard in manifest.shards if shard.name not in done]
    if missing:
        more = f" and {len(missing) - _SHOWN} more" if len(missing) > _SHOWN else ""
        raise WorkdirError(
            f"{store}: {len(missing)} of {len(manifest.shards)} shards are not done: "
            + ", ".join(missing[:_SHOWN])
            + more,
            mend="run the job again; what is done stays done",
        )
    return _rows(store, manifest)


def _rows(store: Store, manifest: Manifest) -> Iterator[dict[str, Any]]:
    for shard in manifest.shards:
        rows = read_part(store, read_done(store, shard.name))
        if len(rows) != shard.count:
            raise RecordError(
                f"{store}: shard {shard.name}: {len(rows)} rows for {shard.count} items",
                mend=f"delete done/{shard.name}.json and run the job again",
            )
        yield from rows


def status(store: Store, *, manifest: Manifest | None = None) -> Status:
    """How far the job is; reads every done mark."""
    manifest = manifest or Manifest.load(store)
    marks = [mark for name in done_shards(store) if (mark := read_done(store, name))]
    return Status(
        shards=len(manifest.shards),
        shards_done=len(marks),
        items=manifest.items,
        items_done=sum(mark["rows"] for mark in marks),
        errors=sum(mark["errors"] for mark in marks),
    )


def reopen(store: Store) -> list[str]:
    """Opens the shards that have failed items again; gives their names.

    The next run tries the failed items afresh and keeps the other rows.
    """
    opened = []
    for name in sorted(done_shards(store)):
        mark = read_done(store, name)
        if mark and mark["errors"]:
            store.write(f"redo/{name}.json", json.dumps(mark).encode())
            store.delete(f"done/{name}.json")
            opened.append(name)
    return opened


def kept_rows(store: Store, shard: str) -> dict[str, dict[str, Any]]:
    """The good rows, by id, of a shard that was opened again; else nothing."""
    mark = read_done(store, shard, folder="redo")
    if mark is None:
        return {}
    return {row["id"]: row for row in read_part(store, mark) if row.get("error") is None}
