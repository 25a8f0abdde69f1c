"""The tower's options: DINOv2 and SigLIP of transformers are the same tower with other fields."""

from __future__ import annotations

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import load_file

from sg4v_jax.models.clip import (
    CLIPConfig,
    VisionTower,
    bicubic_weights,
    normalise,
    resize_positions,
)
from sg4v_jax.models.params import skeleton
from sg4v_jax.models.video_lm import PRESETS
from sg4v_jax.weights import clip, dinov2, store

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
pytestmark = pytest.mark.torch

BASE = CLIPConfig(
    image_size=28,
    patch_size=7,
    hidden_size=32,
    intermediate_size=64,
    num_hidden_layers=3,
    num_attention_heads=4,
    layer_norm_eps=1e-6,
    hidden_act="gelu",
    feature_layer=-1,
    image_mean=(0.48, 0.46, 0.41),
    image_std=(0.27, 0.26, 0.28),
    patch_bias=True,
    pre_norm=False,
)
DINO = dataclasses.replace(BASE, layer_scale=True)
SIGLIP = dataclasses.replace(BASE, class_token=False, hidden_act="gelu_pytorch_tanh")


class Named(dict):
    """Tensors with what the views ask for."""

    shapes = property(lambda self: {n: x.shape for n, x in self.items()})
    dtypes = property(lambda self: {n: x.dtype for n, x in self.items()})


@pytest.fixture(scope="module")
def tiles():
    return np.random.default_rng(1).integers(0, 256, (2, 28, 28, 3), np.uint8)


def hidden_states(reference, tiles, **how):
    pixels = np.asarray(normalise(tiles, BASE)).transpose(0, 3, 1, 2).copy()
    with torch.no_grad():
        out = reference(torch.from_numpy(pixels), output_hidden_states=True, **how)
    return [h.numpy() for h in out.hidden_states]


@pytest.mark.parametrize(("side", "layer"), [(4, -1), (4, -2), (6, -1), (3, -1)])
def test_dinov2_equals_transformers(randomise, load, tiles, side, layer, tmp_path):
    reference = randomise(
        transformers.Dinov2Model(
            transformers.Dinov2Config(
                image_size=side * DINO.patch_size,
                patch_size=DINO.patch_size,
                hidden_size=DINO.hidden_size,
                mlp_ratio=2,
                num_hidden_layers=DINO.num_hidden_layers,
                num_attention_heads=DINO.num_attention_heads,
                layer_norm_eps=DINO.layer_norm_eps,
            )
        )
    )
    reference.save_pretrained(tmp_path)
    tensors = load_file(tmp_path / "model.safetensors")

    names = dinov2.as_clip(Named(tensors))
    config = dataclasses.replace(DINO, position_grid=0 if side == 4 else side, feature_layer=layer)
    weights = clip.table(prefix=clip.TRANSFORMERS_5)
    tensors = {n: torch.from_numpy(names[n].copy()) for n in names}
    ours = load(lambda key: VisionTower(config, key=key), tensors, weights)
    wanted = hidden_states(reference, tiles)
    assert np.abs(wanted[0] - wanted[-1]).max() > 0.1  # the layers do something
    features = ours(jnp.asarray(tiles), dtype=jnp.float32)
    np.testing.assert_allclose(features, wanted[layer][:, 1:], rtol=1e-5, atol=1e-5)


def test_siglip_equals_transformers(randomise, load, tiles):
    reference = randomise(
        transformers.SiglipVisionModel(
            transformers.SiglipVisionConfig(
                image_size=SIGLIP.image_size,
                patch_size=SIGLIP.patch_size,
                hidden_size=SIGLIP.hidden_size,
                intermediate_size=SIGLIP.intermediate_size,
                num_hidden_layers=SIGLIP.num_hidden_layers,
                num_attention_heads=SIGLIP.num_attention_heads,
                layer_norm_eps=SIGLIP.layer_norm_eps,
                vision_use_head=False,
            )
        )
    )
    tensors = {
        n.removeprefix("vision_model."): t
        for n, t in reference.state_dict().items()
        if ".head." not in n and not n.startswith("head.")
    }
    ours = load(
        lambda key: VisionTower(SIGLIP, key=key), tensors, clip.table(prefix=clip.TRANSFORMERS_5)
    )
    features = ours(jnp.asarray(tiles), dtype=jnp.float32)
    wanted = hidden_states(reference, tiles)[-1]
    assert features.shape == wanted.shape == (2, 16, 32)
    np.testing.assert_allclose(features, wanted, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("grid", "side"), [(37, 16), (37, 24), (3, 5), (4, 4)])
def test_positions_resize_as_torch_does(grid, side):
    table = np.random.default_rng(0).standard_normal((1 + grid * grid, 8), np.float32)
    # In f32 torch rounds the places that it samples at.
    square = torch.from_numpy(table[1:].reshape(1, grid, grid, 8)).permute(0, 3, 1, 2).double()
    wanted = torch.nn.functional.interpolate(square, size=(side, side), mode="bicubic")
    wanted = wanted[0].permute(1, 2, 0).reshape(side * side, 8).numpy()
    ours = np.asarray(resize_positions(jnp.asarray(table), side=side, first=True))
    np.testing.assert_array_equal(ours[0], table[0])
    np.testing.assert_allclose(ours[1:], wanted, atol=2e-6, rtol=0)
    np.testing.assert_allclose(bicubic_weights(grid, side).sum(1), 1, atol=1e-6)


def test_a_model_of_earlier_days_is_clip(tmp_path):
    """A model.json without the fields: what it said when CLIP was the only tower."""
    value = json.loads(json.dumps(dataclasses.asdict(PRESETS["sg4v-8b"]())))
    options = ("patch_bias", "layer_scale", "pre_norm", "class_token", "position_grid")
    for name in options:
        del value["tower"][name]
    assert store.model_config_from_json(value) == PRESETS["sg4v-8b"]()
    names = set(skeleton(lambda key: VisionTower(PRESETS["sg4v-8b"]().tower, key=key)).shapes)
    assert not any("scale1" in n or n == "embeddings.patch_embedding.bias" for n in names)
    assert {"pre_layrnorm.scale", "embeddings.class_embedding"} <= names


def test_gradients_reach_every_option(random_model, tiles):
    config = dataclasses.replace(DINO, position_grid=6)
    tower = random_model(lambda key: VisionTower(config, key=key))
    loss = lambda t: (t(jnp.asarray(tiles), dtype=jnp.float32) ** 2).sum()
    grads = jax.grad(loss)(tower)
    for value in (
        grads.embeddings.patch_embedding.bias,
        grads.embeddings.position_embedding,
        grads.layers.layer_scale1,
        grads.layers.layer_scale2,
    ):
        assert np.abs(np.asarray(value[...])).max() > 0
