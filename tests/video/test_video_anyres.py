from __future__ import annotations

import math

import numpy as np
import pytest
from PIL import Image

from sg4v_jax.errors import ConfigError, VideoError
from sg4v_jax.video.anyres import AnyRes, geometry, make_tiles, overview_tile, select_pinpoint
from sg4v_jax.video.grid import grid_size

SPEC = AnyRes.standard(336, patches=24)

# Frame size -> pinpoint, kept rows and columns of the plane, visual tokens (published system).
TABLE = [
    ((1280, 720), (672, 672), (28, 48), 1948),
    ((1920, 1080), (672, 672), (28, 48), 1948),
    ((640, 360), (672, 672), (28, 48), 1948),
    ((640, 480), (672, 672), (36, 48), 2340),
    ((480, 320), (672, 672), (34, 48), 2242),
    ((320, 240), (672, 672), (38, 48), 2438),
    ((480, 480), (672, 672), (48, 48), 2928),
    ((720, 1280), (672, 672), (48, 28), 1968),
    ((1920, 800), (1008, 336), (24, 56), 1944),
]


def test_standard_pinpoints():
    assert SPEC.pinpoints == ((336, 672), (672, 336), (672, 672), (1008, 336), (336, 1008))
    assert AnyRes.standard(48, patches=6).pinpoints[3:] == ((144, 48), (48, 144))


@pytest.mark.parametrize("frame, pinpoint, kept, tokens", TABLE)
def test_visual_token_table(frame, pinpoint, kept, tokens):
    found = geometry(grid_size(*frame), SPEC)
    assert found.pinpoint == pinpoint
    assert (found.plane_rows, found.plane_cols) == kept
    assert found.visual_tokens == tokens
    assert (found.tile_cols * 336, found.tile_rows * 336) == pinpoint


@pytest.mark.parametrize(
    "width, pinpoint",
    [
        (998, (336, 1008)),
        (1000, (336, 672)),
        (1002, (672, 672)),
        (3998, (672, 672)),
        (4000, (672, 336)),
        (4002, (1008, 336)),
    ],
)
def test_aspect_thresholds_of_large_pictures(width, pinpoint):
    assert select_pinpoint((width, 2000), SPEC.pinpoints) == pinpoint


def test_small_pictures_waste_least_and_first_wins():
    # All canvases show all 100 x 100 pixels; the first of the smallest wins.
    assert select_pinpoint((100, 100), SPEC.pinpoints) == (336, 672)
    assert select_pinpoint((100, 100), ((672, 672), (672, 336), (336, 672))) == (672, 336)


def unpadded(plane: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """The border rule, written out on an array."""
    (width, height), (rows, cols) = size, plane.shape
    if width / height > cols / rows:
        border = (rows - int(height * (cols / width))) // 2
        return plane[border : rows - border]
    border = (cols - int(width * (rows / height))) // 2
    return plane[:, border : cols - border]


def test_geometry_cuts_the_right_rectangle():
    rng = np.random.default_rng(0)
    odd = 0
    for size in rng.integers(30, 3000, (400, 2)).tolist():
        for spec in (SPEC, AnyRes.standard(48, patches=6)):
            found = geometry(tuple(size), spec)
            rows, cols = found.tile_rows * spec.patches, found.tile_cols * spec.patches
            plane = np.arange(rows * cols).reshape(rows, cols)
            top, left = found.plane_top, found.plane_left
            cut = plane[top : top + found.plane_rows, left : left + found.plane_cols]
            np.testing.assert_array_equal(cut, unpadded(plane, tuple(size)))
            count = spec.patches**2 + np.pad(cut, ((0, 0), (0, 1))).size
            assert found.visual_tokens == count
            assert found.tiles == 1 + rows * cols // spec.patches**2
            odd += (rows - found.plane_rows) // 2 != rows - found.plane_rows - top
    assert odd == 0  # the border is the same on both sides


def test_odd_border_keeps_one_row_more():
    # 640x480 frames: int(1466 * (48 / 1919)) = 36 rows, border 12, even. 480x320: 33 rows of 48,
    # border 15 // 2 = 7 each side, so 34 are kept.
    assert int(1326 * (48 / 1920)) == 33
    found = geometry((1920, 1326), SPEC)
    assert (found.plane_top, found.plane_rows) == (7, 34)


def picture(width: int, height: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def resized(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    """`image.resize(size)` of the Pillow that the original ran with: rows first."""
    return image.resize((size[0], image.height)).resize(size)


@pytest.mark.parametrize("size", [(300, 170), (170, 300), (200, 200), (500, 120), (97, 401)])
def test_tiles_equal_a_pillow_transcription(size):
    spec = AnyRes.standard(48, patches=6)
    image = Image.fromarray(picture(*size))
    w, h = select_pinpoint(size, spec.pinpoints)
    scale = min(w / size[0], h / size[1])
    if w / size[0] < h / size[1]:
        fitted = resized(image, (w, min(math.ceil(size[1] * scale), h)))
    else:
        fitted = resized(image, (min(math.ceil(size[0] * scale), w), h))
    canvas = Image.new("RGB", (w, h), (0, 0, 0))
    canvas.paste(fitted, ((w - fitted.width) // 2, (h - fitted.height) // 2))
    expected = [resized(image, (48, 48))]
    for top in range(0, h, 48):
        for left in range(0, w, 48):
            expected.append(canvas.crop((left, top, left + 48, top + 48)))
    tiles = make_tiles(np.asarray(image), spec)
    assert tiles.shape == (geometry(size, spec).tiles, 48, 48, 3)
    np.testing.assert_array_equal(tiles, np.stack([np.asarray(t) for t in expected]))


def test_border_is_black_and_tiles_go_by_rows():
    image = np.zeros((100, 200, 3), np.uint8)
    image[:50, :100], image[:50, 100:] = (250, 10, 10), (10, 250, 10)
    image[50:, :100], image[50:, 100:] = (10, 10, 250), (200, 200, 200)
    tiles = make_tiles(image, AnyRes(20, ((40, 40),), 2))
    assert tiles.shape == (5, 20, 20, 3)
    assert (tiles[1:3, :10] == 0).all() and (tiles[3:, 10:] == 0).all()
    corners = [tiles[1][15, 5], tiles[2][15, 15], tiles[3][5, 5], tiles[4][5, 15]]
    expected = [(250, 10, 10), (10, 250, 10), (10, 10, 250), (200, 200, 200)]
    assert [tuple(c) for c in np.array(corners).tolist()] == expected


def test_docstring_example():
    a, b = [0, 100, 200], [100, 200, 0]
    tiles = make_tiles(np.array([[a, b]], np.uint8), AnyRes(1, ((2, 1),), 1))
    assert tiles.tolist() == [[[[50, 150, 100]]], [[a]], [[b]]]


def test_overview_is_the_first_tile():
    image = picture(120, 70)
    spec = AnyRes.standard(48, patches=6)
    overview = overview_tile(image, spec)
    assert overview.shape == (1, 48, 48, 3)
    np.testing.assert_array_equal(overview, make_tiles(image, spec)[:1])


@pytest.mark.parametrize("make", [make_tiles, overview_tile])
@pytest.mark.parametrize(
    "bad", [np.zeros((4, 4), "u1"), np.zeros((4, 4, 3)), np.zeros((0, 4, 3), "u1")]
)
def test_wrong_picture(make, bad):
    with pytest.raises(VideoError, match="cannot tile"):
        make(bad, SPEC)


def test_wrong_settings():
    with pytest.raises(ConfigError, match="pinpoint 50x96"):
        AnyRes(48, ((96, 96), (50, 96)), 6)
    with pytest.raises(ConfigError, match="pinpoints"):
        AnyRes(48, (), 6)
    with pytest.raises(VideoError, match="0x5"):
        geometry((0, 5), SPEC)
