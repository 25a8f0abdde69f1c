"""Grids that are scaled down are laid out in a picture kept from call to call: nothing of an
earlier video may show."""

from __future__ import annotations

import concurrent.futures

import numpy as np
import pytest
from PIL import Image

from sg4v_jax.video import grid
from sg4v_jax.video.grid import make_grid


def noise(n, height, width, seed):
    return np.random.default_rng(seed).integers(0, 256, (n, height, width, 3), np.uint8)


def fresh(frames, *, band, longest_side):
    """The same grid, laid out in a new array."""
    whole = Image.fromarray(make_grid(frames, band=band, longest_side=None))
    scale = longest_side / max(whole.size)
    size = (int(whole.width * scale), int(whole.height * scale))
    return np.asarray(whole.resize(size, Image.Resampling.BILINEAR))


# The first three are equally large: fewer frames leave white cells, and a wider band between
# smaller frames lies elsewhere.
LAYOUTS = [
    dict(n=16, height=40, width=60, band=4),
    dict(n=13, height=40, width=60, band=4),
    dict(n=16, height=37, width=57, band=8),
    dict(n=16, height=40, width=50, band=4),
]


def case(number: int):
    layout = dict(LAYOUTS[number % len(LAYOUTS)])
    band = layout.pop("band")
    return noise(seed=number, **layout), dict(band=band, longest_side=100)


@pytest.mark.parametrize("order", [(0, 0, 0), (0, 1, 0, 1), (0, 2, 1, 3, 2), (3, 3, 0)])
def test_nothing_is_left_of_the_last_grid(order):
    for turn, layout in enumerate(order):
        frames, settings = case(layout + turn * len(LAYOUTS))
        np.testing.assert_array_equal(make_grid(frames, **settings), fresh(frames, **settings))


def test_an_earlier_result_does_not_change():
    frames, settings = case(0)
    first = make_grid(frames, **settings)
    kept = first.copy()
    make_grid(255 - frames, **settings)
    np.testing.assert_array_equal(first, kept)


def test_threads_do_not_share():
    def right(number):
        frames, settings = case(number)
        return np.array_equal(make_grid(frames, **settings), fresh(frames, **settings))

    with concurrent.futures.ThreadPoolExecutor(4) as threads:
        assert all(threads.map(right, range(200)))


def test_a_huge_grid_is_not_kept(monkeypatch):
    monkeypatch.setattr(grid, "_MOST_KEPT_PIXELS", 100)
    frames, settings = case(0)
    grid._kept.__dict__.clear()
    make_grid(frames, **settings)
    assert not grid._kept.__dict__
