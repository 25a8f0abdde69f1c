"""Clips made at test time whose frames carry their own number as a bar code."""

from __future__ import annotations

import fractions

import av
import numpy as np
import pytest

WIDTH, HEIGHT, BITS = 128, 64, 8


def barcode(number: int) -> np.ndarray:
    """u8[64,128,3]: eight black or white blocks, a gradient that moves, the blocks inverted."""
    frame = np.empty((HEIGHT, WIDTH, 3), np.uint8)
    frame[:] = ((np.arange(WIDTH) + 3 * number) % 64 + 80)[None, :, None]
    for bit in range(BITS):
        value, columns = 255 * (number >> bit & 1), slice(bit * 16, bit * 16 + 16)
        frame[:24, columns], frame[48:, columns] = value, 255 - value
    return frame


def number_of(frame: np.ndarray) -> int:
    """The number that the bar code of `frame` shows."""
    return sum(int(frame[12, bit * 16 + 8].mean() > 128) << bit for bit in range(BITS))


def sure_number_of(frame: np.ndarray) -> int | None:
    """The number that the bar code shows; None if any of its blocks is not plain."""
    if frame.shape != (HEIGHT, WIDTH, 3):
        return None
    blocks = frame.reshape(HEIGHT, BITS, 16, 3).mean((2, 3))  # rows, bits
    white, black = blocks > 192, blocks < 64
    top, bottom = (slice(4, 20), slice(52, 60))
    plain = (white[top] | black[top]).all() and (black[bottom] == white[top].any(0)).all()
    plain = plain and (white[bottom] == black[top].any(0)).all()
    return number_of(frame) if plain else None


def write_clip(
    path,
    n,
    *,
    form="mp4",
    codec="libx264",
    x264=None,
    muxer=None,
    times=None,
    rotation=None,
    pix_fmt="yuv420p",
):
    """`n` bar-coded frames at 25 a second; `times` gives each frame's time in 1/50 s."""
    options = {"crf": "10", "threads": "1", "mbtree": "0"} if codec == "libx264" else {}
    with av.open(path, "w", format=form, options=muxer or {}) as container:
        stream = container.add_stream(codec, rate=25, options={**options, **(x264 or {})})
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, pix_fmt
        if codec == "mpeg4":
            stream.codec_context.max_b_frames = 2
        if rotation is not None:
            stream.set_display_rotation(rotation)
        for number in range(n):
            frame = av.VideoFrame.from_ndarray(barcode(number), format="rgb24")
            frame.pts = times[number] if times else 2 * number
            frame.time_base = fractions.Fraction(1, 50)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return str(path)


@pytest.fixture(scope="session")
def clips():
    """The helpers of this file, for tests to call."""

    class Clips:
        write = staticmethod(write_clip)
        number_of = staticmethod(number_of)
        sure_number_of = staticmethod(sure_number_of)
        barcode = staticmethod(barcode)

    return Clips
