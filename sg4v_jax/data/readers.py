"""Annotation files to records. So far: LLaVA-style JSON.

One object a sample; `image` or `video` (a path relative to the data root, or a list of them) or
neither, and a conversation with one `<image>` for each:

    {"id": "v1", "video": "clips/v1.mp4",
     "conversations": [{"from": "human", "value": "<image>\\nWhat moves?"},
                       {"from": "gpt", "value": "A ball."}]}
"""

from __future__ import annotations

import os

from sg4v_jax import files
from sg4v_jax.data.record import Record, Visual
from sg4v_jax.errors import RecordError
from sg4v_jax.text.chat import IMAGE_PLACEHOLDER, conversation_turns, normalise_llava


def read_llava_json(path: str | os.PathLike, *, root: str | os.PathLike) -> list[Record]:
    """The records of a LLaVA-style JSON file.

    Args:
      path: the annotation file, a JSON list.
      root: the folder that `image` and `video` paths are relative to; none may leave it.

    Raises:
      RecordError: the file is not a list of objects, a field has the wrong type, the
        conversation is missing or does not alternate; names file, record and field.
      UnsafePathError: a path that climbs out of `root`.
    """
    items = files.read_json(path)
    if not isinstance(items, list):
        raise RecordError(
            f"{path}: expected a JSON list of records, got {type(items).__name__}",
            mend="wrap the records in [ ]",
        )
    return [_record(item, number, path=str(path), root=root) for number, item in enumerate(items)]


def _record(item: object, number: int, *, path: str, root: str | os.PathLike) -> Record:
    if not isinstance(item, dict):
        raise RecordError(f"{path}: record {number}: expected an object, got {item!r:.60}")
    name = str(item.get("id", number))
    where = f"{path}: record {name!r}"
    visuals = []
    for kind in ("image", "video"):
        value = item.get(kind, [])
        for one in value if isinstance(value, list) else [value]:
            if not isinstance(one, str):
                raise RecordError(
                    f"{where}: field {kind!r}: expected a path, got {one!r:.60}",
                    mend="give a path or a list of paths",
                )
            full = files.safe_join(root, one, where=f"{where}: field {kind!r}")
            visuals.append(Visual(kind, full))
    turns = conversation_turns(item, where=path)
    # The original moves a message's <image> to its front; with several images order matters, so
    # there they stay where the writer put them.
    if len(visuals) == 1 and sum(t.content.count(IMAGE_PLACEHOLDER) for t in turns) >= 1:
        turns = normalise_llava(turns)
    return Record(name, path, tuple(visuals), tuple(turns))
