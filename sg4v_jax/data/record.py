"""A training record: some images or videos, a conversation, and where it came from."""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

from sg4v_jax.text.chat import Turn


@dataclasses.dataclass(frozen=True)
class Visual:
    """One image place of a record: a video (shown as a grid of frames) or an image file.

    Attributes:
      kind: `video` or `image`.
      path: the file, or the folder of a video's frames.
      bounds: (start, end) in seconds of the part of a video to look at; None for all of it.
      fps: frames a second where the video itself cannot tell (folders of frames).
    """

    kind: str
    path: str
    bounds: tuple[float, float] | None = None
    fps: float | None = None


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
