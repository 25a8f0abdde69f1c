"""Scaled pictures are Pillow's to the bit, by Pillow itself or by the compiled loops."""

from __future__ import annotations

import concurrent.futures

import numpy as np
import pytest
from PIL import Image

from sg4v_jax.video import grid, resample
from sg4v_jax.video.anyres import AnyRes, make_tiles

needs_numba = pytest.mark.skipif(resample.kernels() is None, reason="needs numba (extra [fast])")


@pytest.fixture(params=["pillow", pytest.param("numba", marks=needs_numba)])
def way(request, monkeypatch):
    if request.param == "pillow":
        monkeypatch.setattr(resample, "kernels", lambda: None)
    return request.param


def noise(height: int, width: int, *, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def pillow(image: np.ndarray, size: tuple[int, int], kind: str) -> np.ndarray:
    """Rows first, as every Pillow did before 13."""
    wide = Image.fromarray(image).resize((size[0], image.shape[0]), resample.FILTERS[kind][0])
    return np.asarray(wide.resize(size, resample.FILTERS[kind][0]))


# (width, height) before, then after: the sizes of real grids, then up, down, one axis, none, 1 pixel.
REAL = [
    ((3478, 2070), (1920, 1142)),
    ((1919, 1126), (672, 395)),
    ((1920, 1103), (336, 336)),
    ((1103, 1920), (336, 336)),  # Pillow 13 would begin with the columns
]
ODD = [
    ((61, 47), (23, 90)),
    ((61, 47), (61, 13)),
    ((61, 47), (7, 47)),
    ((61, 47), (61, 47)),
    ((33, 1), (5, 5)),
    ((1, 1), (3, 4)),
    ((300, 31), (1, 1)),
    ((97, 65), (200, 33)),
]


@pytest.mark.parametrize("kind", ["bilinear", "bicubic"])
@pytest.mark.parametrize("before, after", REAL + ODD)
def test_equals_pillow(way, before, after, kind):
    image = noise(before[1], before[0])
    (scaled,) = resample.resize_each(image, [after], kind=kind)
    np.testing.assert_array_equal(scaled, pillow(image, after, kind))


@pytest.mark.parametrize("seed", range(60))
def test_equals_pillow_at_any_size(way, seed):
    rng = np.random.default_rng(seed)
    width, height = (int(n) for n in rng.integers(1, 160, 2))
    image = noise(height, width, seed=seed)
    if seed % 3 == 0:  # hard edges: bicubic overshoots, and is clipped
        image = np.where(image > 127, np.uint8(255), np.uint8(0))
    sizes = [tuple(int(n) for n in rng.integers(1, 160, 2)) for _ in range(3)]
    sizes.append((width, 5))
    for kind in resample.FILTERS:
        for size, scaled in zip(sizes, resample.resize_each(image, sizes, kind=kind), strict=True):
            np.testing.assert_array_equal(scaled, pillow(image, size, kind))


def test_views_and_read_only_arrays(way):
    image = noise(80, 120)
    image.flags.writeable = False
    for view in (image, image[::-1], image[3:60, 5:90], image[:, ::2]):
        (scaled,) = resample.resize_each(view, [(31, 17)], kind="bicubic")
        np.testing.assert_array_equal(
            scaled, pillow(np.ascontiguousarray(view), (31, 17), "bicubic")
        )


def test_canvas(way):
    canvas = resample.Canvas((50, 40), fill=255)
    canvas.paste(noise(8, 9), (3, 30))
    expected = np.full((40, 50, 3), 255, np.uint8)
    expected[30:38, 3:12] = noise(8, 9)
    scaled = canvas.resize((21, 13), kind="bilinear")
    np.testing.assert_array_equal(scaled, pillow(expected, (21, 13), "bilinear"))


def test_threads(way):
    images = [noise(70, 90 + n, seed=n) for n in range(40)]
    with concurrent.futures.ThreadPoolExecutor(4) as threads:
        scaled = threads.map(
            lambda image: resample.resize_each(image, [(40, 30)], kind="bicubic")[0], images
        )
        for image, one in zip(images, scaled, strict=True):
            np.testing.assert_array_equal(one, pillow(image, (40, 30), "bicubic"))


@needs_numba
def test_grid_and_tiles_are_the_same_either_way(monkeypatch):
    frames = np.stack([noise(270, 480, seed=n) for n in range(16)])
    spec = AnyRes.standard(336, patches=24)
    fast = make_tiles(grid.make_grid(frames), spec)
    monkeypatch.setattr(resample, "kernels", lambda: None)
    grid._kept.__dict__.clear()  # its canvas is of the other kind
    np.testing.assert_array_equal(make_tiles(grid.make_grid(frames), spec), fast)
    grid._kept.__dict__.clear()


def test_weights_sum_to_one():
    for before, after in ((1919, 672), (5, 9), (2070, 1142)):
        for kind in resample.FILTERS:
            spans, table = resample.weights(before, after, kind)
            assert (spans.sum(1) <= before).all() and (spans[:, 0] >= 0).all()
            np.testing.assert_allclose(table.sum(1) / 2**22, 1, atol=1e-5)
