"""The original's way from a video file to what its vision tower reads, transcribed plainly.

decord frames, a numpy grid with white bands, the 1920 cap, LLaVA's any-resolution tiles, and the
numpy arithmetic of transformers' CLIP image processor, tile by tile, in f32 and channels first.
Here to be measured against and compared with; nothing else uses it. decord is optional (extra
`[bench]`) and this module imports neither jax nor grain: worker processes load it.

Legend: `T` tiles, `R` tile side.
"""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Sequence

import numpy as np
from PIL import Image

from sg4v_jax.data.inputs import InputSpec
from sg4v_jax.errors import ConfigError, CorruptVideoError

_MEAN = (0.48145466, 0.4578275, 0.40821073)  # of the CLIP image processor, by channel
_STD = (0.26862954, 0.26130258, 0.27577711)


def available() -> bool:
    """Whether decord is installed."""
    return importlib.util.find_spec("decord") is not None


def read(path: str, *, n: int) -> np.ndarray:
    """The `n` frames of `run.py`, u8[n,H,W,3].

    One decoder thread, as there.

    Raises:
      ConfigError: decord is not installed.
      CorruptVideoError: decord cannot read it, whatever its reason.
    """
    if not available():
        raise ConfigError("decord is not installed", mend="pip install 'sg4v_jax[bench]'")
    import decord  # optional, and its libraries take long to load

    try:
        reader = decord.VideoReader(path, ctx=decord.cpu(0), num_threads=1)
        step = (len(reader) - 1) / n
        wanted = [int(step / 2) + int(np.round(step * i)) for i in range(n)]
        return reader.get_batch(wanted).asnumpy()
    except (decord.DECORDError, RuntimeError) as e:
        raise CorruptVideoError(
            f"{path}: decord cannot read it ({str(e).strip().splitlines()[-1]})",
            mend="leave it out of the comparison",
        ) from e


def lay_out(frames: np.ndarray, *, band: int) -> Image.Image:
    """Frames u8[n,H,W,3], row by row, in a square grid with white bands between."""
    side = math.ceil(math.sqrt(len(frames)))
    _, height, width, channels = frames.shape
    white = np.full_like(frames[0], 255)
    upright = np.full((height, band, channels), 255, frames.dtype)
    level = np.full((band, side * width + (side - 1) * band, channels), 255, frames.dtype)
    lines = []
    for row in range(side):
        cells = []
        for i in range(row * side, (row + 1) * side):
            cells += [upright, frames[i] if i < len(frames) else white]
        lines += [level, np.concatenate(cells[1:], axis=1)]
    return Image.fromarray(np.concatenate(lines[1:], axis=0)).convert("RGB")


def scale_to(
    picture: Image.Image, size: tuple[int, int], kind: Image.Resampling = Image.Resampling.BICUBIC
) -> Image.Image:
    """`picture.resize(size, kind)` of every Pillow before 13: along the rows, then the columns."""
    return picture.resize((size[0], picture.height), kind).resize(size, kind)


def cap(grid: Image.Image, *, longest_side: int) -> Image.Image:
    """A picture with a longer side scaled down to that, bilinear; 0 is no cap."""
    longest = max(grid.size)
    if not longest_side or longest <= longest_side:
        return grid
    scale = longest_side / longest
    size = (int(grid.width * scale), int(grid.height * scale))
    return scale_to(grid, size, Image.Resampling.BILINEAR)


def cut(grid: Image.Image, *, side: int, pinpoints: Sequence[tuple[int, int]]) -> list[Image.Image]:
    """The squashed overview, then the tiles of the padded picture, row by row."""
    width, height = grid.size
    best, most, least_waste = pinpoints[0], -1, math.inf
    for w, h in pinpoints:
        scale = min(w / width, h / height)
        shown = min(int(width * scale) * int(height * scale), width * height)
        waste = w * h - shown
        if shown > most or (shown == most and waste < least_waste):
            best, most, least_waste = (w, h), shown, waste
    w, h = best
    if w / width < h / height:
        fitted = (w, min(math.ceil(height * (w / width)), h))
    else:
        fitted = (min(math.ceil(width * (h / height)), w), h)
    canvas = Image.new("RGB", best, (0, 0, 0))
    corner = ((w - fitted[0]) // 2, (h - fitted[1]) // 2)
    canvas.paste(scale_to(grid, fitted), corner)
    tiles = [scale_to(grid, (side, side))]
    for top in range(0, h, side):
        for left in range(0, w, side):
            tiles.append(canvas.crop((left, top, left + side, top + side)))
    return tiles


def normalise(tiles: Sequence[Image.Image], *, side: int) -> np.ndarray:
    """The CLIP image processor on each tile: f32[T,3,R,R].

    Its resize does nothing at this size but copy; its crop nothing at all. It scales in f64
    and casts to f32.
    """
    mean, std = np.array(_MEAN, np.float32), np.array(_STD, np.float32)
    done = []
    for tile in tiles:
        pixels = np.array(tile.convert("RGB").resize((side, side), Image.Resampling.BICUBIC))
        scaled = (pixels * (1 / 255)).astype(np.float32)
        done.append(((scaled - mean) / std).transpose(2, 0, 1))
    return np.stack(done)


def tiles(path: str, *, spec: InputSpec) -> list[Image.Image]:
    """A video's tiles, before they are normalised."""
    grid = cap(lay_out(read(path, n=spec.frames), band=spec.band), longest_side=spec.longest_side)
    return cut(grid, side=spec.anyres.side, pinpoints=spec.anyres.pinpoints)


class PixelValues:
    """Item -> the pixel values f32[T,3,R,R] of a video: a source for Grain, as a data set is."""

    def __init__(self, paths: Sequence[str], *, spec: InputSpec, length: int):
        """`paths` is gone through again and again, `length` items in all."""
        self._paths, self._spec, self._length = list(paths), spec, length

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, item: int) -> np.ndarray:
        path = self._paths[int(item) % len(self._paths)]
        return normalise(tiles(path, spec=self._spec), side=self._spec.anyres.side)
