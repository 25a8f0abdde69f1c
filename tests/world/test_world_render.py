from __future__ import annotations

import itertools
import time

import numpy as np
import pytest

from sg4v_jax.world.render import RGB, background, render
from sg4v_jax.world.scene import COLOURS, RADII, SHAPES, Event, Scene, sample_scene, state


def _still(shape: str, size: str, *, colour: str = "red", x: float = 48.0, y: float = 48.0):
    """A scene whose first frames show the object at (x, y)."""
    recolour = Event("recolour", 1, 7, target="cyan", at=4)
    move = Event("move", 9, 15, direction="right", speed="fast")
    return Scene(3, "train", shape, colour, size, x, y, (recolour, move))


def _changed(picture: np.ndarray, seed: int = 3) -> np.ndarray:
    ground = background(seed, canvas=96).astype(int)
    return np.abs(picture.astype(int) - ground).max(-1) > 0


def test_shape_type_and_same_bytes_for_the_same_scene():
    frames = render(sample_scene(5))
    assert (frames.shape, frames.dtype) == ((17, 96, 96, 3), np.uint8)
    assert np.array_equal(frames, render(sample_scene(5)))
    assert not np.array_equal(frames[0], render(sample_scene(6))[0])


def test_rendering_time_is_shown():
    start = time.perf_counter()
    for seed in range(20):
        render(sample_scene(seed))
    print(f"{(time.perf_counter() - start) / 20 * 1e3:.1f} ms a clip")


@pytest.mark.parametrize("shape", SHAPES)
def test_objects_have_their_colour_size_and_place(shape):
    for size, radius in RADII.items():
        picture = render(_still(shape, size, x=40.0, y=52.0))[0]
        rows, columns = np.nonzero(_changed(picture))
        assert columns.min() >= 40 - radius
        assert columns.max() < 40 + radius
        assert rows.min() >= 52 - radius
        assert rows.max() < 52 + radius
        assert abs(columns.mean() + 0.5 - 40) < 0.3
        assert tuple(picture[52, 40]) == RGB["red"]
        assert _changed(picture).sum() > 0.35 * (2 * radius) ** 2


def test_shapes_differ_from_each_other():
    masks = [_changed(render(_still(shape, "small"))[0]) for shape in SHAPES]
    for a, b in itertools.combinations(masks, 2):
        assert (a ^ b).sum() > 25


def test_coverage_equals_the_area_of_the_disc():
    """Anti-aliasing: blended weight over all pixels is pi r^2, wherever the centre lies."""
    for x, y in ((48.0, 48.0), (47.3, 50.85)):
        picture = render(_still("circle", "large", x=x, y=y))[0].astype(float)
        ground = background(3, canvas=96).astype(float)
        weight = ((picture - ground) / (np.array(RGB["red"]) - ground))[..., 0]
        assert weight.sum() == pytest.approx(np.pi * RADII["large"] ** 2, rel=0.01)


def test_only_the_object_changes_and_it_is_fully_gone_at_the_seam():
    gone = _still("square", "large", x=-RADII["large"])
    assert not _changed(render(gone)[0]).any()
    half = _still("circle", "large", x=0.0)
    assert 0.4 < _changed(render(half)[0]).sum() / (np.pi * RADII["large"] ** 2) < 0.6


def test_object_follows_the_state():
    scene = _still("circle", "small", x=20.0)
    frames = render(scene)
    for number in (0, 3, 4, 9, 12, 16):
        now = state(scene, number)
        _, columns = np.nonzero(_changed(frames[number]))
        assert abs(columns.mean() + 0.5 - now.x) < 0.3
        assert tuple(frames[number][48, int(now.x)]) == RGB[now.colour]


def test_background_is_muted_and_smooth_and_never_repeats():
    colours = np.array([RGB[c] for c in COLOURS], float)
    for seed in range(30):
        ground = background(seed, canvas=96).astype(float)
        assert 5 < ground.std((0, 1)).max() < 30
        assert np.abs(np.diff(ground, axis=0)).max() < 12
        nearest = np.linalg.norm(ground[:, :, None] - colours, axis=-1).min()
        assert nearest > 60
        for shift in (8, 16, 24, 32, 48):
            assert np.abs(ground[:, shift:] - ground[:, :-shift]).mean() > 1


def test_colours_are_far_apart():
    for a, b in itertools.combinations(RGB.values(), 2):
        assert np.linalg.norm(np.subtract(a, b)) > 100
