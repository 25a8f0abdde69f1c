"""Arms as stores of rendered pictures in ArrayRecord (`data/store`), so that training opens no video.

    OUT/detailed.store, OUT/short.store ...     `arrayrecord` is the format of such a part

Videos are decoded once, for the first arm; the others take their pictures from its store, bit for
bit, where the codec is exact. So pictures cannot differ between arms.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping, Sequence
from typing import Any

from sg4v_jax.caption.bridge import styles
from sg4v_jax.data.inputs import InputSpec
from sg4v_jax.data.readers import read_arrayrecord, read_llava_json
from sg4v_jax.data.record import Record
from sg4v_jax.data.store.pictures import DEFAULT
from sg4v_jax.data.store.write import write_shards
from sg4v_jax.errors import RecordError


def write_stores(
    report: Mapping[str, Any],
    *,
    out: str | os.PathLike,
    root: str | os.PathLike,
    spec: InputSpec,
    codec: str = DEFAULT,
    store_as: str = "views",
    workers: int = 1,
    max_skipped: float = 0.01,
) -> dict[str, str]:
    """A store for each arm of a build of `llava_json`; goes on where it was stopped.

    Args:
      report: what `build` returned.
      out: the build's folder; stores are made in it.
      root: the folder of the videos.
      spec: how videos are shown.
      codec, store_as, workers, max_skipped: as for `data.store.write.write_shards`.

    Returns:
      The store's folder of each arm.

    Raises:
      RecordError: the arms' stores hold other records or pictures; never expected.
      What `write_shards` raises.
    """
    made: dict[str, str] = {}
    first: list[Record] = []
    for name, arm in report["arms"].items():
        records = read_llava_json(f"{out}/{arm['file']}", root=root)
        if first:
            records = shown_by(first, records, render=codec.startswith("jpeg"))
        made[name] = f"{out}/{styles.slug(name)}.store"
        options = dict(codec=codec, store_as=store_as, workers=workers, max_skipped=max_skipped)
        write_shards(records, out=made[name], spec=spec, **options)
        stored = read_arrayrecord(made[name], root="")
        first = first or stored
        if [_shown(r) for r in stored] != [_shown(r) for r in first]:
            raise RecordError(
                f"{made[name]} shows other pictures than {out}/{styles.slug(next(iter(made)))}.store",
                mend="remove both and build again",
            )
    return made


def shown_by(first: Sequence[Record], records: Sequence[Record], *, render: bool) -> list[Record]:
    """The records of another arm that the first arm's store has, with its pictures.

    Args:
      first: the first arm's records, from its store. A video that could not be rendered is in none.
      records: the other arm's; their ids are unique.
      render: keep the records' own videos: an inexact codec would change pictures twice.
    """
    stored = {record.id: record for record in first}
    kept = [record for record in records if record.id in stored]
    if render:
        return kept
    return [dataclasses.replace(r, visuals=stored[r.id].visuals) for r in kept]


def _shown(record: Record) -> tuple:
    """What a record shows, but for where it lies."""
    slots = tuple((v.slot.number, v.slot.place, v.slot.size) for v in record.visuals)
    return record.id, tuple((v.kind, v.path, v.bounds, v.fps) for v in record.visuals), slots
