"""Exact frames out of a container file (mp4, mkv, webm, avi, mpg, gif, ...), by number.

Frame `k` is the k-th picture that a player shows, whatever the header claims: headers are wrong
for edited, truncated and many old files, so frames are counted from the packets (no decoding).
Where packet times cannot be trusted the whole stream is decoded in order instead.
"""

from __future__ import annotations

import contextlib
import itertools
import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import av
import numpy as np
from av.video.reformatter import VideoReformatter

from sg4v_jax.errors import CorruptVideoError, EmptyVideoError, VideoError
from sg4v_jax.video import container as containers
from sg4v_jax.video.limits import Deadline
from sg4v_jax.video.source import MOST_PIXELS, Decoded, Source, VideoInfo

# Below this many pixels in all, starting decoder threads costs more than they save.
_ONE_THREAD_PIXELS = 300_000_000
# A seek empties the decoder's pipeline; skipping fewer packets than this is not worth it.
_SEEK_GAIN = 16


class _FalseTimes(Exception):
    """The times of the packets are not those at which the pictures are shown."""


class _Picture(NamedTuple):
    frame: av.VideoFrame
    sound: bool  # no damage since the last keyframe


class StreamSource(Source):
    """One open container file and the index of its packets.

    `_times` holds the presentation times of all frames, sorted; it is None where packet times
    cannot be trusted. Packets are numbered in file order; `_keys` lists (number, time) of the
    first packet and of every keyframe.
    """

    def __init__(self, name: str, *, deadline: Deadline):
        self.name, self._deadline = name, deadline
        self._reformatter = VideoReformatter()
        self._shown_for: frozenset[int] | None = None  # times that `read` wants; None: all frames
        self._container, self._stream = containers.open_video(name, deadline=deadline)
        try:
            self._index()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        self._container.close()

    def _index(self) -> None:
        self.check_pixels(self._stream.width, self._stream.height)
        shown, self._keys, self._number = [], [], {}
        for number, packet in enumerate(self._packets()):
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
        # Pictures that may be stored out of order, yet have times in order: those may be decoding
        # times, which is seen when pictures come out. So all are decoded, in order.
        self._doubts = bool(self._stream.codec_context.reorder_depth) and shown == self._times
        self._seeks = self._times is not None and not self._doubts
        pixels = self._stream.width * self._stream.height * len(shown)
        self._one_thread = pixels < _ONE_THREAD_PIXELS
        self._set_threads()

    def _trusts(self, times: list[int | None]) -> bool:
        """Whether the times of the packets, in file order, tell the order of the pictures."""
        if None in times or len(set(times)) < len(times):
            return False
        return containers.has_true_times(self._container)

    @property
    def total(self) -> int:
        """Frames, those included that the index of a truncated mp4 promises."""
        if self._total is None:
            counted = sum(1 for _ in self._from_start())
            if counted == 0:
                raise self.undecodable(0, 1)
            self._total = counted + self._lost
        return self._total

    @property
    def fps(self) -> float:
        """The mean rate that the container states, else the one that the times tell."""
        stated = float(self._stream.average_rate or self._stream.guessed_rate or 0)
        return stated or (self.total / self._span if self._span else 0.0)

    @property
    def _span(self) -> float:
        """Seconds from the first frame's start to the last one's end, 0 where no times tell."""
        if not self._times or len(self._times) < 2:
            return 0.0
        # A last frame has no successor to end it: it gets the mean length of the others.
        span = (self._times[-1] - self._times[0]) * self._stream.time_base
        return float(span * self.total / (len(self._times) - 1))

    def info(self) -> VideoInfo:
        first = next(self._from_start(), None)
        if first is None:
            raise self.undecodable(0, 1)
        height, width = self._upright(first.frame).shape[:2]
        duration = self._span or (self.total / self.fps if self.fps else 0.0)
        return VideoInfo(width, height, self.total, self.fps, duration)

    def read(self, indices: Sequence[int]) -> Decoded:
        try:
            return self._read(indices)
        except _FalseTimes:
            self._times, self._doubts = None, False  # there are as many pictures as packets
            return self._read(indices)

    def _read(self, indices: Sequence[int]) -> Decoded:
        self.check_indices(indices)
        wanted = sorted(set(indices))
        select = self._select_by_time if self._times else self._select_by_count
        found: dict[int, np.ndarray] = {}
        decoded, sound = set(), set()
        picture = None
        self._shown_for = None
        if self._times and not self._doubts:
            self._shown_for = frozenset(self._times[i] for i in wanted if i < len(self._times))
        for index, selected, is_it in select(wanted):
            if selected is not picture:
                picture, pixels = selected, self._upright(selected.frame)
            found[index] = pixels
            if is_it:
                decoded.add(index)
                if picture.sound:
                    sound.add(index)
        return self.gather(indices, found=found, decoded=decoded, sound=sound)

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
            packets = self._packets()
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
        self._container, self._stream = containers.open_video(self.name, deadline=self._deadline)
        self._set_threads()
        self._position = 0
        return self._decode(self._packets())

    def _packets(self) -> Iterator[av.Packet]:
        return containers.packets(self._container, self._stream, deadline=self._deadline)

    def _set_threads(self) -> None:
        context = self._stream.codec_context
        context.thread_type = "SLICE" if self._one_thread else "AUTO"
        context.thread_count = 1 if self._one_thread else 0
        # The size may also change in mid-stream.
        context.options = {"max_pixels": str(MOST_PIXELS)}

    def _decode(self, packets: Iterator[av.Packet]) -> Iterator[_Picture]:
        """What the packets hold, in the order shown; a packet that does not decode is skipped.

        Where frames are counted, a lost one shifts the numbers of all that follow: they are not
        sound up to the end. Where times number them, the next keyframe is sound again.
        """
        sound = numbered = True
        latest = -math.inf
        for order, packet in enumerate(itertools.chain(packets, [None])):
            if packet is not None:
                self._position = self._number.get(packet.pts, self._position)
                self._skip_if_unneeded(packet)
            # A recording may start anywhere, so its first packet may well be a part of one.
            damaged = packet is not None and packet.is_corrupt and order > 0
            try:
                frames = self._stream.codec_context.decode(packet)
            except av.error.FFmpegError:
                damaged, frames = True, []
            if damaged:
                sound, numbered = False, self._times is not None
            for frame in frames:
                if self._doubts and frame.pts is not None:
                    if frame.pts < latest:
                        raise _FalseTimes
                    latest = frame.pts
                sound = (sound or frame.key_frame) and not frame.is_corrupt and numbered
                yield _Picture(frame, sound)

    def _skip_if_unneeded(self, packet: av.Packet) -> None:
        """Lets the decoder leave out a picture that is not wanted and that no other builds on."""
        if self._shown_for is not None:
            wanted = packet.pts in self._shown_for
            self._stream.codec_context.skip_frame = "DEFAULT" if wanted else "NONREF"

    def _upright(self, frame: av.VideoFrame) -> np.ndarray:
        converted = self._reformatter.reformat(frame, format="rgb24", threads=1)
        plane, height, width = converted.planes[0], converted.height, converted.width
        # A view: a copy of every frame costs as much as its conversion.
        lines = np.frombuffer(plane, np.uint8).reshape(height, plane.line_size)
        rgb = lines[:, : 3 * width].reshape(height, width, 3)
        quarter_turns = round(frame.rotation / 90) % 4  # counter-clockwise, as np.rot90 turns
        return np.ascontiguousarray(np.rot90(rgb, quarter_turns)) if quarter_turns else rgb

    def _nothing_shown(self) -> VideoError:
        if self._lost:
            return CorruptVideoError(
                f"{self.name}: truncated before the first of its {self._lost} frames",
                mend="fetch the file again",
            )
        return EmptyVideoError(f"{self.name}: the video has 0 frames", mend="leave it out")


def _first_not_before(time: float, pictures: Iterator[_Picture]) -> _Picture | None:
    """The first picture at or after `time`, else the last one there is."""
    last = None
    for picture in pictures:
        if picture.frame.pts is not None:
            last = picture
            if picture.frame.pts >= time:
                break
    return last
