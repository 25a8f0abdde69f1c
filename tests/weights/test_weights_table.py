"""The table engine: axes, stacks, and one message for everything that does not fit."""

from __future__ import annotations

from collections.abc import Mapping

import jax
import ml_dtypes
import numpy as np
import pytest

from sg4v_jax.errors import CheckpointError
from sg4v_jax.models.clip import CLIPConfig, VisionTower
from sg4v_jax.models.llama import Llama, LlamaConfig
from sg4v_jax.models.params import Skeleton, skeleton
from sg4v_jax.weights import clip, llama, table
from sg4v_jax.weights.table import Table, Transform

SHAPES = {  # transform: (our shape, torch shape)
    "VECTOR": ((5,), (5,)),
    "MATRIX": ((5, 3), (5, 3)),
    "LINEAR": ((5, 3), (3, 5)),
    "SPLIT_HEADS": ((5, 2, 3), (6, 5)),
    "MERGE_HEADS": ((2, 3, 5), (5, 6)),
    "FLAT": ((2, 3), (6,)),
    "CONV": ((4, 2, 3, 7), (7, 3, 4, 2)),
}
LLAMA = LlamaConfig(
    vocab_size=11,
    hidden_size=8,
    intermediate_size=6,
    num_hidden_layers=3,
    num_attention_heads=4,
    num_key_value_heads=2,
    head_dim=2,
    rope_theta=10000.0,
    rms_norm_eps=1e-5,
    max_position_embeddings=64,
    tie_word_embeddings=False,
)


def decoder(**changes) -> tuple[Skeleton, Table]:
    config = LlamaConfig(**(vars(LLAMA) | changes))
    return (
        skeleton(lambda key: Llama(config, key=key)),
        llama.table(tied=config.tie_word_embeddings),
    )


def tower(feature_layer: int) -> Skeleton:
    config = CLIPConfig(
        image_size=8,
        patch_size=4,
        hidden_size=6,
        intermediate_size=7,
        num_hidden_layers=3,
        num_attention_heads=2,
        layer_norm_eps=1e-5,
        hidden_act="quick_gelu",
        feature_layer=feature_layer,
        image_mean=(0.5, 0.5, 0.5),
        image_std=(0.5, 0.5, 0.5),
    )
    return skeleton(lambda key: VisionTower(config, key=key))


def random_tensors(weights: Table, shapes: Skeleton) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    sizes = table.torch_shapes(weights, shapes)
    return {n: rng.standard_normal(s).astype(np.float32) for n, s in sizes.items()}


@pytest.mark.parametrize("name", SHAPES)
def test_transform_shapes_and_inverse(name):
    transform: Transform = getattr(table, name)
    ours, torch = SHAPES[name]
    x = np.arange(np.prod(ours)).reshape(ours)
    assert transform.torch_shape(ours) == transform.to_torch(x).shape == torch
    np.testing.assert_array_equal(transform.to_ours(transform.to_torch(x), shape=ours), x)


def test_transforms_place_each_number():
    # torch's q_proj rows are head 0 dims 0..2, then head 1; o_proj's columns are the same.
    q = np.arange(12).reshape(6, 2)
    ours = table.SPLIT_HEADS.to_ours(q, shape=(2, 2, 3))
    assert ours[1, 0, 2] == q[2, 1] and ours[0, 1, 0] == q[3, 0]
    o = np.arange(12).reshape(2, 6)
    ours = table.MERGE_HEADS.to_ours(o, shape=(2, 3, 2))
    assert ours[1, 2, 0] == o[0, 5] and ours[0, 1, 1] == o[1, 1]
    conv = np.arange(24).reshape(2, 3, 2, 2)
    ours = table.CONV.to_ours(conv, shape=(2, 2, 3, 2))
    assert ours[1, 0, 2, 1] == conv[1, 2, 1, 0]


@pytest.mark.parametrize(("feature_layer", "run"), [(-1, 3), (-2, 2), (-3, 1)])
def test_layers_after_the_feature_layer_go_to_the_tail(feature_layer, run):
    shapes, weights = tower(feature_layer), clip.table(prefix=clip.HUB)
    tensors = random_tensors(weights, shapes)
    flat = table.to_ours(tensors, weights, shapes)
    for layer in range(3):
        bias = tensors[f"vision_model.encoder.layers.{layer}.mlp.fc1.bias"]
        stack, at = ("layers", layer) if layer < run else ("tail", layer - run)
        np.testing.assert_array_equal(flat[f"{stack}.mlp.fc1.bias"][at], bias)
    assert ("tail.mlp.fc1.bias" in flat) == (run < 3)
    shapes.build(flat)


def test_both_directions_are_inverse_and_whole():
    shapes, weights = decoder()
    tensors = random_tensors(weights, shapes)
    flat = table.to_ours(tensors, weights, shapes)
    assert {n: x.shape for n, x in flat.items()} == {n: s.shape for n, s in shapes.shapes.items()}
    back = table.to_torch(jax.tree.map(jax.numpy.asarray, flat), weights, shapes)
    assert back.keys() == tensors.keys()
    for name, x in tensors.items():
        np.testing.assert_array_equal(back[name], x, err_msg=name)


def test_the_skeleton_decides_the_dtype():
    shapes, weights = decoder()
    tensors = {n: x.astype(ml_dtypes.bfloat16) for n, x in random_tensors(weights, shapes).items()}
    flat = table.to_ours(tensors, weights, shapes)
    assert {x.dtype for x in flat.values()} == {np.dtype(np.float32)}
    np.testing.assert_array_equal(
        flat["norm.scale"], tensors["model.norm.weight"].astype(np.float32)
    )


def test_everything_that_does_not_fit_is_in_one_message():
    shapes, weights = decoder()
    tensors = random_tensors(weights, shapes)
    for layer in range(3):
        del tensors[f"model.layers.{layer}.mlp.up_proj.weight"]
    del tensors["model.layers.1.input_layernorm.weight"]
    tensors["model.layers.0.self_attn.q_proj.bias"] = np.zeros(8)
    tensors["model.norm.weight"] = np.zeros(9)
    with pytest.raises(CheckpointError) as error:
        table.to_ours(tensors, weights, shapes, where="some.safetensors")
    assert error.value.message.splitlines() == [
        "some.safetensors: 6 names do not fit the model:",
        "  missing model.layers.1.input_layernorm.weight",
        "  missing model.layers.{i}.mlp.up_proj.weight (i = 0..2)",
        "  unexpected model.layers.0.self_attn.q_proj.bias",
        "  model.norm.weight has shape (9,), expected (8,)",
    ]
    assert error.value.mend


def test_export_names_what_does_not_fit():
    shapes, weights = decoder()
    flat = table.to_ours(random_tensors(weights, shapes), weights, shapes)
    del flat["norm.scale"]
    flat["lora.a"] = np.zeros(2)
    with pytest.raises(CheckpointError, match=r"(?s)missing norm\.scale.*unexpected lora\.a"):
        table.to_torch(flat, weights, shapes)


def test_a_table_must_cover_the_model_and_nothing_else():
    untied, _ = decoder()
    tied, _ = decoder(tie_word_embeddings=True)
    with pytest.raises(CheckpointError, match=r"no name for lm_head\.kernel"):
        table.torch_shapes(llama.table(tied=True), untied)
    with pytest.raises(CheckpointError, match=r"no parameter lm_head\.kernel"):
        table.torch_shapes(llama.table(tied=False), tied)


def test_named_buffers_are_ignored_and_others_are_not():
    shapes, weights = decoder()
    tensors = random_tensors(weights, shapes)
    tensors["model.layers.2.self_attn.rotary_emb.inv_freq"] = np.zeros(1)
    table.to_ours(tensors, weights, shapes)
    tensors["model.rotary_emb.inv_freq"] = np.zeros(1)
    with pytest.raises(CheckpointError, match=r"unexpected model\.rotary_emb\.inv_freq"):
        table.to_ours(tensors, weights, shapes)


def test_a_tied_head_may_be_repeated_but_not_differ():
    shapes, weights = decoder(tie_word_embeddings=True)
    tensors = random_tensors(weights, shapes)
    assert "lm_head.weight" not in tensors
    tensors["lm_head.weight"] = tensors["model.embed_tokens.weight"].copy()
    table.to_ours(tensors, weights, shapes)
    tensors["lm_head.weight"][0, 0] += 1
    with pytest.raises(CheckpointError, match=r"lm_head\.weight differs from model\.embed_tokens"):
        table.to_ours(tensors, weights, shapes)


class Unreadable(Mapping):
    """A lazy mapping that must be judged by its shapes alone."""

    def __init__(self, shapes):
        self.shapes = shapes

    def __getitem__(self, name):
        raise AssertionError(f"{name} was read")

    def __iter__(self):
        return iter(self.shapes)

    def __len__(self):
        return len(self.shapes)


def test_lazy_tensors_are_checked_before_any_is_read():
    shapes, weights = decoder()
    sizes = table.torch_shapes(weights, shapes) | {"lm_head.weight": (12, 8)}
    with pytest.raises(CheckpointError, match=r"lm_head\.weight has shape \(12, 8\)"):
        table.to_ours(Unreadable(sizes), weights, shapes)
