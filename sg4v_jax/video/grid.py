"""Many frames as one picture: a square of cells, white bands between them.

Source: the grid function that `run.py` and the evaluation scripts of ShareGPT4Video share.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Sequence

import numpy as np

from sg4v_jax.errors import EmptyVideoError, VideoError
from sg4v_jax.video import resample

_WHITE = 255
_MOST_KEPT_PIXELS = 40_000_000  # 160 MB a thread: grids of 1920x1080 frames, not of 4K
_kept = threading.local()


def grid_size(
    frame_w: int, frame_h: int, *, n: int = 16, band: int = 50, longest_side: int | None = 1920
) -> tuple[int, int]:
    """(width, height) in pixels of the picture that `make_grid` returns, by arithmetic alone.

        grid_size(320, 240)  -> (1430, 1110)   4 cells and 3 bands each way
        grid_size(640, 360)  -> (1919, 1126)   capped

    The cap truncates: 2710 * (1920 / 2710) is 1919.99.., hence 1919 and not 1920. Released
    checkpoints were evaluated on such pictures, so the truncation stays.
    """
    size = _uncapped_size(frame_w, frame_h, n=n, band=band)
    longest = max(size)
    if longest_side is None or longest <= longest_side:
        return size
    scale = longest_side / longest
    return int(size[0] * scale), int(size[1] * scale)


def make_grid(
    frames: Sequence[np.ndarray] | np.ndarray, *, band: int = 50, longest_side: int | None = 1920
) -> np.ndarray:
    """Lays frames out row by row, left to right, in a square of `ceil(sqrt(n))` cells a side.

    White bands stand between cells only, not around them; cells without a frame are white. With
    two 1x1 frames `a`, `b` and a band of one pixel (W is white):

        [[[a]], [[b]]]  ->  [[a, W, b],
                             [W, W, W],
                             [W, W, W]]

    Args:
      frames: n arrays u8[H,W,3] of one size.
      band: width of the white bands, in pixels.
      longest_side: a larger picture is scaled down to this (PIL bilinear); None keeps its size.

    Returns:
      u8[H',W',3], with (W', H') as `grid_size` says.

    Raises:
      EmptyVideoError: there are no frames.
      VideoError: frames differ in size or are not u8[H,W,3].
    """
    height, width = _common_size(frames)
    n = len(frames)
    whole = _uncapped_size(width, height, n=n, band=band)
    size = grid_size(width, height, n=n, band=band, longest_side=longest_side)
    corners = _corners(width, height, n=n, band=band)
    if size == whole:
        picture = np.full((whole[1], whole[0], 3), _WHITE, np.uint8)
        for frame, (left, top) in zip(frames, corners, strict=True):
            picture[top : top + height, left : left + width] = frame
        return picture
    canvas = _canvas(whole, layout=(width, height, n, band))
    for frame, corner in zip(frames, corners, strict=True):
        canvas.paste(frame, corner)
    return canvas.resize(size, kind="bilinear")


def _canvas(size: tuple[int, int], *, layout: tuple[int, ...]) -> resample.Canvas:
    """A white picture, or this thread's last one if frames lay in the same places there.

    The grid of 832x480 frames takes 29 MB; getting so much memory anew from the system for every
    video costs more time than laying out its frames.
    """
    if getattr(_kept, "layout", None) == layout:
        return _kept.canvas
    canvas = resample.Canvas(size, fill=_WHITE)
    if size[0] * size[1] <= _MOST_KEPT_PIXELS:
        _kept.layout, _kept.canvas = layout, canvas
    return canvas


def _corners(width: int, height: int, *, n: int, band: int) -> list[tuple[int, int]]:
    """(left, top) of each frame."""
    side = _cells_a_side(n)
    return [(i % side * (width + band), i // side * (height + band)) for i in range(n)]


def _cells_a_side(n: int) -> int:
    return math.isqrt(n - 1) + 1  # ceil(sqrt(n)), exact for any n >= 1


def _uncapped_size(width: int, height: int, *, n: int, band: int) -> tuple[int, int]:
    side = _cells_a_side(n)
    return side * width + (side - 1) * band, side * height + (side - 1) * band


def _common_size(frames: Sequence[np.ndarray] | np.ndarray) -> tuple[int, int]:
    if len(frames) == 0:
        raise EmptyVideoError("cannot make a grid of no frames", mend="leave this video out")
    kinds = {(frame.shape, str(frame.dtype)) for frame in frames}
    shape, dtype = min(kinds)
    if len(kinds) > 1 or len(shape) != 3 or shape[2] != 3 or dtype != "uint8":
        found = ", ".join(f"{d}{list(s)}" for s, d in sorted(kinds)[:4])
        raise VideoError(
            f"cannot make a grid of frames {found}",
            mend="give RGB frames of one size, each uint8[height, width, 3]",
        )
    return shape[0], shape[1]
