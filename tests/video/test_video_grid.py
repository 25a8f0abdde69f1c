from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from sg4v_jax.errors import EmptyVideoError, VideoError
from sg4v_jax.video.grid import grid_size, make_grid

# Frame size, then the grid's size before and after the cap (the published system's arithmetic).
SIZES = [
    ((1280, 720), (5270, 3030), (1920, 1103)),
    ((1920, 1080), (7830, 4470), (1920, 1096)),
    ((640, 360), (2710, 1590), (1919, 1126)),
    ((640, 480), (2710, 2070), (1919, 1466)),
    ((480, 320), (2070, 1430), (1920, 1326)),
    ((320, 240), (1430, 1110), (1430, 1110)),
    ((480, 480), (2070, 2070), (1920, 1920)),
    ((720, 1280), (3030, 5270), (1103, 1920)),
    ((1920, 800), (7830, 3350), (1920, 821)),
]


@pytest.mark.parametrize("frame, uncapped, capped", SIZES)
def test_sizes(frame, uncapped, capped):
    assert grid_size(*frame, longest_side=None) == uncapped
    assert grid_size(*frame) == capped


def noise(n, height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (n, height, width, 3), np.uint8)


def test_cells_and_bands():
    frames = noise(16, 6, 10)
    grid = make_grid(frames, band=3, longest_side=None)
    assert grid.shape == (4 * 6 + 9, 4 * 10 + 9, 3)
    rest = np.ones(grid.shape[:2], bool)
    for i, frame in enumerate(frames):
        top, left = i // 4 * 9, i % 4 * 13
        np.testing.assert_array_equal(grid[top : top + 6, left : left + 10], frame)
        rest[top : top + 6, left : left + 10] = False
    assert (grid[rest] == 255).all() and rest.sum() == 33 * 49 - 16 * 60


def test_missing_cells_are_white():
    grid = make_grid(noise(5, 4, 4), band=1, longest_side=None)
    assert grid.shape == (14, 14, 3)  # ceil(sqrt(5)) = 3 cells a side
    assert (grid[5:9, 10:] == 255).all() and (grid[10:] == 255).all()
    assert not (grid[5:9, 5:9] == 255).all()


def test_docstring_example():
    a, b, white = [1, 2, 3], [4, 5, 6], [255] * 3
    grid = make_grid(np.array([[[a]], [[b]]], np.uint8), band=1)
    assert grid.tolist() == [[a, white, b], [white] * 3, [white] * 3]


def test_one_frame_is_its_own_grid():
    frames = noise(1, 7, 5)
    np.testing.assert_array_equal(make_grid(frames), frames[0])


def test_cap_is_pil_bilinear():
    frames = noise(16, 360, 640)
    picture = Image.fromarray(make_grid(frames, longest_side=None))
    capped = make_grid(list(frames))
    np.testing.assert_array_equal(capped, picture.resize((1919, 1126), Image.BILINEAR))


@pytest.mark.parametrize("frame", [(96, 96), (333, 100), (51, 700), (1000, 999)])
@pytest.mark.parametrize("n, band, longest", [(16, 50, 1920), (9, 4, 200), (7, 0, 64)])
def test_grid_size_tells_the_shape(frame, n, band, longest):
    width, height = frame
    grid = make_grid(np.zeros((n, height, width, 3), np.uint8), band=band, longest_side=longest)
    size = grid_size(width, height, n=n, band=band, longest_side=longest)
    assert (grid.shape[1], grid.shape[0]) == size
    assert max(size) <= longest


def test_unequal_sizes():
    with pytest.raises(VideoError, match=r"\[4, 4, 3\].*\[4, 6, 3\]"):
        make_grid([noise(1, 4, 4)[0], noise(1, 4, 6)[0]])


@pytest.mark.parametrize("frames", [np.zeros((2, 4, 4, 3), np.float32), np.zeros((2, 4, 4), "u1")])
def test_wrong_kind(frames):
    with pytest.raises(VideoError, match="uint8"):
        make_grid(frames)


def test_no_frames():
    with pytest.raises(EmptyVideoError):
        make_grid([])
