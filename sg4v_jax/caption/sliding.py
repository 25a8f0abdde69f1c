"""Captioning programs: generators that yield requests, are sent texts, and return a result.

    sliding     first frame alone; then each pair of neighbours, with the caption before; then a
                summary of all differential captions (the paper's DiffSW)
    fast        all key frames in one request
    clip        a summary of the differential captions of a part of a video, without the video
    recaption   a detailed caption out of a short prompt

A program carries only text from step to step, so thousands can be under way at once; who runs
them decides how requests are batched (`wavefront.py`), and `run` does one at a time.

    sliding(video of 3 frames):  yields  {f0}  {f0, f1, "d0"}  {f1, f2, "d1"}  {"d0 d1 d2"}
                                 is sent  d0    d1              d2              caption
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Generator, Sequence

import numpy as np

from sg4v_jax.caption import compose
from sg4v_jax.caption.captioners import Captioner, CaptionRequest
from sg4v_jax.caption.presets import Preset
from sg4v_jax.errors import RecordError


@dataclasses.dataclass(frozen=True)
class KeyFrames:
    """A video's key frames: pictures u8[H,W,3] and their own times in seconds, rising.

    Raises:
      RecordError: no frames, not one time each, times out of order, or pictures that are not u8.
    """

    id: str
    frames: Sequence[np.ndarray]
    times: Sequence[float]

    def __post_init__(self):
        if not len(self.frames) or len(self.frames) != len(self.times):
            raise RecordError(
                f"video {self.id}: {len(self.frames)} key frames, {len(self.times)} times",
                mend="extract its key frames again",
            )
        _check_times(self.id, self.times)
        for number, frame in enumerate(self.frames):
            if frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[2] != 3:
                raise RecordError(
                    f"video {self.id}: key frame {number} is {frame.dtype}{list(frame.shape)}",
                    mend="give u8[H,W,3]",
                )


@dataclasses.dataclass(frozen=True)
class VideoCaption:
    """What came out: the caption, and in sliding mode one differential caption a key frame."""

    id: str
    mode: str
    preset: str
    caption: str
    times: tuple[float, ...] = ()
    differential: tuple[str, ...] = ()


Program = Generator[CaptionRequest, str, VideoCaption]


def sliding(video: KeyFrames, *, preset: Preset) -> Program:
    """DiffSW over the key frames; see the module's head.

    Raises:
      RecordError: an empty answer; names the step.
    """
    prompts, times = preset.prompts, tuple(float(t) for t in video.times)
    named = [preset.sliding_frame(i, t) for i, t in enumerate(times)]
    step = f"{video.id}#0"
    request = CaptionRequest((video.frames[0],), prompts.first(named[0]), step)
    captions = [_text((yield request), step)]
    for i in range(1, len(times)):
        step = f"{video.id}#{i}"
        images = _window(video.frames[i - 1], video.frames[i], preset)
        prompt = prompts.following(named[i - 1], named[i], previous=captions[-1])
        captions.append(_text((yield CaptionRequest(images, prompt, step)), step))
    caption = yield from _summarise(video.id, times, captions, preset)
    return VideoCaption(video.id, "sliding", preset.name, caption, times, tuple(captions))


def fast(video: KeyFrames, *, preset: Preset) -> Program:
    """One request with all key frames, laid out as the preset says.

    Raises:
      RecordError: a layout that does not take that many frames; an empty answer.
    """
    frames = tuple(video.frames)
    if preset.fast != "separate":
        frames = ((compose.strip if preset.fast == "strip" else compose.grid30)(frames),)
    times = tuple(float(t) for t in video.times)
    named = [preset.summary_frame(i, t) for i, t in enumerate(times)]
    step = f"{video.id}#fast"
    answer = yield CaptionRequest(frames, preset.prompts.fast(named), step)
    return VideoCaption(video.id, "fast", preset.name, _text(answer, step), times)


def clip(whole: VideoCaption, *, start: float, end: float, preset: Preset) -> Program:
    """A caption of the seconds `start` to `end`, out of the differential captions that lie there.

    The key frames with start <= time <= end take part, their times counted from `start`. The
    differential caption of the first of them also tells what led to it.

        times (0, 2, 3.5, 8), start=2, end=5  ->  captions 1 and 2, at 0.00 and 1.50 seconds

    Raises:
      RecordError: `whole` has no differential captions, or none between `start` and `end`.
    """
    if len(whole.times) != len(whole.differential):
        raise RecordError(
            f"video {whole.id}: {len(whole.differential)} differential captions for "
            f"{len(whole.times)} times",
            mend="make its captions in sliding mode",
        )
    _check_times(whole.id, whole.times)
    inside = [
        (t - start, text)
        for t, text in zip(whole.times, whole.differential, strict=True)
        if start <= t <= end
    ]
    if not inside:
        raise RecordError(
            f"video {whole.id}: no key frame between {start} and {end} s",
            mend=f"its key frames are at {', '.join(f'{t:.2f}' for t in whole.times)}",
        )
    times, captions = zip(*inside, strict=True)
    name = f"{whole.id}@{start:g}-{end:g}"
    caption = yield from _summarise(name, times, captions, preset)
    return VideoCaption(name, "clip", preset.name, caption, times, captions)


def recaption(name: str, text: str, *, preset: Preset) -> Program:
    """A detailed caption out of the short prompt `text`.

    Raises:
      RecordError: an empty prompt or answer.
    """
    prompt = preset.prompts.recaption(_text(text, f"{name}: prompt"))
    step = f"{name}#recaption"
    answer = yield CaptionRequest((), prompt, step)
    return VideoCaption(name, "recaption", preset.name, _text(answer, step))


def run(program: Program, captioner: Captioner) -> VideoCaption:
    """Runs one program to its end, a request at a time."""
    try:
        request = next(program)
        while True:
            request = program.send(captioner.describe([request])[0])
    except StopIteration as e:
        return e.value


def _summarise(
    name: str, times: Sequence[float], captions: Sequence[str], preset: Preset
) -> Generator[CaptionRequest, str, str]:
    step = f"{name}#summary"
    named = [preset.summary_frame(i, t) for i, t in enumerate(times)]
    prompt = preset.prompts.summary(list(zip(named, captions, strict=True)))
    return _text((yield CaptionRequest((), prompt, step)), step)


def _window(before: np.ndarray, after: np.ndarray, preset: Preset) -> tuple[np.ndarray, ...]:
    if preset.window == "stacked":
        return (compose.stack_pair(before, after),)
    return (before, after) if preset.window == "pair" else (after,)


def _text(answer: str, step: str) -> str:
    if not isinstance(answer, str) or not answer.strip():
        raise RecordError(f"{step}: the text is empty", mend="see what the captioner answers")
    return answer.strip()


def _check_times(name: str, times: Sequence[float]) -> None:
    rising = all(a < b for a, b in itertools.pairwise(times))
    if not rising or not all(math.isfinite(t) and t >= 0 for t in times):
        raise RecordError(
            f"video {name}: key frame times {list(times)!r:.100} do not rise from 0 or later",
            mend="sort the frames by time; no two share one",
        )
