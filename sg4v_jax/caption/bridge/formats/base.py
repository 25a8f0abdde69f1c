"""What a format is, and what reading and writing are told."""

from __future__ import annotations

import dataclasses
import itertools
import json
import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from sg4v_jax.caption.bridge.clips import CaptionedClip, RowFault
from sg4v_jax.errors import ConfigError

WHICH = ("summary", "keyframes", "all")
MEDIA = ("video", "image")
# Field of a clip -> the usual names of its column, the likeliest first.
USUAL = {
    "id": ("id", "clip_id", "video_id"),
    "video": ("video", "video_path", "path", "source", "file"),
    "detailed": ("caption_detailed", "detailed", "caption", "text", "cap", "answer"),
    "short": ("caption_short", "short"),
    "static": ("static", "first_frame_caption"),
    "start": ("start",),
    "end": ("end",),
    "first_frame": ("first_frame",),
    "last_frame": ("last_frame",),
    "fps": ("fps",),
    "prompt": ("prompt", "question"),
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class ReadOptions:
    """How rows become clips.

    Attributes:
      which: `summary` (the whole video), `keyframes` (each caption of what changed between two
        key frames, as a part of the video), or `all`.
      columns: field of a clip -> column, where it is not one of the usual names.
      video_name: path of a clip's video where the row has none, with `{id}`, `{video_id}` or
        `{number}` in it.

    Raises:
      ConfigError: another `which`; an unknown field; a `video_name` with other fields.
    """

    which: str = "summary"
    columns: Mapping[str, str] = dataclasses.field(default_factory=dict)
    video_name: str = ""

    def __post_init__(self):
        if self.which not in WHICH:
            raise ConfigError(f"which={self.which!r}", mend=f"use {', '.join(WHICH)}")
        if unknown := sorted(set(self.columns) - set(USUAL)):
            raise ConfigError(
                f"columns: {unknown[0]!r} is no field of a clip", mend=f"use {', '.join(USUAL)}"
            )
        try:
            self.video_name.format(id="", video_id="", number=0)
        except (KeyError, IndexError, ValueError) as e:
            raise ConfigError(
                f"video_name={self.video_name!r} cannot be filled in ({e})",
                mend="use {id}, {video_id} and {number} in it",
            ) from e


@dataclasses.dataclass(frozen=True, kw_only=True)
class WriteOptions:
    """How clips become rows.

    Attributes:
      media: `video`, or `image` for grid pictures rendered before.
      suffix: with `image`, the ending that takes the place of the video's.

    Raises:
      ConfigError: another `media`.
    """

    media: str = "video"
    suffix: str = ".jpg"

    def __post_init__(self):
        if self.media not in MEDIA:
            raise ConfigError(f"media={self.media!r}", mend=f"use {' or '.join(MEDIA)}")


@dataclasses.dataclass(frozen=True)
class Container:
    """What stands before, between and after the rows of a file."""

    head: str = ""
    between: str = ""
    tail: str = ""
    ending: str = ".jsonl"


LINES = Container(between="", ending=".jsonl")
LIST = Container(head="[\n", between=",\n", tail="\n]\n", ending=".json")


@dataclasses.dataclass(frozen=True)
class Format:
    """A kind of caption file.

    Attributes:
      layouts: of `slices.LAYOUTS`, in which it may come.
      marks: sets of fields; a file that has all of one set is taken for this format.
      read: (row, options) -> its clips. Raises RowFault.
      write: (clip, caption, prompt, options) -> the row as text. Raises RowFault. None: the
        format is a source only.
      container: of the file that is written; for CSV its head is the header line.
    """

    layouts: tuple[str, ...]
    marks: tuple[tuple[str, ...], ...]
    read: Callable[[Mapping[str, Any], ReadOptions], Iterator[CaptionedClip]]
    write: Callable[[CaptionedClip, str, str, WriteOptions], str] | None = None
    container: Container = LINES


def as_json(value: Any) -> str:
    """`value` in one line, characters as they are.

    Raises:
      RowFault: it holds a number that JSON does not have.
    """
    try:
        return json.dumps(value, ensure_ascii=False, allow_nan=False)
    except ValueError as e:
        raise RowFault("not JSON", value=str(e)) from e


def number(value: Any, *, field: str) -> float | None:
    """A finite number, also written as text; None and empty are none.

    Raises:
      RowFault: something else.
    """
    if value is None or value == "":
        return None
    try:
        if isinstance(value, bool):
            raise TypeError
        found = float(value)
        if not math.isfinite(found):
            raise ValueError
        return found
    except (TypeError, ValueError, OverflowError) as e:
        raise RowFault("times out of order", field=field, value=value) from e


def stretch(start: Any, end: Any, *, field: str) -> tuple[float, float] | None:
    """(start, end) in seconds or frames; None where neither is given.

    Raises:
      RowFault: one alone, or not rising from 0 or later.
    """
    pair = number(start, field=field), number(end, field=field)
    if pair == (None, None):
        return None
    if None in pair or not 0 <= pair[0] < pair[1]:
        raise RowFault("times out of order", field=field, value=[start, end])
    return pair


def rising(values: Any, *, field: str) -> tuple[float, ...]:
    """Seconds of key frames, rising from 0 or later.

    Raises:
      RowFault: no list, or not rising.
    """
    if not isinstance(values, list | tuple):
        raise RowFault("times out of order", field=field, value=values)
    found = tuple(number(v, field=field) for v in values)
    bad = None in found or (found and found[0] < 0)
    if bad or any(a >= b for a, b in itertools.pairwise(found)):
        raise RowFault("times out of order", field=field, value=values)
    return found


def keyframe_clips(clip: CaptionedClip) -> Iterator[CaptionedClip]:
    """What changed between each two key frames, as captions of those parts of the video.

        times 0, 2, 3.5 and captions d0, d1, d2  ->  d1 of 0..2 s, d2 of 2..3.5 s

    The first tells of one frame alone, which is no stretch of time, and is left out.

    Raises:
      RowFault: no differential captions, or not one for each time.
    """
    if len(clip.differential) < 2 or len(clip.differential) != len(clip.times):
        told = f"{len(clip.differential)} captions, {len(clip.times)} times"
        raise RowFault("no key-frame captions", value=told)
    for i in range(1, len(clip.times)):
        start, end = clip.times[i - 1], clip.times[i]
        yield dataclasses.replace(
            clip,
            id=f"{clip.id}@{start:g}-{end:g}",
            detailed=clip.differential[i],
            short="",
            static="",
            differential=(),
            times=(),
            frames=None,
            bounds=(start, end),
            format="",
        )


def chosen(clip: CaptionedClip, which: str) -> Iterator[CaptionedClip]:
    """The clips that `ReadOptions.which` asks for.

    Raises: RowFault, as `keyframe_clips`.
    """
    if which in ("summary", "all"):
        yield clip
    if which in ("keyframes", "all"):
        yield from keyframe_clips(clip)
