"""Captions of many videos, as the work of a job: items in, rows out, many videos under way."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from sg4v_jax.caption import frames as reading
from sg4v_jax.caption import sliding
from sg4v_jax.caption.captioners import Captioner, open_captioner
from sg4v_jax.caption.keyframe_index import load_key_frames
from sg4v_jax.caption.presets import Preset, get_preset
from sg4v_jax.caption.rows import Clip, Origin, caption_row, prompt_hash
from sg4v_jax.caption.sliding import KeyFrames, Program, VideoCaption
from sg4v_jax.caption.videos import open_path
from sg4v_jax.caption.wavefront import Outcome, run_wavefront
from sg4v_jax.errors import RecordError, Sg4vError

MODES = ("sliding", "fast", "clip", "recaption")
_GRID = 30  # frames that the preset batch lays out in fast mode


@dataclasses.dataclass
class CaptionWork:
    """`do` of a caption job: items of `run_items` in, rows of `rows.caption_row` out.

    Args:
      mode: one of `MODES`.
      preset: name of a preset.
      captioner: as `captioners.open_captioner`; `options` go there too.
      root: what the videos' paths are relative to.
      keyframes: the folder of the key-frame job that items tell of.
      interval: seconds between frames where there are no key frames.
      batch: requests that the captioner gets at a time; four times as many videos are under way.
      seconds: how long reading one video may take.
    """

    mode: str
    preset: str
    captioner: str
    options: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    root: str = ""
    keyframes: str = ""
    interval: float = 2.0
    batch: int = 8
    seconds: float = reading.TIME_LIMIT
    opened: Captioner | None = dataclasses.field(default=None, repr=False)

    def open(self) -> Captioner:
        """The captioner, opened at the first call in each process."""
        if self.opened is None:
            self.opened = open_captioner(self.captioner, **self.options)
        return self.opened

    def __getstate__(self):  # models and connections do not travel to other processes
        return self.__dict__ | {"opened": None}

    @property
    def origin(self) -> Origin:
        """By what the captions are made."""
        captioner = self.open()
        return Origin(
            captioner.name,
            get_preset(self.preset),
            self.mode,
            weights_hash=getattr(captioner, "weights_hash", ""),
            decode=getattr(captioner, "decode", {}),
        )

    @property
    def settings(self) -> dict[str, Any]:
        """What the job's results depend on beside its items."""
        origin = self.origin
        return {
            "mode": self.mode,
            "preset": self.preset,
            "prompt_hash": prompt_hash(origin.preset),
            "captioner": origin.captioner,
            "weights_hash": origin.weights_hash,
            "decode": dict(origin.decode),
            "interval": self.interval,
        }

    def __call__(self, items: Sequence[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
        """Raises what no item is to blame for (`jobs.items.FATAL`)."""
        origin, by_id = self.origin, {item["id"]: item for item in items}
        clips: dict[str, Clip] = {}
        # Long videos first: what is left at the end are short ones, which drain evenly.
        ordered = sorted(items, key=lambda item: -len((item.get("keys") or {}).get("times", ())))
        programs = ((item["id"], self._program(item, origin.preset, clips)) for item in ordered)
        for outcome in run_wavefront(programs, self.open(), batch=self.batch):
            yield caption_row(
                outcome.id,
                clips.get(outcome.id),
                origin,
                source=by_id[outcome.id].get("video", ""),
                result=outcome.caption,
                error=_error(outcome),
                tokens=outcome.tokens,
            )

    def _program(self, item: Mapping[str, Any], preset: Preset, clips: dict[str, Clip]) -> Program:
        """Reads what the item is about, then runs its mode; `clips` learns what was captioned."""
        if self.mode == "recaption":
            return (yield from sliding.recaption(item["id"], item["text"], preset=preset))
        if self.mode == "clip":
            whole, end = _whole(item)
            clips[item["id"]] = _part(item, end)
            return (yield from sliding.clip(whole, start=item["start"], end=end, preset=preset))
        load = self._stored if "keys" in item else self._sampled
        video, clips[item["id"]] = load(item, preset)
        program = sliding.sliding if self.mode == "sliding" else sliding.fast
        return (yield from program(video, preset=preset))

    def _stored(self, item: Mapping[str, Any], preset: Preset) -> tuple[KeyFrames, Clip]:
        keys = item["keys"]
        if keys.get("error") is not None:
            raise RecordError(f"no key frames: {keys['error']}")
        clip = Clip(item["video"], 0, keys["frames"] - 1, keys["fps"])
        return load_key_frames(self.keyframes, keys), clip

    def _sampled(self, item: Mapping[str, Any], preset: Preset) -> tuple[KeyFrames, Clip]:
        path = open_path(self.root, dict(item))
        found = reading.sample(path, choose=self._choice(preset), seconds=self.seconds)
        clip = Clip(item["video"], 0, found.total - 1, found.fps)
        return KeyFrames(item["id"], found.frames, found.times), clip

    def _choice(self, preset: Preset) -> Callable:
        if self.mode == "fast" and preset.fast == "grid30":
            return reading.evenly(_GRID)
        if preset.real_times:
            return reading.every(self.interval, with_last=True)
        return reading.every_step(self.interval)


def _whole(item: Mapping[str, Any]) -> tuple[VideoCaption, float]:
    """The captions of the whole video, and where the part ends."""
    row = item["whole"]
    if row["error"] is not None:
        raise RecordError(f"the whole video has no captions: {row['error']}")
    times, texts = row["keyframe_times"], row["diff_captions"]
    if not isinstance(times, list) or not isinstance(texts, list) or not texts:
        raise RecordError(
            f"{item['id']}: the row has no differential captions",
            mend="make its captions in sliding mode",
        )
    whole = VideoCaption(row["id"], "sliding", row["preset"] or "", "", tuple(times), tuple(texts))
    return whole, item["end"] if item["end"] is not None else max(times)


def _part(item: Mapping[str, Any], end: float) -> Clip:
    row = item["whole"]
    first, last, fps = (row[k] for k in ("first_frame", "last_frame", "fps"))
    if None in (first, last, fps):
        raise RecordError(f"{item['id']}: the row does not tell the video's frames and rate")
    start = first + round(item["start"] * fps)
    return Clip(item["video"], min(start, last), min(first + round(end * fps), last), fps)


def _error(outcome: Outcome) -> str | None:
    error = outcome.error
    if error is None:
        return None
    return f"{type(error).__name__}: {error.message if isinstance(error, Sg4vError) else error}"
