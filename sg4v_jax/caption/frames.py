"""Frames of a video with their times, at most 1024 pixels long, in little memory."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeVar

import numpy as np
from PIL import Image

from sg4v_jax.errors import VideoError
from sg4v_jax.video import keyframes
from sg4v_jax.video.decode import TIME_LIMIT, open_source
from sg4v_jax.video.frame_times import at_interval, frame_times
from sg4v_jax.video.limits import Deadline, run_within
from sg4v_jax.video.sampling import run_indices
from sg4v_jax.video.source import Source

LONGEST_SIDE = 1024
_AT_ONCE = 16  # native frames in memory at a time

T = TypeVar("T")


class Opened(NamedTuple):
    """A video while it is read: `times` f64[total] in seconds."""

    source: Source
    times: np.ndarray

    @property
    def fps(self) -> float:
        """As the file states, else the mean rate that the times tell, else that of a still: 1."""
        mean = (len(self.times) - 1) / self.times[-1] if len(self.times) > 1 else 1.0
        return self.source.fps or float(mean)

    def read(self, numbers: Sequence[int], *, change: Callable) -> tuple[list[np.ndarray], int]:
        """`change(frame)` of each frame, and how many frames stand for lost ones."""
        frames, substituted = [], 0
        for start in range(0, len(numbers), _AT_ONCE):
            decoded = self.source.read(numbers[start : start + _AT_ONCE])
            frames += [change(frame) for frame in decoded.frames]
            substituted += decoded.substituted
        return frames, substituted


class Sampled(NamedTuple):
    """Frames u8[H,W,3], their numbers and times, and the video that they are from."""

    frames: list[np.ndarray]
    numbers: list[int]
    times: list[float]
    total: int
    fps: float
    substituted: int


def with_video(
    path: str | os.PathLike, *, seconds: float = TIME_LIMIT, work: Callable[[Opened], T]
) -> T:
    """`work(opened)`, given up after `seconds`.

    Raises:
      VideoError: as `video.decode.read_frames`.
    """

    def run(deadline: Deadline) -> T:
        with contextlib.closing(open_source(deadline.name, deadline=deadline)) as source:
            if source.total == 1:  # a picture, too, is a video of one frame
                return work(Opened(source, np.zeros(1)))
            return work(Opened(source, frame_times(source, deadline=deadline)))

    return run_within(os.fspath(path), seconds=seconds, work=run)


def sample(path: str | os.PathLike, *, choose: Callable, seconds: float = TIME_LIMIT) -> Sampled:
    """The frames that `choose(opened)` numbers, shrunk to `LONGEST_SIDE`.

    Raises:
      VideoError: as `with_video`.
    """

    def work(video: Opened) -> Sampled:
        numbers = choose(video)
        frames, substituted = video.read(numbers, change=shrink)
        times = [float(video.times[n]) for n in numbers]
        return Sampled(frames, numbers, times, len(video.times), video.fps, substituted)

    return with_video(path, seconds=seconds, work=work)


def every(interval: float, *, with_last: bool) -> Callable[[Opened], list[int]]:
    """For `sample`: a frame every `interval` seconds, and perhaps the last one."""

    def choose(video: Opened) -> list[int]:
        numbers = at_interval(video.times, interval=interval)
        last = len(video.times) - 1
        return [*numbers, last] if with_last and numbers[-1] != last else numbers

    return choose


def every_step(interval: float) -> Callable[[Opened], list[int]]:
    """For `sample`: every `int(interval * fps)`-th frame, as the released demo takes them."""
    return lambda video: list(range(0, len(video.times), max(1, int(interval * video.fps))))


def evenly(count: int) -> Callable[[Opened], list[int]]:
    """For `sample`: `count` frames spread over the video.

    Raises:
      VideoError: it has fewer.
    """

    def choose(video: Opened) -> list[int]:
        if len(video.times) < count:
            raise VideoError(
                f"{video.source.name}: {len(video.times)} frames, {count} are wanted",
                mend="use another preset for such short videos",
            )
        return run_indices(len(video.times), n=count)

    return choose


def shrink(frame: np.ndarray) -> np.ndarray:
    """u8[H,W,3] with the longer side at most `LONGEST_SIDE`: pixels are averaged over areas."""
    height, width = frame.shape[:2]
    if max(height, width) <= LONGEST_SIDE:
        return np.array(frame)  # a view would keep the decoder's buffers
    scale = LONGEST_SIDE / max(height, width)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    return np.asarray(Image.fromarray(frame).resize(size, Image.Resampling.BOX))


def candidates(video: Opened, *, rule: str, interval: float) -> tuple[list[int], int, int]:
    """The candidates for key frames, the last frame that counts, and the step between candidates.

    `paper` takes the frames nearest to every `interval` by their real times; `released` counts
    frames, reads 120 s, leaves out a plain opening, and refuses videos of up to 10 s.

    Raises:
      VideoError: the released rule leaves such a short video out.
    """
    total = len(video.times)
    if rule == "paper":
        return at_interval(video.times, interval=interval), total - 1, 1
    step = keyframes.step(fps=video.fps, interval=interval)
    if not keyframes.long_enough(total, fps=video.fps):
        raise VideoError(
            f"{video.source.name}: {total / video.fps:.1f} s; the released rule leaves out videos "
            f"of up to {keyframes.SHORTEST:g} s",
            mend="use --rule=paper for short videos",
        )
    end = keyframes.readable(total, fps=video.fps)
    plain = []
    for number in range(min(step, end)):
        [frame], _ = video.read([number], change=_is_plain)
        plain.append(frame)
        if not frame:
            break
    skipped = min(keyframes.leading_pure(plain, step=step), end - 1)
    return list(range(skipped, end, step)), end - 1, step


def _is_plain(frame: np.ndarray) -> bool:
    return bool((frame == frame[0, 0]).all())
