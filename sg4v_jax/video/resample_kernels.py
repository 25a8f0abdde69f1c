"""Compiled loops of `resample`: Pillow's fixed-point arithmetic, many pixels at a time.

Pillow walks along a row and sums a few weighted pixels for each new one; a compiler cannot do many
of those at once. Here a block of rows is turned first, so that the pixels of one column lie side by
side and every weight meets a whole line of them. Integers throughout: the result is Pillow's to the
bit, in any order of summing.

Needs the extra `[fast]` (numba); only `resample` imports this. Loops let go of the interpreter
lock, as Pillow's do, and are compiled once for a machine (numba keeps them on disk).
"""

from __future__ import annotations

import numpy as np
from numba import njit, types

PRECISION = 22  # bits of a weight's fraction: Pillow's for 8-bit channels
BLOCK = 32  # rows turned at a time: the fastest of 16, 32, 64, 128 on an EPYC

_pixels = types.Array(types.uint8, 2, "C")
_pixels_in = types.Array(types.uint8, 2, "C", readonly=True)
_ints = types.Array(types.int32, 2, "C", readonly=True)
_once = dict(cache=True, nogil=True, boundscheck=False)


@njit(types.void(_pixels_in, _ints, _ints, _pixels), **_once)
def weigh_rows(pixels, spans, weights, out):
    """out[y] = the rows of `pixels` in span y, weighted, rounded and clipped.

    Args:
      pixels: u8[H,N]; spans: i32[h,2], first row and number of rows; weights: i32[h,k] in units
        of 2**-PRECISION; out: u8[h,N], written.
    """
    columns = pixels.shape[1]
    total = np.empty(columns, np.int32)
    for y in range(spans.shape[0]):
        total[:] = 1 << (PRECISION - 1)
        first = spans[y, 0]
        for k in range(spans[y, 1]):
            weight = weights[y, k]
            row = pixels[first + k]
            for i in range(columns):
                total[i] += np.int32(row[i]) * weight
        line = out[y]
        for i in range(columns):
            line[i] = min(max(total[i] >> PRECISION, 0), 255)


@njit(types.void(_pixels_in, types.intp, types.intp, _pixels), **_once)
def turn(pixels, top, rows, out):
    """A block of `rows` rows from `top` on, columns first: u8[H,W*3] -> out u8[W,3*rows]."""
    for r in range(rows):
        line = pixels[top + r]
        for x in range(out.shape[0]):
            for c in range(3):
                out[x, c * rows + r] = line[3 * x + c]


@njit(types.void(_pixels_in, types.intp, types.intp, _pixels), **_once)
def turn_back(turned, top, rows, out):
    """The reverse of `turn`: u8[W,3*rows] into those rows of out u8[H,W*3]."""
    for r in range(rows):
        line = out[top + r]
        for x in range(turned.shape[0]):
            for c in range(3):
                line[3 * x + c] = turned[x, c * rows + r]
