"""A store of rendered pictures (`data/store`), made by `sg4v data build` or by `tfds build`.

`file` of the part is the store's folder. Its records look like those of any other format, but
their pictures come from the store: no video is opened.
"""

from __future__ import annotations

import os

from sg4v_jax import files
from sg4v_jax.data.readers import fields
from sg4v_jax.data.record import Record, Slot, Visual
from sg4v_jax.data.store import catalog, seal
from sg4v_jax.errors import RecordError
from sg4v_jax.text.chat import conversation_turns


def read_arrayrecord(
    path: str | os.PathLike, *, root: str | os.PathLike, seed: int = 0
) -> list[Record]:
    """The records of a store, in its order; reads text and sizes, no pictures.

    A folder that TFDS built and that nobody has read yet is read through once, and then has its
    `store.json`.

    Args:
      path: the store's folder.
      root, seed: not used; nothing is looked for elsewhere, and nothing is drawn.

    Raises:
      RecordError: not a finished store, a missing, cut or changed file, or a field of the wrong
        type; names the file.
    """
    store = seal.seal(catalog.folder_of(path))
    shards = [(str(files.path(store.path(shard))), shard.records) for shard in store.shards]
    where = f"{store.folder}/{catalog.RECORDS}"
    records = []
    for number, line in enumerate(catalog.read_lines(store), 1):
        try:
            records.append(_record(line, shards=shards, store=store.folder))
        except (KeyError, IndexError, TypeError, ValueError) as e:
            raise RecordError(
                f"{where}: line {number}: a field is missing or wrong: {e!r}",
                mend="build the store again",
            ) from e
    return fields.numbered(records)


def _record(line: dict, *, shards: list[tuple[str, int]], store: str) -> Record:
    turns = tuple(conversation_turns(line, where=store))
    (shard, count), number = shards[line["shard"]], line["number"]
    if line["shard"] < 0 or not 0 <= number < count:
        raise ValueError(f"shard {line['shard']}, record {number} of {count}")
    visuals = tuple(
        Visual(
            kind=about["kind"],
            path=about["path"],
            bounds=about["bounds"] and tuple(about["bounds"]),
            fps=about["fps"],
            slot=Slot(shard, number, place, _size(about["size"]), about["substituted"]),
        )
        for place, about in enumerate(line["visuals"])
    )
    return Record(line["id"], store, visuals, turns, part=line["part"])


def _size(value: list) -> tuple[int, int]:
    width, height = value
    if not (isinstance(width, int) and isinstance(height, int) and min(width, height) > 0):
        raise ValueError(f"size {value}")
    return width, height
