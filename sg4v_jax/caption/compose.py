"""Several frames in one picture, as the released captioner scripts lay them out."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from sg4v_jax.errors import RecordError

GAP = 50  # white pixels between two stacked frames
_SPACE, _LINE = 20, 2  # pixels below each frame of a strip: white, with a black line in it
_COLUMNS, _ROWS, _GRID_SIZE = 5, 6, (800, 600)


def stack_pair(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """`before` above `after`, u8[2H+50,W,3], white between them.

    Two frames u8[100,80,3] give u8[250,80,3]: rows 0..99, white 100..149, rows 150..249.
    """
    _same_size([before, after])
    gap = np.full((GAP, *before.shape[1:]), 255, np.uint8)
    return np.concatenate([before, gap, after])


def strip(frames: Sequence[np.ndarray]) -> np.ndarray:
    """All frames one below the other, each with "<IMAGE k>" at its left.

    The margin is a quarter of the width, at least 100 pixels. The released demo writes in SimHei;
    here it is Pillow's own font in the same size, so pictures differ from it in the letters.
    """
    _same_size(frames)
    height, width = frames[0].shape[:2]
    margin, pitch = max(width // 4, 100), height + _SPACE
    picture = Image.new("RGB", (margin + width, pitch * len(frames) - _SPACE), "white")
    pen, font = ImageDraw.Draw(picture), ImageFont.load_default(margin / 5)
    for number, frame in enumerate(frames):
        top = pitch * number
        picture.paste(Image.fromarray(frame), (margin, top))
        pen.text((0, top + height // 2), f"<IMAGE {number + 1}>", "black", font, "lm")
        if number:
            line = top - _SPACE // 2 - _LINE // 2
            pen.rectangle([(0, line), (margin + width, line + _LINE - 1)], "black")
    return np.asarray(picture)


def grid30(frames: Sequence[np.ndarray]) -> np.ndarray:
    """Exactly 30 frames, five a row without gaps, squashed to u8[600,800,3].

    Raises:
      RecordError: not 30 frames.
    """
    if len(frames) != _COLUMNS * _ROWS:
        raise RecordError(
            f"the grid of the batch script takes exactly 30 frames, not {len(frames)}",
            mend="sample 30 frames, or use another preset",
        )
    _same_size(frames)
    rows = [np.concatenate(frames[r * _COLUMNS : (r + 1) * _COLUMNS], 1) for r in range(_ROWS)]
    whole = Image.fromarray(np.concatenate(rows))
    return np.asarray(whole.resize(_GRID_SIZE, Image.Resampling.BILINEAR))


def _same_size(frames: Sequence[np.ndarray]) -> None:
    shapes = {frame.shape for frame in frames}
    if len(shapes) != 1:
        raise RecordError(f"frames of one video have different shapes: {sorted(shapes)}")
