"""The fields of one annotation object as checked values, and what records have in common.

Every error names file, record, field and value, and says how to mend it.
"""

from __future__ import annotations

import dataclasses
import math
import os
import pathlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sg4v_jax import files
from sg4v_jax.data.record import Record, Visual
from sg4v_jax.errors import RecordError
from sg4v_jax.text.chat import IMAGE_PLACEHOLDER, Turn, normalise_llava


def text_field(item: Mapping, name: str, *, where: str) -> str:
    """The text in field `name`.

    Raises:
      RecordError: the field is missing or no text.
    """
    if not isinstance(item.get(name), str):
        raise RecordError(
            f"{where}: field {name!r}: expected text, got {item.get(name)!r:.60}",
            mend=f"give {name!r} as a text",
        )
    return item[name]


def record_id(item: Mapping, *, number: int, path: str) -> str:
    """The record's `id` as text, or else its number in the file `path`.

    Raises:
      RecordError: the id is neither text nor a number.
    """
    value = item.get("id")
    if value is None:
        return str(number)
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise RecordError(
            f"{path}: record {number}: field 'id': expected text, got {value!r:.60}",
            mend="give the id as a text or a number, or leave it out",
        )
    return str(value)


def exists(path: str) -> bool:
    """Whether there is such a file or folder; a name that no file can have names none."""
    try:
        return files.path(path).exists()
    except OSError:
        return False


def media_path(value: Any, *, root: str | os.PathLike, where: str) -> str:
    """A path of the annotation, joined to `root`.

    Raises:
      RecordError: no text, or empty.
      UnsafePathError: it leaves `root`.
    """
    if not isinstance(value, str):
        raise RecordError(
            f"{where}: expected a path, got {value!r:.60}", mend="give a path or a list of paths"
        )
    if value.strip() in ("", ".", "./"):
        raise RecordError(f"{where}: expected a path, got {value!r}", mend="name a file")
    return files.safe_join(root, value, where=where)


def visuals_of(item: Mapping, *, root: str | os.PathLike, where: str) -> tuple[Visual, ...]:
    """The `image` and `video` files of an object: a path or a list of paths in each field.

    All its videos share the optional `bounds` ([start, end] in seconds, or the fields `start` and
    `end`) and `fps`.

    Raises:
      RecordError: a field of the wrong type, or bounds that are no stretch of time.
      UnsafePathError: a path that leaves `root`.
    """
    found: list[Visual] = []
    for kind in ("image", "video"):
        value = item.get(kind, [])
        for one in value if isinstance(value, list) else [value]:
            full = media_path(one, root=root, where=f"{where}: field {kind!r}")
            found.append(Visual(kind, full))
    bounds, fps = _bounds(item, where), _fps(item, where)
    if bounds is None and fps is None:
        return tuple(found)
    if not any(v.kind == "video" for v in found):
        raise RecordError(
            f"{where}: bounds or fps without a video", mend="take them out, or name a video"
        )
    return tuple(
        dataclasses.replace(v, bounds=bounds, fps=fps) if v.kind == "video" else v for v in found
    )


def _bounds(item: Mapping, where: str) -> tuple[float, float] | None:
    given = [name for name in ("bounds", "start", "end") if item.get(name) is not None]
    if not given:
        return None
    value = item["bounds"] if "bounds" in given else [item.get("start"), item.get("end")]
    pair = isinstance(value, Sequence) and len(value) == 2 and all(map(_is_number, value))
    if not pair or not 0 <= value[0] < value[1] or len(given) == 3:
        shown = {name: item[name] for name in given}
        raise RecordError(
            f"{where}: field {given[0]!r}: {shown!r:.80} is no stretch of time",
            mend="give bounds as [start, end], or start and end, in seconds with start < end",
        )
    return float(value[0]), float(value[1])


def _fps(item: Mapping, where: str) -> float | None:
    value = item.get("fps")
    if value is not None and not (_is_number(value) and value > 0):
        raise RecordError(
            f"{where}: field 'fps': expected frames a second, got {value!r:.60}",
            mend="give a number above 0, or leave it out",
        )
    return None if value is None else float(value)


def _is_number(value: Any) -> bool:
    try:
        return not isinstance(value, bool) and math.isfinite(value)
    except (TypeError, OverflowError):  # a whole number too large for a float
        return False


def asked(visuals: Sequence[Visual], prompt: str, answer: str) -> tuple[Turn, ...]:
    """One question about `visuals` and its answer, each visual before the question in order.

    asked([video], "What moves?", "A ball.") -> user "<image>\\nWhat moves?", assistant "A ball."

    `<image>` spelled in the prompt says itself where the visuals stand.
    """
    if IMAGE_PLACEHOLDER not in prompt:
        prompt = f"{IMAGE_PLACEHOLDER}\n" * len(visuals) + prompt
    return placed([Turn("user", prompt), Turn("assistant", answer)], visuals)


def placed(turns: Sequence[Turn], visuals: Sequence[Visual]) -> tuple[Turn, ...]:
    """`turns` with their `<image>` where the model is trained on it.

    The original moves a message's `<image>` to its front; with several images order matters, so
    there they stay where the writer put them.
    """
    if len(visuals) == 1:
        turns = normalise_llava(turns)
    return tuple(turns)


def numbered(records: Iterable[Record]) -> list[Record]:
    """`records` with `occurrence` counted, so that messages tell those of one id apart."""
    seen: Counter[str] = Counter()
    out = []
    for record in records:
        seen[record.id] += 1
        if seen[record.id] > 1:
            record = dataclasses.replace(record, occurrence=seen[record.id])
        out.append(record)
    return out


def stem(name: str) -> str:
    """`a/clips_1.zip` -> `clips_1`."""
    return pathlib.PurePosixPath(name).stem
