"""Open-Sora-Plan v1.1's annotation: a JSON list of path, frame range and caption.

    {"path": "Fish/coral.mp4", "frame_idx": "0:513", "cap": "..."}

The range's end is not in it. Later versions give `cap` as a list; its one caption is read.
Source: the project's report of v1.1.0, and section 1 of the text-to-video specification.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from sg4v_jax.caption.bridge.clips import CaptionedClip, RowFault, caption_text, plain_path
from sg4v_jax.caption.bridge.formats import base

NAME = "osp"
_RANGE = re.compile(r"(\d{1,12}):(\d{1,12})")


def read(row: Mapping[str, Any], options: base.ReadOptions) -> Iterator[CaptionedClip]:
    """The clip of a record; the id is its path and range."""
    path = plain_path(row.get("path"), field="path")
    text, frames = row.get("cap"), None
    if isinstance(text, list) and len(text) == 1:
        text = text[0]
    if (given := row.get("frame_idx")) is not None:
        found = _RANGE.fullmatch(given) if isinstance(given, str) else None
        if found is None or int(found[1]) >= int(found[2]):
            raise RowFault("times out of order", field="frame_idx", value=given)
        frames = int(found[1]), int(found[2])
    yield CaptionedClip(
        id=path if frames is None else f"{path}@{frames[0]}:{frames[1]}",
        video=path,
        detailed=caption_text(text, field="cap"),
        frames=frames,
        format=NAME,
        row=row,
    )


def write(clip: CaptionedClip, text: str, prompt: str, options: base.WriteOptions) -> str:
    """A record; its range is the clip's, in frames of its video."""
    if clip.format == NAME:
        cap = [text] if isinstance(clip.row["cap"], list) else text
        return base.as_json(dict(clip.row) | {"cap": cap})
    start, end = frames_of(clip)
    return base.as_json({"path": clip.video, "frame_idx": f"{start}:{end}", "cap": text})


def frames_of(clip: CaptionedClip) -> tuple[int, int]:
    """The frame range, from seconds and the rate where the source gives those.

    Raises:
      RowFault: neither is known, or no frame lies in it.
    """
    if clip.bounds is None:
        if clip.frames is None:
            raise RowFault("no frame range", field="frames")
        return clip.frames
    if not clip.fps:
        raise RowFault("no frame range", field="fps")
    start, end = (round(t * clip.fps) for t in clip.bounds)
    end = min(end, clip.frames[1]) if clip.frames else end
    if start >= end:
        raise RowFault("no frame range", field="bounds", value=list(clip.bounds))
    return start, end


FORMAT = base.Format(
    layouts=("list", "lines"),
    marks=(("path", "cap"),),
    read=read,
    write=write,
    container=base.LIST,
)
