"""Panda-70M's CSV: a row a source video, its clips in list-valued cells.

    videoID,url,timestamp,caption,matching_score
    vid01,https://...,"[['0:00:02.000', '0:00:07.500']]","['A man talks.']",[0.45]

Lists are written as Python literals (single quotes), which `ast.literal_eval` reads and JSON's
reader does not; both are read. Source: section 6 of the text-to-video specification.
"""

from __future__ import annotations

import ast
import csv
import io
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from sg4v_jax.caption.bridge.clips import CaptionedClip, RowFault, caption_text, plain_path, row_id
from sg4v_jax.caption.bridge.formats import base

_CLOCK = re.compile(r"(?:(\d{1,6}):)?(\d{1,2}):(\d{1,2}(?:\.\d+)?)")
_LONGEST = 1 << 22  # characters of a cell that is taken apart
VIDEO_NAME = "{video_id}.mp4"


def read(row: Mapping[str, Any], options: base.ReadOptions) -> Iterator[CaptionedClip]:
    """One clip for each entry of the row's lists; its caption is the short one.

    The id is `VIDEO_NUMBER`, numbers from 0. A `video_name` with `{number}` or `{id}` names clips
    that were cut out; otherwise each is a part (`bounds`) of its source video.
    """
    video = row_id(row.get("videoID") or None, field="videoID")
    times, texts = (literal_list(row.get(k), field=k) for k in ("timestamp", "caption"))
    if len(times) != len(texts):
        told = f"{len(times)} times, {len(texts)} captions"
        raise RowFault("lists of several lengths", field="timestamp", value=told)
    name = options.video_name or VIDEO_NAME
    cut_out = "{number}" in name or "{id}" in name
    for number, (pair, text) in enumerate(zip(times, texts, strict=True)):
        if not isinstance(pair, list | tuple) or len(pair) != 2:
            raise RowFault("broken list", field="timestamp", value=pair)
        start, end = (clock(t, field="timestamp") for t in pair)
        own = f"{video}_{number}"
        yield CaptionedClip(
            id=own,
            video=plain_path(
                name.format(id=own, video_id=video, number=number), field="video_name"
            ),
            short=caption_text(text, field="caption"),
            bounds=None if cut_out else base.stretch(start, end, field="timestamp"),
            format="panda_csv",
            row=dict(row) | {"_number": number},
        )


def literal_list(cell: Any, *, field: str) -> list:
    """A list-valued cell: a Python literal or JSON. Nothing is evaluated.

    Raises:
      RowFault: it is neither, or no list.
    """
    if not isinstance(cell, str) or len(cell) > _LONGEST:
        raise RowFault("broken list", field=field, value=cell)
    try:
        value = ast.literal_eval(cell.strip())
    except (ValueError, SyntaxError, MemoryError, RecursionError, TypeError):
        try:
            value = json.loads(cell)
        except (ValueError, RecursionError) as e:
            raise RowFault("broken list", field=field, value=cell) from e
    if not isinstance(value, list):
        raise RowFault("broken list", field=field, value=cell)
    return value


def clock(text: Any, *, field: str) -> float:
    """Seconds of `H:MM:SS.mmm`, `MM:SS`, or a number.

    clock("0:01:02.500", field="timestamp") -> 62.5

    Raises:
      RowFault: neither.
    """
    found = _CLOCK.fullmatch(text.strip()) if isinstance(text, str) else None
    if found is None:
        value = base.number(text, field=field)
        if value is None:
            raise RowFault("times out of order", field=field, value=text)
        return value
    hours, minutes, seconds = found.groups()
    return 3600 * int(hours or 0) + 60 * int(minutes) + float(seconds)


def write_rows(clips: Iterable[CaptionedClip], *, columns: list[str]) -> str:
    """A Panda CSV of clips that were read from one, captions from `short`.

    Clips that follow each other and are of one source video share a row.
    """
    out = io.StringIO()
    writer = csv.DictWriter(out, columns, lineterminator="\n")
    writer.writeheader()
    group: list[CaptionedClip] = []
    for clip in (*clips, None):
        if group and (clip is None or clip.row["_number"] == 0):
            row = {name: group[0].row[name] for name in columns}
            writer.writerow(row | {"caption": repr([c.short for c in group])})
            group = []
        if clip is not None:
            group.append(clip)
    return out.getvalue()


FORMAT = base.Format(
    layouts=("csv",), marks=(("videoID", "timestamp", "caption"),), read=read, write=None
)
