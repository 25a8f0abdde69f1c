"""The items of a caption job in each mode: videos, key frames, parts of captioned ones, prompts.

sliding, fast   {"id", "video"}, or with key frames {"id", "video", "keys": row of the index}
clip            {"id", "video", "whole": row of a sliding job, "start", "end"}
recaption       {"id", "text"}

What is wrong with one item (no key frames, an error before) becomes its own failure when it is
worked on, so that no input is missing from the output.
"""

from __future__ import annotations

import math
import os
from typing import Any

from sg4v_jax import files
from sg4v_jax.caption.keyframe_index import read_index
from sg4v_jax.caption.videos import list_videos
from sg4v_jax.errors import ConfigError, RecordError

Items = list[dict[str, Any]]


def video_items(
    videos: str | os.PathLike | None, *, keyframes: str | os.PathLike | None
) -> tuple[str, Items]:
    """The root of the videos and the items of `sliding` and `fast`.

    Args:
      videos: as `videos.list_videos`; None for all that have key frames.
      keyframes: the folder of a key-frame job; None to caption frames at an interval.

    Raises:
      ConfigError: neither is given.
      RecordError: what `list_videos` and `read_index` raise.
    """
    if videos is None and keyframes is None:
        raise ConfigError("caption run needs videos", mend="give --videos or --keyframes")
    root, items = list_videos(videos) if videos is not None else ("", None)
    if keyframes is None:
        return root, items
    index = read_index(keyframes)
    if items is None:
        items = [{"id": name, "video": row["source"]} for name, row in index.items()]
    missing = {"error": f"it is not in {keyframes}"}
    return root, [item | {"keys": index.get(item["id"], missing)} for item in items]


def clip_items(captions: str | os.PathLike, *, start: float, end: float | None) -> Items:
    """The seconds `start` to `end` (None: the video's end) of each row of a sliding job.

    Raises:
      ConfigError: times that do not rise from 0 or later.
      RecordError: the file cannot be read, or has a row without an id.
    """
    if not (start >= 0 and math.isfinite(start)) or (end is not None and not end > start):
        raise ConfigError(
            f"--start={start}, --end={end} is no part of a video",
            mend="give seconds with 0 <= start < end",
        )
    items = []
    for number, row in enumerate(files.read_jsonl(captions), 1):
        if not isinstance(row.get("id"), str):
            raise RecordError(f"{captions}: line {number}: field 'id': {row.get('id')!r}")
        to = "end" if end is None else f"{end:g}"
        whole = {
            k: row.get(k)
            for k in ("id", "keyframe_times", "diff_captions", "preset", "error")
            + ("first_frame", "last_frame", "fps")
        }
        items.append(
            {
                "id": f"{row['id']}@{start:g}-{to}",
                "video": row.get("source") or "",
                "whole": whole,
                "start": start,
                "end": end,
            }
        )
    return items


def prompt_items(prompts: str | os.PathLike) -> Items:
    """A line of a text file each (its number is the id), or records with id and text.

    Raises:
      RecordError: not there, not UTF-8, a record without text, no prompts.
    """
    path = files.path(prompts)
    try:
        if path.suffix == ".jsonl":
            items = [_prompt(prompts, n, row) for n, row in enumerate(files.read_jsonl(path), 1)]
        else:
            lines = enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
            items = [{"id": f"{n:06d}", "text": line} for n, line in lines if line.strip()]
    except FileNotFoundError as e:
        raise RecordError(f"{prompts}: no such file", mend="check the path") from e
    except UnicodeDecodeError as e:
        raise RecordError(f"{prompts}: not UTF-8 ({e})", mend="save it as UTF-8") from e
    if not items:
        raise RecordError(f"{prompts}: no prompts", mend="write one a line")
    return items


def _prompt(where, number: int, row: dict[str, Any]) -> dict[str, Any]:
    text = next((row[k] for k in ("text", "prompt", "caption") if k in row), None)
    if not isinstance(text, str):
        raise RecordError(f"{where}: line {number}: field 'text': {text!r}", mend="give a string")
    return {"id": str(row.get("id") or f"{number:06d}"), "text": text}
