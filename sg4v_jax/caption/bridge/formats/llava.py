"""LLaVA's conversations as a caption file: one question and one answer a record.

    {"id": "v1", "video": "clips/v1.mp4",
     "conversations": [{"from": "human", "value": "<image>\\nDescribe this video in detail."},
                       {"from": "gpt", "value": "A ball rolls."}]}

`image` stands in place of `video` where grids are rendered before, as the original's loader wants.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import Any

from sg4v_jax.caption.bridge.clips import CaptionedClip, RowFault, caption_text, plain_path, row_id
from sg4v_jax.caption.bridge.formats import base
from sg4v_jax.text.chat import IMAGE_PLACEHOLDER

NAME = "llava_json"
_FRONT = f"{IMAGE_PLACEHOLDER}\n"


def read(row: Mapping[str, Any], options: base.ReadOptions) -> Iterator[CaptionedClip]:
    """The clip of a record; its own question is kept."""
    turns = row.get("conversations")
    if not isinstance(turns, list) or not all(isinstance(t, dict) for t in turns):
        raise RowFault("no caption", field="conversations", value=turns)
    if [t.get("from") for t in turns] != ["human", "gpt"]:
        raise RowFault("several rounds", field="conversations", value=len(turns))
    kind = next((k for k in base.MEDIA if k in row), None)
    if kind is None:
        raise RowFault("no video", field="video")
    bounds = row.get("bounds") or [row.get("start"), row.get("end")]
    if not isinstance(bounds, list) or len(bounds) != 2:
        raise RowFault("times out of order", field="bounds", value=bounds)
    asked = turns[0].get("value")
    yield CaptionedClip(
        id=row_id(row.get("id")),
        video=plain_path(row.get(kind), field=kind),
        detailed=caption_text(turns[1].get("value"), field="conversations"),
        bounds=base.stretch(*bounds, field="bounds"),
        fps=base.number(row.get("fps"), field="fps"),
        prompt=caption_text(asked, field="conversations").replace(IMAGE_PLACEHOLDER, "").strip(),
        format=NAME,
        row=row,
    )


def write(clip: CaptionedClip, text: str, prompt: str, options: base.WriteOptions) -> str:
    """A record; the caption file's own one keeps all but its answer (and a new question)."""
    if clip.format == NAME:
        asked, said = clip.row["conversations"]
        if prompt != clip.prompt:
            asked = asked | {"value": _FRONT + prompt}
        return base.as_json(dict(clip.row) | {"conversations": [asked, said | {"value": text}]})
    row: dict[str, Any] = {"id": clip.id, options.media: media_of(clip.video, options)}
    if clip.bounds is not None and options.media == "video":
        row["bounds"] = list(clip.bounds)
    row["conversations"] = [
        {"from": "human", "value": _FRONT + prompt},
        {"from": "gpt", "value": text},
    ]
    return base.as_json(row)


def media_of(video: str, options: base.WriteOptions) -> str:
    """The path that a record names: the video, or the picture rendered of it."""
    if options.media == "video":
        return video
    return os.path.splitext(video)[0] + options.suffix


FORMAT = base.Format(
    layouts=("list", "lines"),
    marks=(("conversations",),),
    read=read,
    write=write,
    container=base.LIST,
)
