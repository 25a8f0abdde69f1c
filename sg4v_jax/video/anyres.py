"""Any-resolution tiling: one picture becomes an overview and tiles at a finer scale.

Legend: `W`,`H` picture size, `R` tile side in pixels, `T` tiles, `P` patches a tile.
The overview is the whole picture squashed to R x R. The tiles cover a canvas of the best-fitting
"pinpoint" size, on which the picture lies centred with its aspect kept. Patch features of the
tiles form one plane; `geometry` says which part of that plane shows the picture and not the
black border. Source: LLaVA-NeXT, as ShareGPT4Video uses it (`spatial_unpad`).
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from sg4v_jax.errors import ConfigError, VideoError
from sg4v_jax.video.resample import resize_each


@dataclasses.dataclass(frozen=True)
class AnyRes:
    """What a checkpoint fixes about tiling.

    Attributes:
      side: R, the side of a tile in pixels.
      pinpoints: canvas sizes (width, height), multiples of `side`; earlier ones win ties.
      patches: patches along the side of a tile, so that P = patches**2.
    """

    side: int
    pinpoints: tuple[tuple[int, int], ...]
    patches: int

    def __post_init__(self):
        if self.side < 1 or self.patches < 1 or not self.pinpoints:
            raise ConfigError(
                f"AnyRes: side={self.side}, patches={self.patches}, pinpoints={self.pinpoints}",
                mend="give a positive side and patches and at least one pinpoint",
            )
        for w, h in self.pinpoints:
            if w < 1 or h < 1 or w % self.side or h % self.side:
                raise ConfigError(
                    f"AnyRes: pinpoint {w}x{h} is not made of whole tiles of {self.side}",
                    mend=f"use multiples of {self.side} for width and height",
                )

    @classmethod
    def standard(cls, side: int, *, patches: int) -> AnyRes:
        """The five pinpoints of the 8B model, scaled to tiles of `side` pixels."""
        cells = ((1, 2), (2, 1), (2, 2), (3, 1), (1, 3))
        return cls(side, tuple((side * w, side * h) for w, h in cells), patches)


@dataclasses.dataclass(frozen=True)
class Geometry:
    """Where a picture's visual tokens come from.

    Attributes:
      pinpoint: (width, height) of the canvas in pixels.
      tile_rows, tile_cols: tiles of the canvas, the overview not counted.
      plane_top, plane_left, plane_rows, plane_cols: the kept rectangle of the feature plane
        [tile_rows * patches, tile_cols * patches], in patches.
      patches: patches along the side of a tile.
    """

    pinpoint: tuple[int, int]
    tile_rows: int
    tile_cols: int
    plane_top: int
    plane_left: int
    plane_rows: int
    plane_cols: int
    patches: int

    @property
    def tiles(self) -> int:
        """T, the overview included."""
        return 1 + self.tile_rows * self.tile_cols

    @property
    def visual_tokens(self) -> int:
        """Overview patches, then the kept rows, each with one separator at its end."""
        return self.patches**2 + self.plane_rows * (self.plane_cols + 1)


def select_pinpoint(size: tuple[int, int], pinpoints: Sequence[tuple[int, int]]) -> tuple[int, int]:
    """The canvas that shows most of a picture's pixels, then wastes the least; first wins ties.

        select_pinpoint((1920, 1103), ((336, 672), (672, 336), (672, 672)))  -> (672, 672)

    Args:
      size: (width, height) of the picture.
      pinpoints: candidate (width, height).
    """
    width, height = size

    def fit(pinpoint: tuple[int, int]) -> tuple[int, int]:
        w, h = pinpoint
        scale = min(w / width, h / height)
        shown = min(int(width * scale) * int(height * scale), width * height)
        return shown, shown - w * h

    return max(pinpoints, key=fit)


def geometry(size: tuple[int, int], spec: AnyRes) -> Geometry:
    """Tiles and kept feature rectangle of a picture of `size` = (width, height).

        geometry((1920, 1103), AnyRes.standard(336, patches=24))
        -> pinpoint (672, 672), 2x2 tiles, rows 10..37 and all 48 columns kept, 1948 tokens

    The border goes in equal parts from both sides, so an odd border leaves one row (or column)
    of it in. Scale first, then multiply, then truncate: the order decides the last bit.
    """
    _check_size(size)
    width, height = size
    w, h = select_pinpoint(size, spec.pinpoints)
    tile_rows, tile_cols = h // spec.side, w // spec.side
    plane_h, plane_w = tile_rows * spec.patches, tile_cols * spec.patches
    top = left = 0
    if width / height > plane_w / plane_h:
        top = (plane_h - int(height * (plane_w / width))) // 2
    else:
        left = (plane_w - int(width * (plane_h / height))) // 2
    return Geometry(
        pinpoint=(w, h),
        tile_rows=tile_rows,
        tile_cols=tile_cols,
        plane_top=top,
        plane_left=left,
        plane_rows=plane_h - 2 * top,
        plane_cols=plane_w - 2 * left,
        patches=spec.patches,
    )


def make_tiles(image: np.ndarray, spec: AnyRes) -> np.ndarray:
    """The overview and the tiles of a picture, as the vision tower reads them.

    A picture 2 wide and 1 high, with R = 1 and the canvas 2x1, keeps its pixels `a b`:

        [[a, b]]  ->  [[[mix of a and b]], [[a]], [[b]]]

    Args:
      image: u8[H,W,3].
      spec: the tiling.

    Returns:
      u8[T,R,R,3]: the overview, then the tiles row by row; T as `geometry` says.

    Raises:
      VideoError: `image` is not u8[H,W,3].
    """
    views = make_views(image, spec)  # refuses what is no picture
    return join_views(views, size=(image.shape[1], image.shape[0]), spec=spec)


class Views(NamedTuple):
    """A picture at the two scales at which it is looked at; its tiles hold nothing else.

    Attributes:
      fitted: u8[h,w,3], as large as the canvas lets it be, aspect kept.
      overview: u8[R,R,3], squashed.
    """

    fitted: np.ndarray
    overview: np.ndarray


def make_views(image: np.ndarray, spec: AnyRes) -> Views:
    """The two resized forms of a picture u8[H,W,3]; `join_views` makes tiles of them.

    Stored pictures are kept so: the two are smaller than a grid of frames, and need no resizing.

        make_views(u8[1103,1920,3], AnyRes.standard(336, patches=24))
        -> fitted u8[387,672,3], overview u8[336,336,3]

    Raises:
      VideoError: `image` is not u8[H,W,3].
    """
    _check_picture(image)
    inside = _fitted_size((image.shape[1], image.shape[0]), spec)
    return Views(*resize_each(image, [inside, (spec.side, spec.side)], kind="bicubic"))


def join_views(views: Views, *, size: tuple[int, int], spec: AnyRes) -> np.ndarray:
    """The overview, then the tiles of a black canvas with the fitted picture in its middle.

    Args:
      size: (width, height) of the whole picture.

    Returns:
      u8[T,R,R,3], as `make_tiles`.

    Raises:
      VideoError: the views are not those of such a picture.
    """
    _check_size(size)
    side, (w, h) = spec.side, select_pinpoint(size, spec.pinpoints)
    width, height = _fitted_size(size, spec)
    shapes = views.fitted.shape, views.overview.shape
    if shapes != ((height, width, 3), (side, side, 3)):
        raise VideoError(
            f"views {list(shapes[0])} and {list(shapes[1])} of a picture of {size[0]}x{size[1]}, "
            f"expected {[height, width, 3]} and {[side, side, 3]}",
            mend="make them with the same tiling",
        )
    left, top = (w - width) // 2, (h - height) // 2
    canvas = np.zeros((h, w, 3), np.uint8)
    canvas[top : top + height, left : left + width] = views.fitted
    tiles = canvas.reshape(h // side, side, w // side, side, 3).swapaxes(1, 2)
    return np.concatenate([views.overview[None], tiles.reshape(-1, side, side, 3)])


def overview_tile(image: np.ndarray, spec: AnyRes) -> np.ndarray:
    """The whole picture u8[H,W,3] squashed (aspect not kept) to u8[1,R,R,3], PIL bicubic.

    Raises:
      VideoError: `image` is not u8[H,W,3].
    """
    _check_picture(image)
    return resize_each(image, [(spec.side, spec.side)], kind="bicubic")[0][None].copy()


def _check_picture(image: np.ndarray) -> None:
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or image.size == 0:
        raise VideoError(
            f"cannot tile an array {image.dtype}{list(image.shape)}",
            mend="give an RGB picture uint8[height, width, 3]",
        )


def _fitted_size(size: tuple[int, int], spec: AnyRes) -> tuple[int, int]:
    return _fit_inside(size, select_pinpoint(size, spec.pinpoints))


def _fit_inside(size: tuple[int, int], canvas: tuple[int, int]) -> tuple[int, int]:
    """Largest size of the same aspect inside `canvas`, the free side rounded up."""
    (width, height), (w, h) = size, canvas
    scale_w, scale_h = w / width, h / height
    if scale_w < scale_h:
        return w, min(math.ceil(height * scale_w), h)
    return min(math.ceil(width * scale_h), w), h


def _check_size(size: tuple[int, int]) -> None:
    if min(size) < 1:
        raise VideoError(
            f"cannot tile a picture of {size[0]}x{size[1]} pixels",
            mend="give the (width, height) of a picture with pixels",
        )
