"""Models with a DINOv2 tower through every layout: their own names out, CLIP's place in."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from sg4v_jax.errors import CheckpointError
from sg4v_jax.models.clip import normalise
from sg4v_jax.models.video_lm import VideoLM
from sg4v_jax.weights import assemble, export_model, hf_settings, store
from sg4v_jax.weights.assemble import Assembled, Request
from sg4v_jax.weights.source import open_source
from sg4v_jax.weights.views import params_from


@pytest.fixture(scope="module")
def model(config, tokenizer) -> Assembled:
    """24 x 24 tiles of 6 x 6 patches, a table of 9 x 9 positions, a tied head."""
    tower = dataclasses.replace(
        config.tower,
        intermediate_size=48,
        hidden_act="gelu",
        feature_layer=-1,
        patch_bias=True,
        layer_scale=True,
        pre_norm=False,
        position_grid=9,
    )
    llm = dataclasses.replace(config.llm, tie_word_embeddings=True, vocab_size=300)
    config = dataclasses.replace(config, tower=tower, llm=llm)
    shapes, rng = assemble.structure(config), np.random.default_rng(0)
    flat = {p: 0.3 * rng.standard_normal(s.shape, np.float32) for p, s in shapes.shapes.items()}
    settings = store.ModelSettings(config, hf_settings.input_spec(config, {}), tokenizer)
    return Assembled(settings, params_from(flat, shapes), shapes)


def features(model: Assembled, tiles: np.ndarray) -> np.ndarray:
    flat = {path: jnp.asarray(p.whole()) for path, p in model.params.items()}
    whole: VideoLM = model.skeleton.build(flat)
    return np.asarray(jax.jit(lambda m, t: m.tower(t, dtype=jnp.float32))(whole, tiles))


@pytest.fixture(scope="module")
def tiles():
    return np.random.default_rng(1).integers(0, 256, (2, 24, 24, 3), np.uint8)


def test_llavas_layout_gives_the_same_model_back(model, tmp_path):
    export_model.write(model, tmp_path / "out", layout="llava", shard_size="100KB")
    back = assemble.model(Request(source=str(tmp_path / "out")))
    assert back.settings.config == model.settings.config
    assert back.params.keys() == model.params.keys()
    for path, param in model.params.items():
        np.testing.assert_array_equal(back.params[path].whole(), param.whole(), err_msg=path)


def test_transformers_layout_holds_the_table_of_the_tiles(model, tiles, tmp_path):
    notes = export_model.write(model, tmp_path / "out", layout="hf")
    assert notes[1] == "positions: the tower's 9 x 9 table is written as 6 x 6"
    back = assemble.model(Request(source=str(tmp_path / "out")))
    tower = dataclasses.replace(model.settings.config.tower, position_grid=0)
    assert back.settings.config.tower == tower
    np.testing.assert_allclose(features(back, tiles), features(model, tiles), atol=1e-6)
    old, new = (m.params["llm.embed_tokens"].whole() for m in (model, back))
    np.testing.assert_array_equal(new[:300], old)
    np.testing.assert_allclose(new[300:], np.tile(old.mean(0), (len(new) - 300, 1)), atol=1e-6)


def test_a_tower_alone_is_a_dinov2model(model, tiles, tmp_path):
    torch, transformers = pytest.importorskip("torch"), pytest.importorskip("transformers")
    export_model.write(model, tmp_path / "out", layout="clip")
    theirs, told = transformers.AutoModel.from_pretrained(
        tmp_path / "out", dtype=torch.float32, output_loading_info=True
    )
    assert type(theirs).__name__ == "Dinov2Model"
    assert not any(told[key] for key in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    pixels = np.asarray(normalise(tiles, model.settings.config.tower)).transpose(0, 3, 1, 2)
    with torch.no_grad():
        wanted = theirs(torch.from_numpy(pixels.copy()), output_hidden_states=True)
    wanted = wanted.hidden_states[-1].numpy()[:, 1:]
    np.testing.assert_allclose(features(model, tiles), wanted, rtol=1e-4, atol=1e-4)


def test_lost_and_odd_tensors_are_named(model, tmp_path):
    export_model.write(model, tmp_path / "out", layout="clip")
    file = tmp_path / "out" / "model.safetensors"
    tensors = load_file(file)
    assert "encoder.layer.2.attention.attention.query.weight" in tensors
    del tensors["encoder.layer.1.layer_scale2.lambda1"], tensors["layernorm.weight"]
    tensors["encoder.layer.0.mlp.weights_in.weight"] = np.zeros((2, 2), np.float32)
    tensors["embeddings.mask_token"] = np.zeros((1, 24), np.float32)
    save_file(tensors, file)
    source = open_source(tmp_path / "out")
    with pytest.raises(CheckpointError) as e:
        source.params(model.skeleton, tied=False)
    for text in (
        "3 names",
        "missing encoder.layers.1.layer_scale2",
        "missing post_layernorm.weight",
        "unexpected encoder.layers.0.mlp.weights_in.weight",
    ):
        assert text in str(e.value)
