"""A captioned clip, the one form between all formats, and what can be wrong with a row.

A row that cannot be used is left out, counted and named; it is never mended in silence.
"""

from __future__ import annotations

import dataclasses
import pathlib
import re
from collections.abc import Mapping
from typing import Any

# What can be wrong with a row -> what to do about it.
MENDS = {
    "not UTF-8": "save the file as UTF-8, or name its encoding (--fallback_encoding=cp1252)",
    "not JSON": "mend or leave out the line",
    "not an object": "give each record as { }",
    "wrong number of cells": "quote cells that hold commas, quotes or line ends",
    "broken list": "write the cell as a Python or JSON list, as the published files have it",
    "lists of several lengths": "give one caption and one time for each clip of the row",
    "no id": "give the row an id, or name its column (--columns=id=NAME)",
    "duplicate id": "make ids unique; the first row of an id is taken",
    "failed": "run the captioner again (--retry_failed)",
    "no video": "name the video's column (--columns=video=NAME), or give --video_name",
    "path leaves its root": "use a path below the videos' folder, without '..'",
    "missing video": "fetch the video; without --videos none is looked for",
    "unreadable video": "fetch the video again",
    "no caption": "name the caption's column (--columns=detailed=NAME)",
    "empty caption": "caption the video again, or choose a style of a caption that is there",
    "not text": "give the caption as a text",
    "half of a character": "write the character whole, or take it out",
    "times out of order": "give times that rise from 0 or later",
    "several rounds": "give captions as one question and one answer",
    "no short caption": "join them (--short_from), or take --style=first_n_sentences:1",
    "no first-frame caption": "caption in sliding mode, or name a column (--columns=static=NAME)",
    "nothing left": "choose a longer style",
    "no key-frame captions": "caption in sliding mode, or take --which=summary",
    "no frame range": "give first_frame and last_frame, or --videos to count frames",
    "a part of a video": "cut the clips out first, or use a format that tells of parts",
    "caption over the limit": "use --style=truncate:TOKENS, or --allow_long",
}


@dataclasses.dataclass(frozen=True)
class CaptionedClip:
    """A video, or a part of one, with its captions.

    Attributes:
      id: unique in a build.
      video: path below the videos' folder.
      detailed, short, static: captions; static tells of the first frame alone. Empty: none.
      differential: one caption a key frame; the first of them is of the first frame alone.
      times: seconds of the key frames.
      frames: (first, end) of the clip in the video's frames, end not in it; None: not known.
      bounds: (start, end) in seconds where the clip is a part of the video; None: all of it.
      fps: frames a second, if known.
      prompt: the question that the source itself asks; empty: none.
      format, row: what it was read from, with everything that only its own format knows.
      text_field: which of the row's fields `detailed` was read from, where that is not fixed.
    """

    id: str
    video: str
    detailed: str = ""
    short: str = ""
    static: str = ""
    differential: tuple[str, ...] = ()
    times: tuple[float, ...] = ()
    frames: tuple[int, int] | None = None
    bounds: tuple[float, float] | None = None
    fps: float | None = None
    prompt: str = ""
    format: str = ""
    row: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    text_field: str | None = None

    @property
    def first_frame(self) -> str:
        """What tells of the first frame alone, empty if nothing does."""
        return self.static or (self.differential[0] if self.differential else "")


class RowFault(Exception):
    """Why a row is left out: `kind` is a key of `MENDS`, `field` and `value` say where."""

    def __init__(self, kind: str, *, field: str = "", value: Any = None):
        super().__init__(kind)
        self.kind, self.field, self.value = kind, field, value


@dataclasses.dataclass(frozen=True)
class Fault:
    """A row that was left out, as `problems.jsonl` names it."""

    kind: str
    where: str
    id: str | None = None
    field: str = ""
    value: str = ""

    def __post_init__(self):
        if self.kind not in MENDS:
            raise KeyError(self.kind)

    @property
    def mend(self) -> str:
        return MENDS[self.kind]

    def as_json(self) -> dict[str, Any]:
        return dataclasses.asdict(self) | {"mend": self.mend}


def fault(error: RowFault, where: str, name: str | None = None) -> Fault:
    """`error`, at its place in the file."""
    shown = "" if error.value is None else f"{error.value!r:.80}"
    # Half of a surrogate pair can be shown, not written.
    shown, where = (text.encode(errors="replace").decode() for text in (shown, where))
    name = name if name is None else name.encode(errors="replace").decode()
    return Fault(error.kind, where, name, error.field, shown)


_DRIVE = re.compile(r"[A-Za-z]:")


def plain_path(value: Any, *, field: str) -> str:
    """`value` if it is a path that stays below its folder, whatever the system.

    Raises:
      RowFault: it is no text, empty, absolute, has a drive or a scheme, or climbs out.
    """
    if not isinstance(value, str) or value.strip() in ("", ".", "./"):
        raise RowFault("no video", field=field, value=value)
    parts = pathlib.PurePosixPath(value.replace("\\", "/"))
    if (
        parts.is_absolute()
        or ".." in parts.parts
        or "://" in value
        or "\0" in value
        or _DRIVE.match(value)
    ):
        raise RowFault("path leaves its root", field=field, value=value)
    check_writable(value, field=field)
    return value


def check_writable(text: str, *, field: str) -> None:
    """Refuses halves of characters, which JSON can spell and UTF-8 cannot.

    Raises:
      RowFault: there is one in `text`.
    """
    try:
        text.encode()
    except UnicodeEncodeError as e:
        raise RowFault("half of a character", field=field, value=text) from e


def caption_text(value: Any, *, field: str) -> str:
    """A caption as text without white space around it; None is none.

    Raises:
      RowFault: no text, or one that UTF-8 cannot spell.
    """
    if value is None:
        return ""
    if not isinstance(value, str):
        raise RowFault("not text", field=field, value=value)
    check_writable(value, field=field)
    return value.strip()


def row_id(value: Any, *, field: str = "id") -> str:
    """An id as text.

    Raises:
      RowFault: neither a text nor a whole number, or empty.
    """
    if isinstance(value, bool) or not isinstance(value, str | int) or value == "":
        raise RowFault("no id", field=field, value=value)
    try:
        name = str(value)
    except ValueError as e:  # thousands of digits
        raise RowFault("no id", field=field) from e
    check_writable(name, field=field)
    return name
