"""Rows of `sg4v caption run` (`caption.rows`): every mode, captioner and failure alike."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from sg4v_jax.caption.bridge.clips import CaptionedClip, RowFault, caption_text, plain_path, row_id
from sg4v_jax.caption.bridge.formats import base
from sg4v_jax.errors import ConfigError


def read(row: Mapping[str, Any], options: base.ReadOptions) -> Iterator[CaptionedClip]:
    """The clip of a row, its key-frame captions with their times."""
    if row.get("error") is not None:
        raise RowFault("failed", field="error", value=row["error"])
    texts = row.get("diff_captions") or []
    if not isinstance(texts, list):
        raise RowFault("not text", field="diff_captions", value=texts)
    part = row.get("mode") == "clip"
    clip = CaptionedClip(
        id=row_id(row.get("id")),
        video=plain_path(row.get("source"), field="source"),
        detailed=caption_text(row.get("caption_detailed"), field="caption_detailed"),
        short=caption_text(row.get("caption_short"), field="caption_short"),
        # The captions of a part begin with what led to its first frame: no first frame alone.
        differential=() if part else tuple(caption_text(t, field="diff_captions") for t in texts),
        times=() if part else base.rising(row.get("keyframe_times") or [], field="keyframe_times"),
        frames=_frames(row),
        bounds=base.stretch(row.get("start"), row.get("end"), field="start") if part else None,
        fps=base.number(row.get("fps"), field="fps"),
        format="caption_job",
        row=row,
    )
    yield from base.chosen(clip, options.which)


def _frames(row: Mapping[str, Any]) -> tuple[int, int] | None:
    first, last = row.get("first_frame"), row.get("last_frame")
    if first is None or last is None:
        return None
    found = base.stretch(first, base.number(last, field="last_frame") + 1, field="first_frame")
    return int(found[0]), int(found[1])


def write(clip: CaptionedClip, text: str, prompt: str, options: base.WriteOptions) -> str:
    """The row again, with `text` as its detailed caption."""
    if clip.format != "caption_job":
        raise ConfigError(f"{clip.id} comes from {clip.format}: its row cannot be written")
    return base.as_json(dict(clip.row) | {"caption_detailed": text}) + "\n"


FORMAT = base.Format(
    layouts=("lines",),
    marks=(("source", "caption_detailed", "diff_captions"),),
    read=read,
    write=write,
    container=base.LINES,
)
