"""What every kind of video can do: a container file, a folder of frames, a moving picture."""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet

import numpy as np

from sg4v_jax.errors import CorruptVideoError, VideoError

# 8192 x 8192. A hostile header of a few bytes can claim pictures that fill the memory.
MOST_PIXELS = 1 << 26


@dataclasses.dataclass(frozen=True)
class VideoInfo:
    """Size as shown (rotation applied, in pixels), frame count, frames a second, seconds.

    `fps` and `duration` are 0 where the video tells neither.
    """

    width: int
    height: int
    frames: int
    fps: float
    duration: float


@dataclasses.dataclass(frozen=True)
class Decoded:
    """Frames u8[H,W,3] in the order asked for, and their numbers.

    `substituted` counts the places of `frames` that may not show what was wanted: the frame is
    missing and the nearest later (or else the last) one stands for it, or it follows damage with
    no keyframe between, so that the decoder had to guess, or it follows a lost packet of a
    format whose frames are counted (AVI, MPEG), so that its number is unsure. Known damage only:
    nothing tells of a wrong part of a GIF, or of a stretch cut out of a Matroska or AVI file.
    """

    frames: list[np.ndarray]
    substituted: int
    indices: tuple[int, ...]


class Source(abc.ABC):
    """One open video.

    Attributes:
      name: its path, for messages.
      first: the number in the name of its first frame: 1 for a folder that counts from 1, else 0.
      total: how many frames it has.
      fps: frames a second, 0 where the video does not tell.
    """

    name: str
    first: int = 0

    @property
    @abc.abstractmethod
    def total(self) -> int: ...

    @property
    @abc.abstractmethod
    def fps(self) -> float: ...

    @abc.abstractmethod
    def info(self) -> VideoInfo: ...

    @abc.abstractmethod
    def read(self, indices: Sequence[int]) -> Decoded:
        """Frames by number, from 0, in any order, with repeats."""

    def close(self) -> None:
        """Lets go of the file."""

    def check_indices(self, indices: Sequence[int]) -> None:
        if len(indices) and not (0 <= min(indices) and max(indices) < self.total):
            raise VideoError(
                f"{self.name}: frames {min(indices)}..{max(indices)} wanted of {self.total}",
                mend=f"ask for frames 0..{self.total - 1}",
            )

    def check_pixels(self, width: int, height: int) -> None:
        if width * height > MOST_PIXELS:
            raise VideoError(
                f"{self.name}: frames of {width}x{height}; at most {MOST_PIXELS} pixels are read",
                mend="scale it down, or leave it out if that is not its size",
            )

    def check_one_size(self, frames: Iterable[np.ndarray]) -> None:
        sizes = sorted({f"{f.shape[1]}x{f.shape[0]}" for f in frames})
        if len(sizes) > 1:
            raise VideoError(
                f"{self.name}: the frame size changes ({', '.join(sizes[:4])})",
                mend="re-encode it to one size",
            )

    def undecodable(self, decoded: int, wanted: int) -> CorruptVideoError:
        return CorruptVideoError(
            f"{self.name}: only {decoded} of {wanted} wanted frames decode; truncated or damaged",
            mend="fetch the file again, or leave it out",
        )

    def gather(
        self,
        wanted: Sequence[int],
        *,
        found: Mapping[int, np.ndarray],
        decoded: AbstractSet[int],
        sound: AbstractSet[int],
    ) -> Decoded:
        """The result of `read`, if enough of it is there.

        Args:
          wanted: frame numbers, in the order asked for.
          found: what is shown for each of them, its own picture or a stand-in.
          decoded: those that show their own picture.
          sound: those of `decoded` that no known damage touches.

        Raises:
          CorruptVideoError: fewer than half of the different frames wanted decode.
          VideoError: they differ in size.
        """
        different = set(wanted)
        if 2 * len(decoded) < len(different):
            raise self.undecodable(len(decoded), len(different))
        self.check_one_size(found.values())
        substituted = sum(index not in sound for index in wanted)
        return Decoded([found[index] for index in wanted], substituted, tuple(wanted))
