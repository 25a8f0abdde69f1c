"""From a 720p file to tiles, against the published rules written out with PyAV and Pillow."""

from __future__ import annotations

import math

import av
import numpy as np
import pytest
from PIL import Image

from sg4v_jax.video.anyres import AnyRes, geometry, make_tiles
from sg4v_jax.video.decode import read_frames, sample_frames
from sg4v_jax.video.encode import write_mp4
from sg4v_jax.video.grid import make_grid
from sg4v_jax.video.sampling import run_indices


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    y, x = np.mgrid[:720, :1280]
    frames = np.empty((21, 720, 1280, 3), np.uint8)
    for t in range(21):
        frames[t, ..., 0] = (x // 2 + 9 * t) % 256
        frames[t, ..., 1] = (y // 2 - 5 * t) % 256
        frames[t, ..., 2] = 255 * (np.hypot(x - 100 - 50 * t, y - 360) < 90)
    path = tmp_path_factory.mktemp("hd") / "hd.mp4"
    write_mp4(path, frames, fps=10, crf=28)
    return path


def reference_tiles(path) -> np.ndarray:
    with av.open(str(path)) as container:
        decoded = [f.to_ndarray(format="rgb24") for f in container.decode(video=0)]
    step = (len(decoded) - 1) / 16
    chosen = [decoded[int(step / 2) + int(np.round(step * i))] for i in range(16)]
    height, width = chosen[0].shape[:2]
    grid = Image.new("RGB", (4 * width + 150, 4 * height + 150), "white")
    for i, frame in enumerate(chosen):
        grid.paste(Image.fromarray(frame), (i % 4 * (width + 50), i // 4 * (height + 50)))
    scale = 1920 / max(grid.size)
    grid = grid.resize((int(grid.width * scale), int(grid.height * scale)), Image.BILINEAR)
    assert grid.size == (1920, 1103)
    fitted = grid.resize((672, min(math.ceil(1103 * (672 / 1920)), 672)))
    canvas = Image.new("RGB", (672, 672))
    canvas.paste(fitted, (0, (672 - fitted.height) // 2))
    boxes = [(x, y, x + 336, y + 336) for y in (0, 336) for x in (0, 336)]
    return np.stack(
        [np.asarray(grid.resize((336, 336)))] + [np.asarray(canvas.crop(b)) for b in boxes]
    )


def test_720p_file_to_tiles_pixel_for_pixel(clip):
    spec = AnyRes.standard(336, patches=24)
    decoded = sample_frames(clip)
    assert decoded.substituted == 0
    grid = make_grid(decoded.frames)
    tiles = make_tiles(grid, spec)
    np.testing.assert_array_equal(tiles, reference_tiles(clip))
    assert len({tile.tobytes() for tile in tiles}) == 5  # really five different pictures
    assert geometry((grid.shape[1], grid.shape[0]), spec).visual_tokens == 1948


def test_sampling_equals_reading_by_number(clip):
    by_number = read_frames(clip, run_indices(21)).frames
    for a, b in zip(sample_frames(clip).frames, by_number, strict=True):
        np.testing.assert_array_equal(a, b)
