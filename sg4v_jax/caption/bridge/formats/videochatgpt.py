"""VideoChatGPT's instruction JSON: a question and an answer about a video that is named by id.

    {"q": "Describe the video.", "a": "A man stands on a roof.", "video_id": "v_0001"}

The file does not say how a video's own file ends: `.mp4` is taken, or what `video_name` says.
"""

from __future__ import annotations

import pathlib
from collections.abc import Iterator, Mapping
from typing import Any

from sg4v_jax.caption.bridge.clips import CaptionedClip, RowFault, caption_text, plain_path, row_id
from sg4v_jax.caption.bridge.formats import base

NAME = "videochatgpt_json"
VIDEO_NAME = "{video_id}.mp4"


def read(row: Mapping[str, Any], options: base.ReadOptions) -> Iterator[CaptionedClip]:
    """The clip of an object; its own question is kept."""
    own = row_id(row.get("video_id"), field="video_id")
    name = (options.video_name or VIDEO_NAME).format(id=own, video_id=own, number=0)
    yield CaptionedClip(
        id=own,
        video=plain_path(name, field="video_id"),
        detailed=caption_text(row.get("a"), field="a"),
        prompt=caption_text(row.get("q"), field="q"),
        format=NAME,
        row=row,
    )


def write(clip: CaptionedClip, text: str, prompt: str, options: base.WriteOptions) -> str:
    """An object; the video's id is its file's name without the ending."""
    if clip.bounds is not None:
        raise RowFault("a part of a video", value=list(clip.bounds))
    if clip.format == NAME:
        return base.as_json(dict(clip.row) | {"q": prompt, "a": text})
    own = pathlib.PurePosixPath(clip.video.replace("\\", "/")).stem
    return base.as_json({"q": prompt, "a": text, "video_id": own})


FORMAT = base.Format(
    layouts=("list", "lines"),
    marks=(("q", "a", "video_id"),),
    read=read,
    write=write,
    container=base.LIST,
)
