"""CLIP's preprocessing against an offline oracle, hf-processors-rs, on frames of a real clip.

What is claimed: tiles are bit for bit what the oracle resizes and crops to, as u8; rescaled and
normalised in numpy they are its floats bit for bit. On the device XLA multiplies by reciprocals
where numpy divides, and may fuse a product with a sum: those floats are within 5e-7 (numbers of up
to 2.7, so two or three steps of f32).
"""

from __future__ import annotations

import pathlib

import jax
import numpy as np
import pytest
from PIL import Image

from sg4v_jax.models.clip import normalise
from sg4v_jax.models.video_lm import PRESETS
from sg4v_jax.video.anyres import AnyRes, make_tiles, overview_tile
from sg4v_jax.video.decode import sample_frames
from sg4v_jax.video.grid import make_grid

oracle_library = pytest.importorskip(
    "hf_processors_rs", reason="needs hf-processors-rs: pip install -e '.[realtest]'"
)
CLIPS = pathlib.Path(__file__).parent.parent / "data" / "clips"
TOWER = PRESETS["sg4v-8b"]().tower
SPEC = AnyRes.standard(336, patches=24)


@pytest.fixture(scope="module")
def oracle():
    """`oracle(picture)`: f32[336,336,3] of openai/clip-vit-large-patch14-336's processor."""
    processor = oracle_library.AutoImageProcessor.from_dict(
        {
            "image_processor_type": "CLIPImageProcessor",
            "crop_size": {"height": 336, "width": 336},
            "do_center_crop": True,
            "do_convert_rgb": True,
            "do_normalize": True,
            "do_rescale": True,
            "do_resize": True,
            "image_mean": list(TOWER.image_mean),
            "image_std": list(TOWER.image_std),
            "resample": 3,
            "rescale_factor": 1 / 255,
            "size": {"shortest_edge": 336},
        },
        backend="pil",
    )
    return lambda picture: np.asarray(processor(picture))[0].transpose(1, 2, 0)


@pytest.fixture(scope="module")
def frames():
    return sample_frames(CLIPS / "wan21_fox_tracking_shot.mp4", n=16, rule="run").frames


def in_numpy(tiles: np.ndarray) -> np.ndarray:
    mean, std = np.float32(TOWER.image_mean), np.float32(TOWER.image_std)
    return (tiles / np.float32(255) - mean) / std


def test_every_tile_of_a_grid_is_the_oracles(oracle, frames):
    tiles = make_tiles(make_grid(frames, band=50, longest_side=1920), SPEC)
    assert tiles.shape == (5, 336, 336, 3) and len(np.unique(tiles)) == 256
    on_device = np.asarray(jax.jit(lambda x: normalise(x, TOWER))(tiles))
    for tile, device in zip(tiles, on_device, strict=True):
        wanted = oracle(tile)
        np.testing.assert_array_equal(in_numpy(tile), wanted)
        np.testing.assert_allclose(device, wanted, rtol=0, atol=5e-7)


@pytest.mark.parametrize("side", [480, 335, 1000])
def test_the_overview_of_a_square_picture_is_the_oracles(oracle, frames, side):
    """Resized by both, from above and from below."""
    square = np.asarray(Image.fromarray(frames[0][:, 100:580]).resize((side, side)))
    [tile] = overview_tile(square, SPEC)
    np.testing.assert_array_equal(in_numpy(tile), oracle(square))
