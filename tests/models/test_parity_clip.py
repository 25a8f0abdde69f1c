"""The vision tower against `transformers.CLIPVisionModel`, hidden state by hidden state."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest

from sg4v_jax.models.clip import CLIPConfig, VisionTower, normalise
from sg4v_jax.weights import clip

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
pytestmark = pytest.mark.torch

LAYERS = 3


def config(feature_layer: int) -> CLIPConfig:
    return CLIPConfig(
        image_size=28,
        patch_size=7,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=LAYERS,
        num_attention_heads=4,
        layer_norm_eps=1e-5,
        hidden_act="quick_gelu",
        feature_layer=feature_layer,
        image_mean=(0.48, 0.46, 0.41),
        image_std=(0.27, 0.26, 0.28),
    )


@pytest.fixture(scope="module")
def reference(randomise):
    c = config(-1)
    return randomise(
        transformers.CLIPVisionModel(
            transformers.CLIPVisionConfig(
                image_size=c.image_size,
                patch_size=c.patch_size,
                hidden_size=c.hidden_size,
                intermediate_size=c.intermediate_size,
                num_hidden_layers=c.num_hidden_layers,
                num_attention_heads=c.num_attention_heads,
                layer_norm_eps=c.layer_norm_eps,
                hidden_act=c.hidden_act,
            )
        )
    )


@pytest.fixture(scope="module")
def tiles():
    return np.random.default_rng(1).integers(0, 256, (3, 28, 28, 3), np.uint8)


@pytest.fixture(scope="module")
def expected(reference, tiles):
    """Every hidden state, the embeddings' output first."""
    pixels = np.asarray(normalise(tiles, config(-1))).transpose(0, 3, 1, 2)
    with torch.no_grad():
        out = reference(torch.from_numpy(pixels.copy()), output_hidden_states=True)
    return [h.numpy() for h in out.hidden_states]


def tower(load, reference, feature_layer: int) -> VisionTower:
    tensors = reference.state_dict()
    weights = clip.table(prefix=clip.TRANSFORMERS_5)
    return load(lambda key: VisionTower(config(feature_layer), key=key), tensors, weights)


def test_normalise_is_the_image_processors(tiles):
    c = config(-1)
    processor = transformers.CLIPImageProcessor(
        do_resize=False, do_center_crop=False, image_mean=c.image_mean, image_std=c.image_std
    )
    expected = processor(list(tiles), return_tensors="np")["pixel_values"]
    ours = np.asarray(normalise(tiles, c)).transpose(0, 3, 1, 2)
    np.testing.assert_allclose(ours, expected, rtol=1e-5, atol=1e-6)


def test_every_hidden_state(load, reference, expected, tiles, layer_of):
    ours = tower(load, reference, -1)
    x = ours.pre_layrnorm(ours.embeddings(normalise(tiles, config(-1))))
    np.testing.assert_allclose(x, expected[0], rtol=1e-5, atol=1e-5)
    assert np.abs(expected[0] - expected[-1]).max() > 1  # the layers do something
    for i in range(LAYERS):
        x = layer_of(ours.layers, i)(x)
        np.testing.assert_allclose(x, expected[i + 1], rtol=1e-5, atol=1e-5, err_msg=f"layer {i}")


@pytest.mark.smoke
@pytest.mark.parametrize("feature_layer", [-1, -2, -3])
def test_features_of_the_chosen_layer_without_the_class_token(
    load, reference, expected, tiles, feature_layer
):
    features = tower(load, reference, feature_layer)(jnp.asarray(tiles), dtype=jnp.float32)
    assert features.shape == (3, 16, 32)
    np.testing.assert_allclose(features, expected[feature_layer][:, 1:], rtol=1e-5, atol=1e-5)


def test_rematerialisation_changes_nothing(load, reference, tiles):
    ours = tower(load, reference, -2)
    plain = ours(jnp.asarray(tiles), dtype=jnp.float32)
    for remat in ("dots", "full"):
        again = ours(jnp.asarray(tiles), dtype=jnp.float32, remat=remat)
        np.testing.assert_allclose(again, plain, rtol=1e-6, atol=1e-6)


def test_another_activation_would_be_seen(load, reference, expected, tiles, layer_of):
    # The tower is quick_gelu; with exact gelu the first layer must already be off.
    ours = tower(load, reference, -1)
    block = layer_of(ours.layers, 0)
    block.mlp.act = "gelu"
    error = np.abs(np.asarray(block(jnp.asarray(expected[0]))) - expected[1]).max()
    assert error > 1e-3
