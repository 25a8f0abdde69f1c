"""Picture files as video: an animated WebP or PNG, or a still picture as a video of one frame.

Pillow reads them. Alpha is dropped, as FFmpeg does for GIF, and an EXIF orientation is not
applied, as in the original's readers.
"""

from __future__ import annotations

import contextlib
import functools
import os
import struct
from collections.abc import Iterator, Sequence

import numpy as np
from PIL import Image

from sg4v_jax import files
from sg4v_jax.errors import CorruptVideoError, EmptyVideoError, MissingVideoError
from sg4v_jax.video.limits import Deadline
from sg4v_jax.video.source import Decoded, Source, VideoInfo

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp")

_FORMATS = ("JPEG", "PNG", "WEBP", "BMP")
_MOVING = ("WEBP", "PNG")  # a JPEG with more pictures holds thumbnails, not frames
# What Pillow raises for damaged files of these formats, beside OSError.
_DAMAGE = (OSError, EOFError, SyntaxError, ValueError, struct.error, Image.DecompressionBombError)


def is_picture(name: str) -> bool:
    """Whether the name is that of a picture file (GIF counts as a container)."""
    return name.lower().endswith(SUFFIXES)


@contextlib.contextmanager
def open_picture(name: str, *, source: Source) -> Iterator[Image.Image]:
    """The picture file `name`, a part of the video `source`, opened: its pixels are not read yet.

    Raises:
      MissingVideoError: no such file, or it may not be read.
      EmptyVideoError: it has no bytes.
      CorruptVideoError: not a JPEG, PNG, WebP or BMP picture, or damaged.
      VideoError: too large.
    """
    try:
        if "://" not in name and os.path.exists(name) and not os.path.isfile(name):
            raise OSError(None, "not a regular file")
        f = files.path(name).open("rb") if "://" in name else open(name, "rb")  # noqa: SIM115
    except OSError as e:
        raise MissingVideoError(
            f"{name}: cannot be read ({e.strerror or e})",
            mend="check the path and the data root, and that the file is readable",
        ) from e
    with f:
        if not f.read(1):
            raise EmptyVideoError(f"{name}: the file has 0 bytes", mend="fetch the file again")
        f.seek(0)
        try:
            image = Image.open(f, formats=_FORMATS)
        except _DAMAGE as e:
            raise CorruptVideoError(
                f"{name}: cannot be opened as a picture ({e})",
                mend="fetch the file again, or convert it to JPEG, PNG or WebP",
            ) from e
        with image:
            source.check_pixels(*image.size)
            yield image


def pixels_or_none(name: str, *, source: Source) -> np.ndarray | None:
    """u8[H,W,3] of a still picture; None if it is empty or does not decode.

    Raises:
      MissingVideoError: no such file, or it may not be read.
    """
    try:
        with open_picture(name, source=source) as image:
            return _pixels(image)
    except (EmptyVideoError, CorruptVideoError, *_DAMAGE):
        return None


class PictureSource(Source):
    """One open picture file.

    Each frame of an animation is drawn over the one before, so frames are read in order, and
    nothing after a damaged one can be read.
    """

    def __init__(self, name: str, *, deadline: Deadline):
        self.name, self._deadline = name, deadline
        self._open = contextlib.ExitStack()
        self._image = self._open.enter_context(open_picture(name, source=self))
        self._moves = self._image.format in _MOVING

    def close(self) -> None:
        self._open.close()

    @property
    def total(self) -> int:
        return getattr(self._image, "n_frames", 1) if self._moves else 1

    @property
    def fps(self) -> float:
        """The mean over all frames: each has its own duration."""
        return self.total / self._duration if self._duration else 0.0

    @functools.cached_property
    def _duration(self) -> float:
        """Seconds; frames that do not decode get the mean of the others."""
        milliseconds = [image.info.get("duration", 0) for image in self._frames(self.total)]
        if not milliseconds:
            raise self.undecodable(0, self.total)
        return sum(milliseconds) * self.total / len(milliseconds) / 1000

    def info(self) -> VideoInfo:
        width, height = self._image.size
        return VideoInfo(width, height, self.total, self.fps, self._duration)

    def read(self, indices: Sequence[int]) -> Decoded:
        self.check_indices(indices)
        wanted = set(indices)
        found: dict[int, np.ndarray] = {}
        drawn = 0
        for number, image in enumerate(self._frames(max(wanted, default=-1) + 1)):
            drawn = number + 1
            if number in wanted:
                found[number] = _pixels(image)
        decoded = set(found)
        if drawn and len(decoded) < len(wanted):
            *_, image = self._frames(drawn)
            found |= dict.fromkeys(wanted - decoded, _pixels(image))
        return self.gather(indices, found=found, decoded=decoded, sound=decoded)

    def _frames(self, stop: int) -> Iterator[Image.Image]:
        """The image, at frames 0..stop-1 in turn, up to the first that does not decode."""
        for number in range(stop):
            self._deadline.check()
            try:
                self._image.seek(number)
                self._image.load()  # only now are the pixels and the duration those of the frame
            except _DAMAGE:
                return
            yield self._image


def _pixels(image: Image.Image) -> np.ndarray:
    return np.array(image if image.mode == "RGB" else image.convert("RGB"))
