"""LLaVA-style JSON: one object a sample.

`image` or `video` (a path relative to the data root, or a list of them) or neither, and a
conversation with one `<image>` for each. A video may have `bounds` in seconds and an `fps`:

    {"id": "v1", "video": "clips/v1.mp4", "bounds": [2.5, 8],
     "conversations": [{"from": "human", "value": "<image>\\nWhat moves?"},
                       {"from": "gpt", "value": "A ball."}]}
"""

from __future__ import annotations

import os
from typing import Any

from sg4v_jax.data.readers import fields, source
from sg4v_jax.data.record import Record
from sg4v_jax.errors import RecordError
from sg4v_jax.text.chat import conversation_turns


def read_llava_json(
    path: str | os.PathLike, *, root: str | os.PathLike, seed: int = 0
) -> list[Record]:
    """The records of a LLaVA-style JSON file.

    Args:
      path: the annotation file, a JSON list.
      root: the folder that `image` and `video` paths are relative to; none may leave it.
      seed: not used; nothing is drawn here.

    Raises:
      RecordError: the file is not a list of objects, a field has the wrong type, the
        conversation is missing or does not alternate; names file, record and field.
      UnsafePathError: a path that climbs out of `root`.
    """
    items = enumerate(source.read_list(path))
    return fields.numbered(
        llava_record(x, path=str(path), root=root, number=n) for n, (_, x) in items
    )


def llava_record(item: dict, *, path: str, root: str | os.PathLike, number: int) -> Record:
    """One object of a LLaVA-style file.

    Raises: as `read_llava_json`.
    """
    name = fields.record_id(item, number=number, path=path)
    visuals = fields.visuals_of(item, root=root, where=f"{path}: record {name!r}")
    _check_speakers(item.get("conversations"), where=f"{path}: record {name!r}")
    turns = conversation_turns(item | {"id": name}, where=path)
    return Record(name, path, visuals, fields.placed(turns, visuals))


def _check_speakers(turns: Any, *, where: str) -> None:
    """Refuses a `from` that is a list or an object, which could not be looked up as a role."""
    for number, turn in enumerate(turns if isinstance(turns, list) else ()):
        if isinstance(turn, dict) and isinstance(turn.get("from"), list | dict):
            raise RecordError(
                f"{where}: turn {number}: 'from' is {turn['from']!r:.40}",
                mend="use 'human' or 'gpt'",
            )
