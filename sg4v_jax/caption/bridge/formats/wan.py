"""metadata.csv of Wan's common trainers (DiffSynth-Studio): the columns `video` and `prompt`.

    video,prompt
    clips/a.mp4,"A ball rolls, then stops."

Paths are relative to the trainer's base folder. There is no place for a part of a video.
MaxDiffusion's own TFRecords hold latents and text embeddings of such pairs and are not made here.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping
from typing import Any

from sg4v_jax.caption.bridge.clips import CaptionedClip, RowFault, caption_text, plain_path
from sg4v_jax.caption.bridge.formats import base

NAME = "wan"


def read(row: Mapping[str, Any], options: base.ReadOptions) -> Iterator[CaptionedClip]:
    """The clip of a row; the id is the video's path."""
    path = plain_path(row.get("video"), field="video")
    text = caption_text(row.get("prompt"), field="prompt")
    yield CaptionedClip(id=path, video=path, detailed=text, format=NAME, row=row)


def write(clip: CaptionedClip, text: str, prompt: str, options: base.WriteOptions) -> str:
    """A row of video and caption."""
    if clip.bounds is not None or (clip.frames is not None and clip.frames[0] > 0):
        raise RowFault("a part of a video", value=clip.bounds or clip.frames)
    return csv_line([clip.video, text])


def csv_line(cells: list[Any]) -> str:
    """A CSV line, quoted only where it must be, ended by a line feed on every system."""
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerow(cells)
    return out.getvalue()


FORMAT = base.Format(
    layouts=("csv",),
    marks=(("video", "prompt"),),
    read=read,
    write=write,
    container=base.Container(head="video,prompt\n", ending=".csv"),
)
