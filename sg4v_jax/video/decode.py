"""Exact frames out of a video, by number: the one way in for every kind of video.

A video is a container file (`stream`), a folder of numbered frames (`folder`), or a picture file
(`pictures`: animated WebP and PNG; a still picture is a video of one frame). Names that end in
jpg, jpeg, png, webp or bmp are pictures; every other file is opened as a container, whatever its
name. All functions may be called from many threads at once, and take `seconds`, after which they
raise `DecodeTimeoutError` even if a decoder hangs.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np

from sg4v_jax.errors import ConfigError
from sg4v_jax.video.folder import FolderSource, is_folder
from sg4v_jax.video.limits import TIME_LIMIT, Deadline, run_within
from sg4v_jax.video.pictures import PictureSource, is_picture
from sg4v_jax.video.sampling import sample_indices
from sg4v_jax.video.source import Decoded, Source, VideoInfo
from sg4v_jax.video.stream import StreamSource

__all__ = ["TIME_LIMIT", "Decoded", "VideoInfo", "probe", "read_frames", "sample_frames"]

T = TypeVar("T")


def probe(path: str | os.PathLike, *, seconds: float = TIME_LIMIT) -> VideoInfo:
    """What `read_frames` will find, at the price of reading the packets and decoding one frame.

    Only a decoded frame knows its rotation. Files whose packet times cannot be trusted (AVI,
    MPEG streams) are decoded once to count their frames, and animated pictures to add up the
    durations of theirs.

    Raises:
      MissingVideoError, NoVideoStreamError, EmptyVideoError, CorruptVideoError,
      DecodeTimeoutError: as named.
      VideoError: frames too large, or a folder that does not hold the frames of one video.
      UnsafePathError: a folder with a link that leads out of it.
      ConfigError: `seconds` is not above 0.
    """
    return _read(path, seconds=seconds, read=lambda source: source.info())


def read_frames(
    path: str | os.PathLike, indices: Sequence[int], *, seconds: float = TIME_LIMIT
) -> Decoded:
    """The frames numbered `indices` (any order, repeats allowed), RGB, native size, upright.

    Damaged packets are skipped; see `Decoded.substituted`. A truncated mp4 still tells how many
    frames it had, and those lost count as missing; other formats do not, and look like shorter
    videos.

    Raises: as `probe`, and
      CorruptVideoError: also if fewer than half of the wanted frames decode.
      VideoError: also if an index is outside the video, or the frame size changes within it.
    """
    return _read(path, seconds=seconds, read=lambda source: source.read(indices))


def sample_frames(
    path: str | os.PathLike,
    *,
    n: int = 16,
    rule: str = "run",
    bounds: tuple[float, float] | None = None,
    fps: float | None = None,
    rng: np.random.Generator | None = None,
    seconds: float = TIME_LIMIT,
) -> Decoded:
    """`n` frames that `rule` picks, in one opening.

    Args:
      path: the video.
      n: frames wanted.
      rule, bounds, rng: as `sampling.sample_indices`.
      fps: frames a second in place of what the video tells, for `bounds`; folders tell none.

    Raises: as `read_frames` and `sampling.sample_indices`.
    """

    def read(source: Source) -> Decoded:
        rate = fps if fps is not None or bounds is None else source.fps
        try:
            wanted = sample_indices(
                source.total, rule=rule, n=n, fps=rate, bounds=bounds, rng=rng, first=source.first
            )
        except ConfigError as e:
            raise ConfigError(f"{source.name}: {e.message}", mend=e.mend) from e
        return source.read(wanted)

    return _read(path, seconds=seconds, read=read)


def open_source(name: str, *, deadline: Deadline) -> Source:
    """The opened video; the caller closes it."""
    kind = FolderSource if is_folder(name) else PictureSource if is_picture(name) else StreamSource
    return kind(name, deadline=deadline)


def _read(path: str | os.PathLike, *, seconds: float, read: Callable[[Source], T]) -> T:
    def work(deadline: Deadline) -> T:
        with contextlib.closing(open_source(deadline.name, deadline=deadline)) as source:
            return read(source)

    return run_within(os.fspath(path), seconds=seconds, work=work)
