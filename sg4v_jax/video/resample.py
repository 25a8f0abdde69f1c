"""Pictures scaled as Pillow scales them, to the bit; several times faster with the extra `[fast]`.

Released models were trained and measured on pictures that Pillow scaled, so nothing but Pillow's own
numbers will do. Without numba Pillow itself does the work; with it, `resample_kernels` does the same
integer arithmetic with vector instructions.

Source of the arithmetic: Pillow's `Resample.c` (8-bit channels): weights in f64, normalised, rounded
to 22 bits of fraction; along rows first, rounded to 8 bits, then along columns. Pillow 13 begins with
the columns where that is less work, which changes some pixels by one step or more; the released
models saw the older order, so here rows always come first, whatever Pillow is installed.
"""

from __future__ import annotations

import functools
import importlib.util
import math
import operator
from collections.abc import Callable, Sequence
from types import ModuleType

import numpy as np
from PIL import Image

Size = tuple[int, int]  # width, height


def _bilinear(x: float) -> float:
    return max(1.0 - abs(x), 0.0)


def _bicubic(x: float) -> float:
    x, a = abs(x), -0.5
    if x < 1.0:
        return ((a + 2.0) * x - (a + 3.0)) * x * x + 1
    if x < 2.0:
        return (((x - 5) * x + 8) * x - 4) * a
    return 0.0


# name: (Pillow's filter, its function, half of its width)
FILTERS: dict[str, tuple[Image.Resampling, Callable[[float], float], float]] = {
    "bilinear": (Image.Resampling.BILINEAR, _bilinear, 1.0),
    "bicubic": (Image.Resampling.BICUBIC, _bicubic, 2.0),
}


@functools.cache
def kernels() -> ModuleType | None:
    """The compiled loops, or None where numba is not installed."""
    if importlib.util.find_spec("numba") is None:
        return None
    from sg4v_jax.video import resample_kernels  # optional, and slow to import

    return resample_kernels


def resize_each(image: np.ndarray, sizes: Sequence[Size], *, kind: str) -> list[np.ndarray]:
    """One picture at several sizes.

        resize_each(u8[1126,1919,3], [(672, 395), (336, 336)], kind="bicubic")
        -> [u8[395,672,3], u8[336,336,3]]

    Args:
      image: u8[H,W,3].
      sizes: (width, height) of each result.
      kind: `bilinear` or `bicubic`.
    """
    if kernels() is None:
        picture = Image.fromarray(image)
        return [np.asarray(_pillow(picture, size, kind=kind)) for size in sizes]
    image = np.ascontiguousarray(image)
    width = image.shape[1]
    wide = _along_rows(image, sorted({w for w, _ in sizes if w != width}), kind=kind)
    wide[width] = image
    return [_along_columns(wide[w], h, kind=kind) for w, h in sizes]


def _pillow(picture: Image.Image, size: Size, *, kind: str) -> Image.Image:
    wide = picture.resize((size[0], picture.height), FILTERS[kind][0])
    return wide.resize(size, FILTERS[kind][0])


def _along_rows(image: np.ndarray, widths: Sequence[int], *, kind: str) -> dict[int, np.ndarray]:
    """`image` u8[H,W,3] at other widths. Each block of rows is turned once for all of them."""
    height, width = image.shape[:2]
    loops = kernels()
    done = {w: np.empty((height, w * 3), np.uint8) for w in widths}
    flat = image.reshape(height, width * 3)
    for top in range(0, height, loops.BLOCK) if widths else ():
        rows = min(loops.BLOCK, height - top)
        turned = np.empty((width, 3 * rows), np.uint8)
        loops.turn(flat, top, rows, turned)
        for w, out in done.items():
            scaled = np.empty((w, 3 * rows), np.uint8)
            loops.weigh_rows(turned, *weights(width, w, kind), scaled)
            loops.turn_back(scaled, top, rows, out)
    return {w: out.reshape(height, w, 3) for w, out in done.items()}


def _along_columns(image: np.ndarray, height: int, *, kind: str) -> np.ndarray:
    """`image` u8[H,W,3] at another height."""
    before, width = image.shape[:2]
    if height == before:
        return image
    out = np.empty((height, width * 3), np.uint8)
    flat = image.reshape(before, width * 3)
    kernels().weigh_rows(flat, *weights(before, height, kind), out)
    return out.reshape(height, width, 3)


@functools.lru_cache(maxsize=256)
def weights(before: int, after: int, kind: str) -> tuple[np.ndarray, np.ndarray]:
    """What each of `after` new pixels takes of `before` old ones.

        weights(4, 2, "bilinear")  -> spans [[0, 3], [1, 3]], weights 3/7, 3/7, 1/7 and 1/7, 3/7, 3/7

    Returns:
      spans: i32[after,2], first old pixel and number of them.
      weights: i32[after,k] in units of 2**-22, zero past a span's end.
    """
    _, function, half = FILTERS[kind]
    scale = before / after
    stretch = max(scale, 1.0)
    support = half * stretch
    spans = np.zeros((after, 2), np.int32)
    table = np.zeros((after, 2 * math.ceil(support) + 1), np.int32)
    for new in range(after):
        center = (new + 0.5) * scale
        first = max(int(center - support + 0.5), 0)
        count = min(int(center + support + 0.5), before) - first
        parts = [function((old + first - center + 0.5) * (1.0 / stretch)) for old in range(count)]
        # One after the other: the last bit decides how weights are rounded, and `sum` of newer
        # Pythons adds floats more exactly than C does.
        total = functools.reduce(operator.add, parts)
        spans[new] = first, count
        table[new, :count] = [_fixed(part / total if total else part) for part in parts]
    return spans, table


def _fixed(weight: float) -> int:
    return int(weight * (1 << 22) + (0.5 if weight >= 0 else -0.5))


class Canvas:
    """A picture to paste frames into and to scale, kept in the form that is scaled fastest.

    Pillow keeps four bytes a pixel and would have to convert an array first.
    """

    def __init__(self, size: Size, *, fill: int):
        """`fill`: value of every channel at first."""
        if kernels() is None:
            self._canvas: Image.Image | np.ndarray = Image.new("RGB", size, (fill,) * 3)
        else:
            self._canvas = np.full((size[1], size[0], 3), fill, np.uint8)

    def paste(self, frame: np.ndarray, corner: tuple[int, int]) -> None:
        """Puts `frame` u8[h,w,3] where its left top pixel stands at `corner` = (left, top)."""
        if isinstance(self._canvas, np.ndarray):
            left, top = corner
            self._canvas[top : top + frame.shape[0], left : left + frame.shape[1]] = frame
        else:
            self._canvas.paste(Image.fromarray(frame), corner)

    def resize(self, size: Size, *, kind: str) -> np.ndarray:
        """The whole of it at another size, u8[height,width,3]."""
        if isinstance(self._canvas, np.ndarray):
            return resize_each(self._canvas, [size], kind=kind)[0]
        return np.array(_pillow(self._canvas, size, kind=kind))
