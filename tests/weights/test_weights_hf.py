"""Names and files against the installed transformers, in both directions."""

from __future__ import annotations

import numpy as np
import pytest

from sg4v_jax.models.params import Skeleton, skeleton
from sg4v_jax.models.video_lm import PRESETS, VideoLM
from sg4v_jax.weights import safetensors_io, table, video_lm

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
pytestmark = pytest.mark.torch

CONFIG = PRESETS["sg4v-test"]()


@pytest.fixture(scope="module")
def shapes() -> Skeleton:
    return skeleton(lambda key: VideoLM(CONFIG, key=key))


def hf_config():
    tower, llm = CONFIG.tower, CONFIG.llm
    vision = transformers.CLIPVisionConfig(
        image_size=tower.image_size,
        patch_size=tower.patch_size,
        hidden_size=tower.hidden_size,
        intermediate_size=tower.intermediate_size,
        num_hidden_layers=tower.num_hidden_layers,
        num_attention_heads=tower.num_attention_heads,
    )
    text = transformers.LlamaConfig(
        vocab_size=llm.vocab_size,
        hidden_size=llm.hidden_size,
        intermediate_size=llm.intermediate_size,
        num_hidden_layers=llm.num_hidden_layers,
        num_attention_heads=llm.num_attention_heads,
        num_key_value_heads=llm.num_key_value_heads,
        head_dim=llm.head_dim,
    )
    return transformers.LlavaNextConfig(
        vision_config=vision, text_config=text, image_token_id=llm.vocab_size - 1
    )


@pytest.fixture(scope="module")
def reference():
    torch.manual_seed(0)
    torch.set_num_threads(1)
    return transformers.LlavaNextForConditionalGeneration(hf_config())


def torch_shapes(layout: str, shapes: Skeleton) -> dict:
    return table.torch_shapes(video_lm.table(CONFIG, layout=layout), shapes)


def test_state_dict_is_one_of_the_layouts(reference, shapes):
    tensors = reference.state_dict()
    layout = video_lm.layout_of(tensors)
    assert layout == "hf-v5-state-dict"
    assert torch_shapes(layout, shapes) == {n: tuple(t.shape) for n, t in tensors.items()}


@pytest.mark.parametrize("shard_size", ["5GB", "20KB"])
def test_a_saved_model_is_one_of_the_layouts(reference, shapes, tmp_path, shard_size):
    reference.save_pretrained(tmp_path, max_shard_size=shard_size)
    assert (tmp_path / safetensors_io.INDEX).exists() == (shard_size == "20KB")
    tensors = safetensors_io.read(tmp_path)
    layout = video_lm.layout_of(tensors)
    assert layout == "hf-v5"
    assert torch_shapes(layout, shapes) == dict(tensors.shapes)
    flat = table.to_ours(tensors, video_lm.table(CONFIG, layout=layout), shapes)
    embedding = reference.model.language_model.embed_tokens.weight.detach().numpy()
    np.testing.assert_array_equal(flat["llm.embed_tokens"], embedding)


@pytest.mark.parametrize("layout", ["hf", "hf-v5", "hf-state-dict", "hf-v5-state-dict"])
def test_transformers_loads_what_is_exported(reference, shapes, tmp_path, layout):
    weights = video_lm.table(CONFIG, layout="hf-v5-state-dict")
    state = reference.state_dict()
    flat = table.to_ours({n: t.numpy() for n, t in state.items()}, weights, shapes)
    tensors = table.to_torch(flat, video_lm.table(CONFIG, layout=layout), shapes)
    hf_config().save_pretrained(tmp_path)
    safetensors_io.write(tmp_path / "model.safetensors", tensors)
    loaded, report = transformers.LlavaNextForConditionalGeneration.from_pretrained(
        tmp_path, output_loading_info=True
    )
    assert not any(report[k] for k in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    for name, tensor in loaded.state_dict().items():
        assert torch.equal(tensor, state[name]), name
