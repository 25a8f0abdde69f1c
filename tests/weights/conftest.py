"""Small models with random weights, in memory and as checkpoints of every layout."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Callable

import ml_dtypes
import numpy as np
import pytest

from sg4v_jax.models.clip import CLIPConfig
from sg4v_jax.models.llama import LlamaConfig
from sg4v_jax.models.video_lm import CLIP_MEAN, CLIP_STD, LLAVA_PINPOINTS, VideoLMConfig
from sg4v_jax.text.tokenizer import Tokenizer, train_byte_bpe
from sg4v_jax.weights import assemble, export_model, hf_settings, store
from sg4v_jax.weights.assemble import Assembled
from sg4v_jax.weights.views import params_from

CONFIG = VideoLMConfig(
    tower=CLIPConfig(
        image_size=24,  # 96 gives 24 x 24 patches, as the 8B model has
        patch_size=4,
        hidden_size=24,
        intermediate_size=40,
        num_hidden_layers=3,
        num_attention_heads=3,
        layer_norm_eps=1e-5,
        hidden_act="quick_gelu",
        feature_layer=-2,
        image_mean=CLIP_MEAN,
        image_std=CLIP_STD,
    ),
    llm=LlamaConfig(
        vocab_size=321,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=8,
        rope_theta=500000.0,
        rms_norm_eps=1e-5,
        max_position_embeddings=8192,
        tie_word_embeddings=False,
    ),
    separators=1,
    pinpoints=LLAVA_PINPOINTS,
)


@pytest.fixture(scope="session")
def config() -> VideoLMConfig:
    return CONFIG


@pytest.fixture(scope="session")
def tokenizer() -> Tokenizer:
    """One that adds a bos, as Llama 3's."""
    texts = ["What happens in the video? A red ball rolls to the left and stops."] * 4
    return train_byte_bpe(texts, vocab_size=300, adds_bos=True)


@pytest.fixture(scope="session")
def random_model(tokenizer) -> Callable[..., Assembled]:
    """`random_model(dtype=, seed=, side=, **fields of LlamaConfig)`: every part matters."""

    def build(*, dtype: str = "float32", seed: int = 0, side: int = 24, **llm) -> Assembled:
        tower = dataclasses.replace(CONFIG.tower, image_size=side)
        llm = dataclasses.replace(CONFIG.llm, **llm)
        config = dataclasses.replace(CONFIG, tower=tower, llm=llm)
        shapes, rng = assemble.structure(config), np.random.default_rng(seed)
        kind = np.dtype(ml_dtypes.bfloat16 if dtype == "bfloat16" else dtype)

        def values(path, shape):
            x = rng.standard_normal(shape, np.float32)
            if path.endswith("scale"):
                return 1 + 0.1 * x
            if path.endswith(("bias", "embedding", "separators", "embed_tokens")):
                return 0.3 * x
            return x * np.prod(shape[-3:-1]) ** -0.5 if "kernel" in path else x

        flat = {p: values(p, s.shape).astype(kind) for p, s in shapes.shapes.items()}
        settings = store.ModelSettings(config, hf_settings.input_spec(config, {}), tokenizer)
        return Assembled(settings, params_from(flat, shapes), shapes)

    return build


@pytest.fixture(scope="session")
def checkpoints(random_model, tmp_path_factory) -> Callable[[str], pathlib.Path]:
    """`checkpoints(layout)`: a folder with the f32 model of seed 0, made once; do not change it."""
    folder, model = tmp_path_factory.mktemp("checkpoints"), random_model()

    def make(layout: str) -> pathlib.Path:
        out = folder / layout
        if not out.exists():
            export_model.write(model, out, layout=layout, shard_size="100KB")
        return out

    return make
