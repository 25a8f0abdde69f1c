"""The row that a captioned clip becomes: the same fields for every mode, captioner and failure.

id                    the item's id in its job
clip_id               sha256 of source and frame range, 16 hex digits: the same clip anywhere
source                the video's name, relative to the data root
first_frame, last_frame, start, end, fps     the range, in frames and seconds; None, and an empty
                      clip_id, where there is no video or it could not be read
keyframe_times        seconds from `start`, rising
caption_short, caption_detailed, diff_captions
mode, preset, captioner, weights_hash, prompt_hash, decode
prompt_tokens, completion_tokens, truncated  None where the captioner does not tell
error                 None, or what went wrong; then there are no captions
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from typing import Any

from sg4v_jax.caption.presets import Preset
from sg4v_jax.caption.prompts import Frame
from sg4v_jax.caption.sliding import VideoCaption
from sg4v_jax.errors import RecordError


@dataclasses.dataclass(frozen=True)
class Clip:
    """A range of a video: frames `first` to `last` (both in it) at `fps` frames a second.

    Raises:
      RecordError: an empty range or a rate that is not positive.
    """

    source: str
    first: int
    last: int
    fps: float

    def __post_init__(self):
        if not 0 <= self.first <= self.last or not self.fps > 0:
            raise RecordError(
                f"clip of {self.source}: frames {self.first}..{self.last} at {self.fps} fps",
                mend="give a range that rises from 0 or later, and a rate above 0",
            )

    @property
    def id(self) -> str:
        """The same for the same source and range, 16 hex digits."""
        return _digest([self.source, self.first, self.last])


@dataclasses.dataclass(frozen=True)
class Origin:
    """By what captions were made; all of it belongs in a job's settings."""

    captioner: str
    preset: Preset
    mode: str
    weights_hash: str = ""
    decode: Mapping[str, Any] = dataclasses.field(default_factory=dict)


def caption_row(
    name: str,
    clip: Clip | None,
    origin: Origin,
    *,
    source: str = "",
    result: VideoCaption | None = None,
    short: str = "",
    error: str | None = None,
    tokens: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """The row of item `name`; see the module's head.

    Args:
      name: the item's id.
      clip: what was captioned, if it is known.
      origin: by what.
      source: the video's name, where there is no `clip`.
      result: the captions, unless there is an `error`.
      short: a one-sentence caption, if there is one.
      error: what went wrong.
      tokens: prompt_tokens, completion_tokens, truncated, if known.

    Raises:
      RecordError: both or neither of `result` and `error`.
    """
    if (result is None) == (error is None):
        raise RecordError(f"row {name}: give either captions or an error")
    known = tokens or {}
    return {
        "id": name,
        "clip_id": clip.id if clip else "",
        "source": clip.source if clip else source,
        "first_frame": clip.first if clip else None,
        "last_frame": clip.last if clip else None,
        "start": clip.first / clip.fps if clip else None,
        "end": (clip.last + 1) / clip.fps if clip else None,
        "fps": clip.fps if clip else None,
        "keyframe_times": list(result.times) if result else [],
        "caption_short": short,
        "caption_detailed": result.caption if result else "",
        "diff_captions": list(result.differential) if result else [],
        "mode": origin.mode,
        "preset": origin.preset.name,
        "captioner": origin.captioner,
        "weights_hash": origin.weights_hash,
        "prompt_hash": prompt_hash(origin.preset),
        "decode": dict(origin.decode),
        "prompt_tokens": known.get("prompt_tokens"),
        "completion_tokens": known.get("completion_tokens"),
        "truncated": known.get("truncated"),
        "error": error,
    }


def prompt_hash(preset: Preset) -> str:
    """Of all that a preset asks and shows: another wording or layout has another hash."""
    prompts, a, b = preset.prompts, Frame(1, 0.0), Frame(2, 1.5)
    texts = [
        prompts.first(a),
        prompts.following(a, b, previous="{previous}"),
        prompts.summary([(a, "{a}"), (b, "{b}")]),
        prompts.fast([a, b]),
        prompts.recaption("{text}"),
    ]
    layout = {
        field.name: getattr(preset, field.name)
        for field in dataclasses.fields(preset)
        if field.name not in ("name", "prompts")
    }
    return _digest([texts, layout])


def _digest(value: Any) -> str:
    text = json.dumps(value, sort_keys=True, ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
