"""The layouts of the whole model: the released 8B checkpoint's names, and Hugging Face's."""

from __future__ import annotations

import functools
import math

import numpy as np
import pytest

from sg4v_jax.errors import CheckpointError
from sg4v_jax.models.params import Skeleton, skeleton
from sg4v_jax.models.video_lm import PRESETS, VideoLM
from sg4v_jax.weights import table, video_lm


@functools.cache
def structure(preset: str) -> Skeleton:
    config = PRESETS[preset]()
    return skeleton(lambda key: VideoLM(config, key=key))


def released_names() -> dict[str, tuple[int, ...]]:
    """The 687 tensors of ShareGPT4Video-8B, from the description of its files, not from a table."""
    d, f, kv, vocab = 4096, 14336, 1024, 128257
    w, g = 1024, 4096
    names = {
        "model.embed_tokens.weight": (vocab, d),
        "lm_head.weight": (vocab, d),
        "model.norm.weight": (d,),
        "model.mm_projector.0.weight": (d, w),
        "model.mm_projector.0.bias": (d,),
        "model.mm_projector.2.weight": (d, d),
        "model.mm_projector.2.bias": (d,),
        "model.image_newline": (d,),
    }
    for i in range(32):
        layer = f"model.layers.{i}"
        names[f"{layer}.input_layernorm.weight"] = (d,)
        names[f"{layer}.post_attention_layernorm.weight"] = (d,)
        for part, size in {"q": d, "k": kv, "v": kv, "o": d}.items():
            names[f"{layer}.self_attn.{part}_proj.weight"] = (size, d)
        names[f"{layer}.mlp.gate_proj.weight"] = (f, d)
        names[f"{layer}.mlp.up_proj.weight"] = (f, d)
        names[f"{layer}.mlp.down_proj.weight"] = (d, f)
    clip = "model.vision_tower.vision_tower.vision_model"
    names[f"{clip}.embeddings.class_embedding"] = (w,)
    names[f"{clip}.embeddings.patch_embedding.weight"] = (w, 3, 14, 14)
    names[f"{clip}.embeddings.position_embedding.weight"] = (577, w)
    linear = {f"self_attn.{part}_proj": (w, w) for part in ("q", "k", "v", "out")}
    linear |= {"mlp.fc1": (g, w), "mlp.fc2": (w, g)}
    norms = ["pre_layrnorm", "post_layernorm"]
    for i in range(24):
        norms += [f"encoder.layers.{i}.layer_norm{n}" for n in (1, 2)]
        for part, size in linear.items():
            names[f"{clip}.encoder.layers.{i}.{part}.weight"] = size
            names[f"{clip}.encoder.layers.{i}.{part}.bias"] = size[:1]
    for norm in norms:
        names[f"{clip}.{norm}.weight"] = names[f"{clip}.{norm}.bias"] = (w,)
    return names


def test_the_released_checkpoint_name_by_name():
    layout = video_lm.table(PRESETS["sg4v-8b"](), layout="llava")
    shapes = table.torch_shapes(layout, structure("sg4v-8b"))
    expected = released_names()
    assert len(expected) == 687
    assert shapes == expected
    assert sum(math.prod(s) for s in shapes.values()) == 8_354_760_704


@pytest.mark.parametrize("layout", video_lm.WHOLE)
def test_each_layout_round_trips_and_is_recognised(layout):
    weights = video_lm.table(PRESETS["sg4v-test"](), layout=layout)
    shapes = structure("sg4v-test")
    rng = np.random.default_rng(1)
    flat = {n: rng.standard_normal(s.shape, np.float32) for n, s in shapes.shapes.items()}
    tensors = table.to_torch(flat, weights, shapes)
    assert video_lm.layout_of(tensors) == layout
    back = table.to_ours(tensors, weights, shapes)
    for name, x in flat.items():
        np.testing.assert_array_equal(back[name], x, err_msg=name)


def test_unknown_layouts_are_named():
    with pytest.raises(CheckpointError, match="'hf-v6' is not known"):
        video_lm.table(PRESETS["sg4v-test"](), layout="hf-v6")
    with pytest.raises(CheckpointError, match=r"a\.safetensors: 1 tensors \(lm_head\.weight"):
        video_lm.layout_of(["lm_head.weight"], where="a.safetensors")


def test_position_ids_of_old_files_are_ignored():
    weights = video_lm.table(PRESETS["sg4v-test"](), layout="llava")
    shapes = structure("sg4v-test")
    tensors = {n: np.zeros(s, np.float32) for n, s in table.torch_shapes(weights, shapes).items()}
    buffer = "model.vision_tower.vision_tower.vision_model.embeddings.position_ids"
    tensors[buffer] = np.arange(5)[None]
    assert table.to_ours(tensors, weights, shapes).keys() == shapes.shapes.keys()
