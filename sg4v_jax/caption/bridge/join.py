"""Short captions for clips that have none, from Panda-70M's CSV, by video id and time.

A clip is looked up by its own id, its file's name, or the eleven characters of a YouTube id that
either begins with. Of the captions of that video it gets the one whose seconds overlap its own
best: intersection over union of at least `OVERLAP`, unless set otherwise. A clip that does not say which seconds of the
source it is gets the caption of a video that has one only.
"""

from __future__ import annotations

import dataclasses
import json
import os
import pathlib
import re
from collections.abc import Iterable, Iterator, Mapping

from sg4v_jax import files
from sg4v_jax.caption.bridge import rows, slices
from sg4v_jax.caption.bridge.clips import CaptionedClip, Fault, RowFault, fault
from sg4v_jax.caption.bridge.formats import panda
from sg4v_jax.caption.bridge.formats.base import ReadOptions
from sg4v_jax.errors import RecordError

OVERLAP = 0.5
_YOUTUBE = re.compile(r"[A-Za-z0-9_-]{11}")
_OPTIONS = ReadOptions()

Told = tuple[float, float, str]  # start, end, caption


@dataclasses.dataclass(frozen=True)
class ShortCaptions:
    """Video id -> its captions with their seconds."""

    videos: Mapping[str, tuple[Told, ...]]

    def of(self, clip: CaptionedClip, *, overlap: float = OVERLAP) -> str:
        """The caption that belongs to the clip, empty where none does.

        Args:
          overlap: the least intersection over union of its seconds and the clip's.
        """
        told = next((self.videos[k] for k in keys(clip) if k in self.videos), ())
        span = _seconds(clip)
        if span is None:
            return told[0][2] if len(told) == 1 else ""
        best = max(told, key=lambda t: _overlap(span, t[:2]), default=None)
        return best[2] if best is not None and _overlap(span, best[:2]) >= overlap else ""

    def save(self, name: str | os.PathLike) -> None:
        """Writes them, so that workers need not read the CSV again."""
        files.write_atomic(name, json.dumps(self.videos, ensure_ascii=False, sort_keys=True))

    @classmethod
    def load(cls, name: str | os.PathLike) -> ShortCaptions:
        """What `save` wrote."""
        videos = files.read_json(name)
        return cls({k: tuple(map(tuple, v)) for k, v in videos.items()})


def keys(clip: CaptionedClip) -> Iterator[str]:
    """The names under which a clip's video may stand in the CSV, the likeliest first."""
    stem = pathlib.PurePosixPath(clip.video).stem
    for name in (clip.id, stem):
        yield name
        if found := _YOUTUBE.match(name):
            yield found.group()


def read_short(
    name: str | os.PathLike,
    *,
    sliced: slices.Sliced | None = None,
    wanted: Iterable[str] | None = None,
    fallback: str = "",
) -> tuple[ShortCaptions, list[Fault]]:
    """The captions of a Panda CSV, and the rows that could not be used.

    Args:
      name: the CSV, millions of rows perhaps; it is read a slice at a time.
      sliced: its slices, if they are known.
      wanted: ids of videos to keep; None keeps all.
      fallback: as for `rows.RowReader`.

    Raises:
      RecordError: no such file, or without Panda's columns.
    """
    wanted = None if wanted is None else frozenset(wanted)
    sliced = sliced or slices.cut(name)
    reader = rows.RowReader(str(name), sliced.layout, sliced.header, fallback)
    if sliced.layout != "csv" or not set(panda.FORMAT.marks[0]) <= set(reader.columns):
        raise RecordError(
            f"{name}: no CSV with the columns {', '.join(panda.FORMAT.marks[0])}",
            mend="give one of Panda-70M's CSV files",
        )
    videos: dict[str, list[Told]] = {}
    faults: list[Fault] = []
    for part in sliced.slices:
        for row in reader.rows(slices.read(name, part), first=part.first):
            own = row.values["videoID"] if row.values is not None else None
            if own is not None and wanted is not None and own not in wanted:
                continue
            try:
                if row.fault is not None:
                    raise row.fault
                for clip in panda.read(row.values, _OPTIONS):
                    told = (*clip.bounds, clip.short)
                    videos.setdefault(own, []).append(told)
            except RowFault as e:
                faults.append(fault(e, row.where, own))
    kept = {k: tuple(sorted(set(v))) for k, v in videos.items()}
    return ShortCaptions(kept), faults


def _seconds(clip: CaptionedClip) -> tuple[float, float] | None:
    """Which seconds of the source video the clip says it is."""
    if clip.bounds is not None:
        return clip.bounds
    given = [clip.row.get(k) for k in ("source_start", "source_end")]
    try:
        start, end = (panda.clock(value, field="source_start") for value in given)
    except RowFault:
        return None
    return (start, end) if start < end else None


def _overlap(a: tuple[float, float], b: tuple[float, float]) -> float:
    inside = min(a[1], b[1]) - max(a[0], b[0])
    return max(0.0, inside) / (max(a[1], b[1]) - min(a[0], b[0]))
