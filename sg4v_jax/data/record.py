"""A training record: some images or videos, a conversation, and where it came from."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, NamedTuple

from sg4v_jax.text.chat import Turn


class Slot(NamedTuple):
    """Where a rendered picture lies in a store (`data/store`).

    Attributes:
      shard: the ArrayRecord file.
      number: the record in it, from 0.
      place: which picture of the record, from 0.
      size: (width, height) of the picture before it was cut.
      substituted: places of a video that show other frames than wanted.
    """

    shard: str
    number: int
    place: int
    size: tuple[int, int]
    substituted: int


@dataclasses.dataclass(frozen=True)
class Visual:
    """One image place of a record: a video (shown as a grid of frames) or an image file.

    Attributes:
      kind: `video` or `image`.
      path: the file, or the folder of a video's frames.
      bounds: (start, end) in seconds of the part of a video to look at; None for all of it.
      fps: frames a second where the video itself cannot tell (folders of frames).
      slot: where its picture was stored; then nothing opens `path`, which only names it.
    """

    kind: str
    path: str
    bounds: tuple[float, float] | None = None
    fps: float | None = None
    slot: Slot | None = None


@dataclasses.dataclass(frozen=True)
class Record:
    """One sample.

    Attributes:
      id: as in its file.
      source: the annotation file, for messages.
      visuals: one for each `<image>` of the conversation.
      turns: the conversation.
      part: name of the part of the mix that it belongs to.
      occurrence: 1 for the first record of this id in its file, 2 for the next: published files
        use a video's name as the id of all its questions.
    """

    id: str
    source: str
    visuals: tuple[Visual, ...]
    turns: tuple[Turn, ...]
    part: str = ""
    occurrence: int = 1

    @property
    def where(self) -> str:
        """File and record, as error messages name them; no two records of a file share it."""
        again = f" (occurrence {self.occurrence})" if self.occurrence > 1 else ""
        return f"{self.source}: record {self.id!r}{again}"

    def as_json(self) -> dict[str, Any]:
        """All of it as plain values, for `from_json`."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Record:
        """The record that `as_json` made `value` of; lists are tuples again."""
        visuals = tuple(_visual(v) for v in value["visuals"])
        turns = tuple(Turn(**t) for t in value["turns"])
        return cls(**{**value, "visuals": visuals, "turns": turns})


def _visual(value: Mapping[str, Any]) -> Visual:
    bounds, slot = value["bounds"], value["slot"]
    if slot is not None:
        shard, number, place, size, substituted = slot
        slot = Slot(shard, number, place, tuple(size), substituted)
    return Visual(**{**value, "bounds": bounds and tuple(bounds), "slot": slot})


class Note(NamedTuple):
    """What went wrong with a record when it was read.

    Attributes:
      record: `Record.where`.
      kind: `skipped` (its place stays empty) or `substituted` (other frames stand for lost ones).
      reason: in words.
      count: frames substituted; 1 for a skipped record.
    """

    record: str
    kind: str
    reason: str
    count: int
