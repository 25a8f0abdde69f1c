"""VideoChatGPT's instruction JSON: a list of questions about videos that are named by id.

    [{"q": "What is shown?", "a": "A man on a roof.", "video_id": "v_0001"}]

The file does not say how a video's own file ends; it is looked for in the data root.
"""

from __future__ import annotations

import os
import pathlib
from collections.abc import Mapping

from sg4v_jax import files
from sg4v_jax.data.readers import fields, source
from sg4v_jax.data.record import Record, Visual
from sg4v_jax.errors import RecordError

# In the order of preference where an id has several files; a folder of frames comes last.
EXTENSIONS = (".mp4", ".mkv", ".webm", ".avi", ".mov", ".mpg", ".mpeg", ".m4v", ".flv", ".gif", "")


def read_videochatgpt_json(
    path: str | os.PathLike, *, root: str | os.PathLike, seed: int = 0
) -> list[Record]:
    """A question with its answer about a video, for each object of the list.

    Args:
      path: the annotation file, a JSON list.
      root: the folder that holds the videos, each named by its id and one of `EXTENSIONS`.
        An id with no file there becomes `ID.mp4`, which the index pass then finds missing.
      seed: not used; nothing is drawn here.

    Raises:
      RecordError: not a list of objects, or a field that is missing or no text; names file,
        record and field.
      UnsafePathError: an id that leaves `root`.
    """
    there = _names(root)
    return fields.numbered(
        _record(item, place, path=str(path), root=root, there=there)
        for place, item in source.read_list(path)
    )


def _names(root: str | os.PathLike) -> frozenset[str]:
    try:
        return frozenset(p.name for p in files.path(root).iterdir())
    except FileNotFoundError:
        return frozenset()  # every video is then missing, and named so
    except OSError as e:
        raise RecordError(
            f"{root}: cannot be listed ({e.strerror or e})", mend="give the folder of the videos"
        ) from e


def _record(
    item: Mapping, place: str, *, path: str, root: str | os.PathLike, there: frozenset[str]
) -> Record:
    name = fields.text_field(item, "video_id", where=f"{path}: {place}")
    where = f"{path}: record {name!r}"
    ending = next((e for e in EXTENSIONS if f"{name}{e}" in there), EXTENSIONS[0])
    at = f"{where}: field 'video_id'"
    if name in ("", "..") or pathlib.PurePosixPath(name).name != name:
        raise RecordError(f"{at}: {name!r:.60} is no name of a file", mend="give the name alone")
    visual = Visual("video", fields.media_path(f"{name}{ending}", root=root, where=at))
    question, answer = (fields.text_field(item, key, where=where) for key in ("q", "a"))
    return Record(name, path, (visual,), fields.asked([visual], question, answer))
