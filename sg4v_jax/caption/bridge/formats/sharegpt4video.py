"""The published captions, `sharegpt4video_40k.jsonl`: a video a line.

    {"video_id": "a1", "video_path": "panda/a1.mp4", "timestamp": ["0.00", "2.00"],
     "captions": [{"idx": "0", "content": "..."}, ..., {"idx": "-1", "content": "..."}]}

The caption of index -1 (the last, as published) is of the whole video; the others are of key frames, in order.
Source: section 4.6 of the original system's specification.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from sg4v_jax.caption.bridge.clips import CaptionedClip, RowFault, caption_text, plain_path, row_id
from sg4v_jax.caption.bridge.formats import base
from sg4v_jax.data.readers.sharegpt4video import WHOLE_VIDEO

NAME = "sharegpt4video_jsonl"


def read(row: Mapping[str, Any], options: base.ReadOptions) -> Iterator[CaptionedClip]:
    """The whole video's caption and those of its key frames."""
    captions = row.get("captions")
    if not isinstance(captions, list) or not all(isinstance(c, dict) for c in captions):
        raise RowFault("no caption", field="captions", value=captions)
    whole = [c for c in captions if str(c.get("idx")) == WHOLE_VIDEO]
    if len(whole) != 1:
        told = f"{len(whole)} of {len(captions)} have idx '-1'"
        raise RowFault("no caption", field="captions", value=told)
    parts = [c for c in captions if c is not whole[0]]
    texts = tuple(caption_text(c.get("content"), field="captions") for c in parts)
    times = row.get("timestamp")
    clip = CaptionedClip(
        id=row_id(row.get("video_id"), field="video_id"),
        video=plain_path(row.get("video_path"), field="video_path"),
        detailed=caption_text(whole[0].get("content"), field="captions"),
        differential=texts,
        times=() if times is None else base.rising(times, field="timestamp"),
        format=NAME,
        row=row,
    )
    yield from base.chosen(clip, options.which)


def write(clip: CaptionedClip, text: str, prompt: str, options: base.WriteOptions) -> str:
    """A published row. Captions of key frames are written beside the whole video's own caption
    only: with another text they would tell what it leaves out."""
    if clip.bounds is not None:
        raise RowFault("a part of a video", value=list(clip.bounds))
    own = text == clip.detailed
    if clip.format == NAME:
        row = dict(clip.row)
        row["captions"] = [
            c | {"content": text} if str(c.get("idx")) == WHOLE_VIDEO else c
            for c in row["captions"]
            if own or str(c.get("idx")) == WHOLE_VIDEO
        ]
    else:
        row = {"video_id": clip.id, "video_path": clip.video}
        told = _captions(clip.differential) if own else []
        if clip.times:
            row["timestamp"] = [f"{t:.2f}" for t in clip.times]
        row["captions"] = [*told, {"idx": WHOLE_VIDEO, "content": text}]
    return base.as_json(row) + "\n"


def _captions(texts: Sequence[str]) -> list[dict[str, str]]:
    return [{"idx": str(i), "content": text} for i, text in enumerate(texts)]


FORMAT = base.Format(
    layouts=("lines",),
    marks=(("video_id", "captions"),),
    read=read,
    write=write,
    container=base.LINES,
)
