"""A training record: some images or videos, a conversation, and where it came from."""

from __future__ import annotations

import dataclasses

from sg4v_jax.text.chat import Turn


@dataclasses.dataclass(frozen=True)
class Visual:
    """One image place of a record: a video (shown as a grid of frames) or an image file."""

    kind: str  # 'video' | 'image'
    path: str


@dataclasses.dataclass(frozen=True)
class Record:
    """One sample. `source` is the annotation file, for messages."""

    id: str
    source: str
    visuals: tuple[Visual, ...]
    turns: tuple[Turn, ...]

    @property
    def where(self) -> str:
        """File and record, as error messages name them."""
        return f"{self.source}: record {self.id!r}"
