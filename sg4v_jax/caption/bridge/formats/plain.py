"""Plain CSV and JSONL: any columns, under their usual names or under those that the user gives.

id,video,detailed,short
a,clips/a.mp4,"A ball rolls, then stops.",A ball.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator, Mapping
from typing import Any

from sg4v_jax.caption.bridge.clips import CaptionedClip, RowFault, caption_text, plain_path, row_id
from sg4v_jax.caption.bridge.formats import base
from sg4v_jax.caption.bridge.formats.wan import csv_line
from sg4v_jax.errors import ConfigError


@dataclasses.dataclass(frozen=True)
class _Plain:
    """Reads and writes the rows of one of the two."""

    name: str

    def read(self, row: Mapping[str, Any], options: base.ReadOptions) -> Iterator[CaptionedClip]:
        """The clip of a row."""
        got = {field: _column(row, field, options) for field in base.USUAL}
        value = {field: row[name] if name else None for field, name in got.items()}
        identity, video = value["id"], value["video"]
        if video is None or video == "":
            if not options.video_name or identity is None:
                raise RowFault("no video", field=got["video"] or "video", value=video)
            identity = row_id(identity, field=got["id"])
            video = options.video_name.format(id=identity, video_id=identity, number=0)
        video = plain_path(video, field=got["video"] or "video_name")
        last = base.number(value["last_frame"], field="last_frame")
        frames = base.stretch(
            value["first_frame"], None if last is None else last + 1, field="first_frame"
        )
        texts = {
            field: caption_text(value[field] or None, field=got[field] or field)
            for field in ("detailed", "short", "static", "prompt")
        }
        yield CaptionedClip(
            id=os.path.splitext(video)[0]
            if identity is None
            else row_id(identity, field=got["id"]),
            video=video,
            frames=None if frames is None else (int(frames[0]), int(frames[1])),
            bounds=base.stretch(value["start"], value["end"], field="start"),
            fps=base.number(value["fps"], field="fps"),
            format=self.name,
            row=row,
            text_field=got["detailed"],
            **texts,
        )

    def write(self, clip: CaptionedClip, text: str, prompt: str, options: base.WriteOptions) -> str:
        """The row again, with `text` in its caption's column."""
        if clip.format != self.name:
            raise ConfigError(f"{clip.id} comes from {clip.format}: its row cannot be written")
        row = dict(clip.row)
        if clip.text_field is not None:
            row[clip.text_field] = text
        return csv_line(list(row.values())) if self.name == "csv" else base.as_json(row) + "\n"


def _column(row: Mapping[str, Any], field: str, options: base.ReadOptions) -> str | None:
    """The column of the row that holds `field`.

    Raises:
      RowFault: the one that the user named is not there.
    """
    if (named := options.columns.get(field)) is not None:
        if named not in row:
            kind = {"id": "no id", "video": "no video"}.get(field, "no caption")
            raise RowFault(kind, field=named)
        return named
    return next((name for name in base.USUAL[field] if name in row), None)


CSV = base.Format(layouts=("csv",), marks=(), read=_Plain("csv").read, write=_Plain("csv").write)
JSONL = base.Format(
    layouts=("lines",), marks=(), read=_Plain("jsonl").read, write=_Plain("jsonl").write
)
