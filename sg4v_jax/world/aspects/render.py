"""Scene -> frames: a textured torus, one or two anti-aliased things on it, seen through a camera.

Everything is worked out where the camera looks, pixel by pixel, so nothing is resampled: a pixel's
place on the torus, the ground there, and the signed distance to each thing's outline.
"""

from __future__ import annotations

import numpy as np

from sg4v_jax.world.aspects.scene import SIZES, SPLITS, Scene, Thing, state, view
from sg4v_jax.world.render import RGB, distance

_GROUND_SALT = 53
_WAVES = 10  # of the ground: periodic, so that it closes on the torus
_HIGHEST = 3  # waves across the canvas
_SHADE, _TINT = 16.0, 3.0  # standard deviation of the grey and of the colour fields, in levels


def render(scene: Scene, *, canvas: int, frames: int) -> np.ndarray:
    """The first `frames` frames, u8[frames,canvas,canvas,3], RGB; the same bytes every time."""
    ground = _Ground(scene.seed, split=scene.split)
    return np.stack([_frame(scene, number, ground, canvas=canvas) for number in range(frames)])


def _frame(scene: Scene, number: int, ground: _Ground, *, canvas: int) -> np.ndarray:
    shift, zoom = view(scene, number)
    axis = (np.arange(canvas) + 0.5) / canvas
    across = (0.5 + (axis - 0.5) / zoom - shift) % 1.0
    down = 0.5 + (axis - 0.5) / zoom
    picture = ground.at(across, down)
    if scene.bystander is not None:
        other = scene.bystander
        radius = SIZES[other.size]
        _draw(picture, across, down, other, other.x, other.y, radius, other.colour, canvas * zoom)
    now = state(scene, number)
    if now.shown:
        _draw(
            picture, across, down, scene.thing, now.x, now.y, now.radius, now.colour, canvas * zoom
        )
    return np.rint(picture).astype(np.uint8)


def _draw(picture, across, down, thing: Thing, x, y, radius, colour, pixels) -> None:
    """Blends a thing into `picture` f64[C,C,3]; `pixels` a unit of length."""
    # The shorter way round the torus: a thing is smaller than half of it.
    dx = ((across - x + 0.5) % 1.0 - 0.5)[None, :] * pixels
    dy = ((down - y + 0.5) % 1.0 - 0.5)[:, None] * pixels
    cover = np.clip(0.5 - distance(thing.shape, dx, dy, radius * pixels), 0, 1)[..., None]
    picture += cover * (np.array(RGB[colour]) - picture)


class _Ground:
    """A muted texture of plane waves; the camera's movement shows on it."""

    def __init__(self, seed: int, *, split: str):
        rng = np.random.default_rng([_GROUND_SALT, SPLITS.index(split), seed])
        self._waves = rng.integers(-_HIGHEST, _HIGHEST + 1, (_WAVES, 2))
        self._phases = rng.uniform(0, 2 * np.pi, _WAVES)
        amounts = rng.normal(size=(_WAVES, 4)) / np.sqrt(_WAVES / 2)
        self._grey, self._tint = _SHADE * amounts[:, :1], _TINT * amounts[:, 1:]
        self._base = rng.uniform(105, 140) + rng.uniform(-4, 4, 3)

    def at(self, across: np.ndarray, down: np.ndarray) -> np.ndarray:
        """f64[len(down), len(across), 3] at places on the torus."""
        turns = 2 * np.pi * self._waves[:, :1] * across + self._phases[:, None]
        other = 2 * np.pi * self._waves[:, 1:] * down
        # cos(a + b) by parts: two small tables instead of a cosine a pixel.
        field = np.einsum("ky,kx,kc->yxc", np.cos(other), np.cos(turns), self._grey + self._tint)
        field -= np.einsum("ky,kx,kc->yxc", np.sin(other), np.sin(turns), self._grey + self._tint)
        return np.clip(self._base + field, 60, 190)
