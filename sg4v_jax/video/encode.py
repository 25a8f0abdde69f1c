"""Frames to an mp4 file, the same bytes for the same frames."""

from __future__ import annotations

import fractions
import io
import math
import os

import av
import numpy as np

from sg4v_jax import files
from sg4v_jax.errors import VideoError

# x264's macroblock tree reads memory it never wrote when pictures are narrow (seen at 96 pixels:
# other bytes from run to run), so it is off; the same crf then gives a finer, larger file.
_X264 = {"preset": "veryfast", "threads": "1", "mbtree": "0"}


def write_mp4(path: str | os.PathLike, frames: np.ndarray, *, fps: float, crf: int = 18) -> None:
    """Writes frames as H.264 (yuv420p) in mp4; the file appears whole or not at all.

    One thread and no version stamps in the container, so equal frames give equal bytes with the
    same FFmpeg build.

    Args:
      path: where to write; folders are made.
      frames: u8[N,H,W,3], RGB; H and W even, because chroma has half their resolution.
      fps: frames a second.
      crf: x264 quality, 0 (lossless up to chroma) to 51; 18 looks like the original.

    Raises:
      VideoError: shape, type, size, `fps` or `crf` cannot be encoded.
      StorageError: the file cannot be written.
    """
    _check(path, frames, fps, crf)
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4", options={"fflags": "+bitexact"}) as container:
        stream = container.add_stream(
            "libx264",
            rate=fractions.Fraction(fps).limit_denominator(1001),
            options={**_X264, "crf": str(crf)},
        )
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "yuv420p"
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())
    files.write_atomic(path, buffer.getvalue())


def _check(path: str | os.PathLike, frames: np.ndarray, fps: float, crf: int) -> None:
    wrong = mend = None
    if frames.ndim != 4 or frames.shape[3] != 3 or frames.dtype != np.uint8:
        wrong, mend = f"frames {frames.dtype}{list(frames.shape)}", "give uint8[N, H, W, 3]"
    elif frames.shape[0] == 0:
        wrong, mend = "no frames", "give at least one frame"
    elif min(frames.shape[1:3]) < 2 or frames.shape[1] % 2 or frames.shape[2] % 2:
        wrong = f"frames of {frames.shape[2]}x{frames.shape[1]} pixels"
        mend = "crop or pad to an even width and height"
    elif not (math.isfinite(fps) and 0.001 <= fps <= 1000):
        wrong, mend = f"fps={fps}", "give frames a second between 0.001 and 1000"
    elif not 0 <= crf <= 51:
        wrong, mend = f"crf={crf}", "give a quality between 0 and 51"
    if wrong:
        raise VideoError(f"{os.fspath(path)}: cannot encode {wrong}", mend=mend)
