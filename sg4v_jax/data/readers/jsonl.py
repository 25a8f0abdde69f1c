"""Plain JSONL, the easiest file to write: one question and answer, or one caption, a line.

    {"id": "a", "video": "clips/a.mp4", "prompt": "What moves?", "answer": "A ball."}
    {"id": "b", "video": "clips/b.mp4", "bounds": [2, 8], "caption": "A ball falls."}
    {"id": "c", "image": "grids/c.png", "conversations": [{"from": "human", "value": ...}, ...]}

`question` is another name of `prompt`, `caption` of `answer`; a caption alone is asked for with a
drawn prompt. A line with `conversations` is read as LLaVA's.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

from sg4v_jax.data.readers import fields, source
from sg4v_jax.data.readers.llava import llava_record
from sg4v_jax.data.readers.sharegpt4video import caption_prompt
from sg4v_jax.data.record import Record
from sg4v_jax.errors import RecordError

_ASKS, _SAYS = ("prompt", "question"), ("answer", "caption")


def read_jsonl(path: str | os.PathLike, *, root: str | os.PathLike, seed: int = 0) -> list[Record]:
    """The records of a plain JSONL file.

    Args:
      path: the annotation file, one JSON object a line; blank lines are skipped.
      root: the folder that `image` and `video` paths are relative to; none may leave it.
      seed: draws the prompts of captions that have none.

    Raises:
      RecordError: not one JSON object a line, no answer, an answer to no question, two names of
        one field, or a field of the wrong type; names file, record and field.
      UnsafePathError: a path that climbs out of `root`.
    """
    rows = enumerate(source.read_lines(path))
    return fields.numbered(
        _record(item, path=str(path), root=root, number=number, seed=seed)
        for number, (_, item) in rows
    )


def _record(item: Mapping, *, path: str, root: str | os.PathLike, number: int, seed: int) -> Record:
    if "conversations" in item:
        return llava_record(item, path=path, root=root, number=number)
    name = fields.record_id(item, number=number, path=path)
    where = f"{path}: record {name!r}"
    visuals = fields.visuals_of(item, root=root, where=where)
    ask, say = _given(item, _ASKS, where=where), _given(item, _SAYS, where=where)
    if say is None:
        raise RecordError(
            f"{where}: field 'answer' is missing",
            mend="give 'answer' or 'caption', or 'conversations'",
        )
    answer = fields.text_field(item, say, where=where)
    if ask is not None:
        prompt = fields.text_field(item, ask, where=where)
    elif say == "caption" and visuals:
        prompt = caption_prompt(name, seed=seed)
    else:
        raise RecordError(f"{where}: field 'prompt' is missing", mend="give the question asked")
    return Record(name, path, visuals, fields.asked(visuals, prompt, answer))


def _given(item: Mapping, names: tuple[str, ...], *, where: str) -> str | None:
    """Which of the names of one field the object uses."""
    used = [name for name in names if name in item]
    if len(used) > 1:
        raise RecordError(
            f"{where}: fields {used[0]!r} and {used[1]!r} both given", mend="give one of them"
        )
    return used[0] if used else None
