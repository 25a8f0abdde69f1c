"""Exact frames out of a video file, by number.

Frame `k` is the k-th picture that a player shows, whatever the header claims: headers are wrong
for edited, truncated and many old files, so frames are counted from the packets (no decoding).
Where packet times cannot be trusted the whole stream is decoded in order instead.
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import math
import os
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import av
import numpy as np
from av.video.reformatter import VideoReformatter

from sg4v_jax.errors import CorruptVideoError, EmptyVideoError, VideoError
from sg4v_jax.video import container as containers
from sg4v_jax.video.sampling import run_indices

# Below this many pixels in all, starting decoder threads costs more than they save.
_ONE_THREAD_PIXELS = 30_000_000
# A seek empties the decoder's pipeline; skipping fewer packets than this is not worth it.
_SEEK_GAIN = 16


@dataclasses.dataclass(frozen=True)
class VideoInfo:
    """Size as shown (rotation applied, in pixels), frame count, frames a second, seconds.

    `fps` and `duration` are 0 where the file tells neither.
    """

    width: int
    height: int
    frames: int
    fps: float
    duration: float


@dataclasses.dataclass(frozen=True)
class Decoded:
    """Frames u8[H,W,3] in the order asked for.

    `substituted` counts the places of `frames` that may not show what was wanted: the frame is
    missing and the nearest later (or else the last) one stands for it, or it follows damage with
    no keyframe between, so that the decoder had to guess (known damage only).
    """

    frames: list[np.ndarray]
    substituted: int


def probe(path: str | os.PathLike) -> VideoInfo:
    """What `read_frames` will find, at the price of reading the packets and decoding one frame.

    Only a decoded frame knows its rotation. Files whose packet times cannot be trusted (AVI,
    MPEG streams) are decoded once to count their frames.

    Raises:
      MissingVideoError, NoVideoStreamError, EmptyVideoError, CorruptVideoError: as named.
    """
    with contextlib.closing(_Clip(path)) as clip:
        return clip.info()


def read_frames(path: str | os.PathLike, indices: Sequence[int]) -> Decoded:
    """The frames numbered `indices` (any order, repeats allowed), RGB, native size, upright.

    Damaged packets are skipped; see `Decoded.substituted`. A truncated mp4 still tells how many
    frames it had, and those lost count as missing; other formats do not, and look like shorter
    videos.

    Raises:
      MissingVideoError, NoVideoStreamError, EmptyVideoError: as named.
      CorruptVideoError: the file does not open, or fewer than half of the wanted frames decode.
      VideoError: an index is outside the video, or the frame size changes within it.
    """
    with contextlib.closing(_Clip(path)) as clip:
        return clip.read(indices)


def sample_frames(path: str | os.PathLike, *, n: int = 16) -> Decoded:
    """`n` frames spread over the whole video (`sampling.run_indices`), in one opening.

    Raises: as `read_frames`.
    """
    with contextlib.closing(_Clip(path)) as clip:
        return clip.read(run_indices(clip.total, n=n))


class _Picture(NamedTuple):
    frame: av.VideoFrame
    sound: bool  # no damage since the last keyframe


class _Clip:
    """One open video and the index of its packets.

    `_times` holds the presentation times of all frames, sorted; it is None where packet times
    cannot be trusted. Packets are numbered in file order; `_keys` lists (number, time) of the
    first packet and of every keyframe.
    """

    def __init__(self, path: str | os.PathLike):
        self.name = os.fspath(path)
        self._reformatter = VideoReformatter()
        self._container, self._stream = containers.open_video(self.name)
        try:
            self._index()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        self._container.close()

    def _index(self) -> None:
        shown, self._keys, self._number = [], [], {}
        for number, packet in enumerate(containers.packets(self._container, self._stream)):
            self._number.setdefault(packet.pts, number)
            if packet.is_keyframe or number == 0:
                self._keys.append((number, packet.pts))
            if not packet.is_discard:  # an edit list hides such frames
                shown.append(packet.pts)
        self._lost = containers.frames_beyond_end(self._container, self._stream)
        if not shown:
            raise self._nothing_shown()
        self._times = sorted(shown) if self._trusts(shown) else None
        self._total = len(shown) + self._lost if self._times else None
        self._seeks = self._times is not None
        pixels = self._stream.width * self._stream.height * len(shown)
        self._one_thread = pixels < _ONE_THREAD_PIXELS
        self._set_threads()

    def _trusts(self, times: list[int | None]) -> bool:
        """Whether the times of the packets, in file order, tell the order of the pictures."""
        if None in times or len(set(times)) < len(times):
            return False
        # Pictures stored out of order, yet with times in order: those are decoding times.
        mislabelled = self._stream.codec_context.reorder_depth and times == sorted(times)
        return containers.has_true_times(self._container) and not mislabelled

    @property
    def total(self) -> int:
        """Frames, those included that the index of a truncated mp4 promises."""
        if self._total is None:
            counted = sum(1 for _ in self._from_start())
            if counted == 0:
                raise self._undecodable(0, 1)
            self._total = counted + self._lost
        return self._total

    def info(self) -> VideoInfo:
        first = next(self._from_start(), None)
        if first is None:
            raise self._undecodable(0, 1)
        height, width = self._upright(first.frame).shape[:2]
        fps = float(self._stream.average_rate or self._stream.guessed_rate or 0)
        duration = self.total / fps if fps else 0.0
        if self._times and len(self._times) > 1:
            # A last frame has no successor to end it: it gets the mean length of the others.
            span = (self._times[-1] - self._times[0]) * self._stream.time_base
            duration = float(span * self.total / (len(self._times) - 1))
            fps = fps or self.total / duration
        return VideoInfo(width, height, self.total, fps, duration)

    def read(self, indices: Sequence[int]) -> Decoded:
        if len(indices) and not (0 <= min(indices) and max(indices) < self.total):
            raise VideoError(
                f"{self.name}: frames {min(indices)}..{max(indices)} wanted of {self.total}",
                mend=f"ask for frames 0..{self.total - 1}",
            )
        wanted = sorted(set(indices))
        select = self._select_by_time if self._times else self._select_by_count
        found: dict[int, np.ndarray] = {}
        decoded, sound = set(), set()
        picture = None
        for index, selected, is_it in select(wanted):
            if selected is not picture:
                picture, pixels = selected, self._upright(selected.frame)
            found[index] = pixels
            if is_it:
                decoded.add(index)
                if picture.sound:
                    sound.add(index)
        if 2 * len(decoded) < len(wanted):
            raise self._undecodable(len(decoded), len(wanted))
        self._check_one_size(found.values())
        substituted = sum(index not in sound for index in indices)
        return Decoded([found[index] for index in indices], substituted)

    def _select_by_time(self, wanted: list[int]) -> Iterator[tuple[int, _Picture, bool]]:
        """Yields (index, picture, whether it is the right one), finding pictures by their times."""
        pictures, last = self._from_start(), None
        for index in wanted:
            time = self._times[index] if index < len(self._times) else math.inf
            if last is None or last.frame.pts < time:
                key = max((k for k in self._keys if k[1] <= time), default=self._keys[0])
                if self._seeks and key[0] > self._position + _SEEK_GAIN:
                    pictures = self._from_packet(*key)
                last = _first_not_before(time, pictures) or last
            if last is not None:
                yield index, last, last.frame.pts == time

    def _select_by_count(self, wanted: list[int]) -> Iterator[tuple[int, _Picture, bool]]:
        """Yields the same, counting pictures from the start."""
        pictures, number, last = self._from_start(), -1, None
        for index in wanted:
            while number < index and (picture := next(pictures, None)) is not None:
                number, last = number + 1, picture
            if last is not None:
                yield index, last, number == index

    def _from_start(self) -> Iterator[_Picture]:
        return self._from_packet(*self._keys[0]) if self._seeks else self._reopened()

    def _from_packet(self, number: int, time: int) -> Iterator[_Picture]:
        """Frames from the packet `number` on, or from an earlier one if the seek lands there."""
        with contextlib.suppress(av.error.FFmpegError):
            self._container.seek(time, stream=self._stream, backward=True)
            packets = containers.packets(self._container, self._stream)
            first = next(packets, None)
            landed = self._number.get(first.pts, math.inf) if first else math.inf
            if landed <= number:
                self._position = landed
                return self._decode(itertools.chain([first], packets))
        self._seeks = False  # it would miss again, each time at the price of a whole pass
        return self._reopened()

    def _reopened(self) -> Iterator[_Picture]:
        """Frames from the start: the one way back that every format offers."""
        self._container.close()
        self._container, self._stream = containers.open_video(self.name)
        self._set_threads()
        self._position = 0
        return self._decode(containers.packets(self._container, self._stream))

    def _set_threads(self) -> None:
        context = self._stream.codec_context
        context.thread_type = "SLICE" if self._one_thread else "AUTO"
        context.thread_count = 1 if self._one_thread else 0

    def _decode(self, packets: Iterator[av.Packet]) -> Iterator[_Picture]:
        """What the packets hold, in the order shown; a packet that does not decode is skipped."""
        sound = True
        for packet in itertools.chain(packets, [None]):
            if packet is not None:
                self._position = self._number.get(packet.pts, self._position)
            try:
                frames = self._stream.codec_context.decode(packet)
            except av.error.FFmpegError:
                sound, frames = False, []
            for frame in frames:
                sound = (sound or frame.key_frame) and not frame.is_corrupt
                yield _Picture(frame, sound)

    def _upright(self, frame: av.VideoFrame) -> np.ndarray:
        rgb = self._reformatter.reformat(frame, format="rgb24", threads=1).to_ndarray()
        quarter_turns = round(frame.rotation / 90) % 4  # counter-clockwise, as np.rot90 turns
        return np.ascontiguousarray(np.rot90(rgb, quarter_turns)) if quarter_turns else rgb

    def _check_one_size(self, frames: Iterable[np.ndarray]) -> None:
        sizes = sorted({f"{f.shape[1]}x{f.shape[0]}" for f in frames})
        if len(sizes) > 1:
            raise VideoError(
                f"{self.name}: the frame size changes ({', '.join(sizes)})",
                mend="re-encode it to one size",
            )

    def _nothing_shown(self) -> VideoError:
        if self._lost:
            return CorruptVideoError(
                f"{self.name}: truncated before the first of its {self._lost} frames",
                mend="fetch the file again",
            )
        return EmptyVideoError(f"{self.name}: the video has 0 frames", mend="leave it out")

    def _undecodable(self, decoded: int, wanted: int) -> CorruptVideoError:
        return CorruptVideoError(
            f"{self.name}: only {decoded} of {wanted} wanted frames decode; truncated or damaged",
            mend="fetch the file again, or leave it out",
        )


def _first_not_before(time: float, pictures: Iterator[_Picture]) -> _Picture | None:
    """The first picture at or after `time`, else the last one there is."""
    last = None
    for picture in pictures:
        if picture.frame.pts is not None:
            last = picture
            if picture.frame.pts >= time:
                break
    return last
