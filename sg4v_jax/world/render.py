"""Scene -> frames: a textured still background and one anti-aliased object, numpy only.

The edge is anti-aliased analytically: the signed distance d (pixels, negative inside) from a
pixel's centre to the outline gives the coverage clip(0.5 - d, 0, 1).
"""

from __future__ import annotations

import numpy as np

from sg4v_jax.world.scene import ObjectState, Scene, state

RGB = {
    "red": (225, 30, 35),
    "green": (30, 185, 50),
    "blue": (40, 70, 240),
    "yellow": (245, 225, 35),
    "purple": (165, 40, 205),
    "cyan": (40, 220, 235),
}
_BACKGROUND_SALT = 11
_BLOBS = 24
_SHADE, _TINT = 9.0, 2.5  # standard deviation of the grey and of the colour fields, in levels


def render(scene: Scene) -> np.ndarray:
    """The clip's pixels, u8[N,C,C,3] with N = `scene.frames`, C = `scene.canvas`; RGB.

    Every call with the same scene gives the same bytes.
    """
    frames = np.repeat(background(scene.seed, canvas=scene.canvas)[None], scene.frames, axis=0)
    for number in range(scene.frames):
        draw(frames[number], state(scene, number))
    return frames


def background(seed: int, *, canvas: int) -> np.ndarray:
    """A muted smooth texture, u8[C,C,3]: a sum of broad Gaussian blobs, so it never repeats.

    One grey field carries most of the contrast; each colour channel adds a weak field of its own.
    """
    rng = np.random.default_rng([seed, _BACKGROUND_SALT])
    axis = np.arange(canvas) + 0.5
    centre = rng.uniform(-0.1 * canvas, 1.1 * canvas, (2, _BLOBS, 1))
    width = rng.uniform(0.08 * canvas, 0.35 * canvas, (_BLOBS, 1))
    down, across = np.exp(-(((axis - centre) / width) ** 2) / 2)
    fields = np.einsum("kc,ky,kx->yxc", rng.normal(size=(_BLOBS, 4)), down, across, optimize=True)
    fields -= fields.mean((0, 1))
    fields /= fields.std((0, 1))
    base = rng.uniform(105, 140) + rng.uniform(-4, 4, 3)
    return np.clip(base + _SHADE * fields[..., :1] + _TINT * fields[..., 1:], 60, 190).astype("u1")


def draw(picture: np.ndarray, obj: ObjectState) -> None:
    """Blends the object into `picture` (u8[C,C,3], changed in place)."""
    canvas = picture.shape[0]
    reach = obj.radius + 1
    left, right = (int(np.clip(obj.x + side * reach, 0, canvas)) for side in (-1, 1))
    top, bottom = (int(np.clip(obj.y + side * reach, 0, canvas)) for side in (-1, 1))
    right, bottom = min(right + 1, canvas), min(bottom + 1, canvas)
    dx = np.arange(left, right)[None, :] + 0.5 - obj.x
    dy = np.arange(top, bottom)[:, None] + 0.5 - obj.y
    cover = np.clip(0.5 - distance(obj.shape, dx, dy, obj.radius), 0, 1)[..., None]
    patch = picture[top:bottom, left:right]
    patch[:] = np.rint(patch * (1 - cover) + np.array(RGB[obj.colour]) * cover)


def distance(shape: str, dx: np.ndarray, dy: np.ndarray, r: float) -> np.ndarray:
    """Signed distance to the outline, in pixels. Every shape fits the square [-r, r] x [-r, r]."""
    if shape == "circle":
        return np.hypot(dx, dy) - r
    ax, ay = np.abs(dx), np.abs(dy)
    if shape == "square":
        return np.maximum(ax, ay) - 0.88 * r
    if shape == "cross":
        arm = 0.36 * r
        return np.minimum(np.maximum(ax - r, ay - arm), np.maximum(ax - arm, ay - r))
    # Triangle, point up: apex (0, -r), base from (-r, 0.9 r) to (r, 0.9 r).
    slant = (1.9 * ax - (dy + r)) / np.hypot(1.9, 1)
    within = np.maximum(ax, ay) - r  # cuts what would blur past the sharp corners
    return np.maximum(np.maximum(slant, dy - 0.9 * r), within)
