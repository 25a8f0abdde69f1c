"""CLIP's vision tower: tiles in, patch features out.

Legend: `I` images (tiles), `R` tile side in pixels, `P` patches a tile, `D` tower width,
`N` heads, `H` head dim, `F` ffn. Names follow Hugging Face (`pre_layrnorm` is its spelling).
"""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
from flax import nnx

from sg4v_jax.models.attention import attention
from sg4v_jax.models.layers import (
    ACTIVATIONS,
    LayerNorm,
    Linear,
    residual_std,
    scan_layers,
    stack,
)
from sg4v_jax.sharding import constrain


@dataclasses.dataclass(frozen=True, kw_only=True)
class CLIPConfig:
    """What a checkpoint defines; nothing here has a default."""

    image_size: int  # R
    patch_size: int
    hidden_size: int  # D
    intermediate_size: int  # F
    num_hidden_layers: int
    num_attention_heads: int  # N
    layer_norm_eps: float
    hidden_act: str
    feature_layer: int  # index into the hidden states, -2 = output of the last layer but one
    image_mean: tuple[float, float, float]  # of RGB in 0..1
    image_std: tuple[float, float, float]

    @property
    def patches(self) -> int:
        """Patches along a tile's side."""
        return self.image_size // self.patch_size

    @property
    def layers_run(self) -> int:
        """Blocks whose output is needed; the others are kept only for export."""
        return self.num_hidden_layers + 1 + self.feature_layer


class Embeddings(nnx.Module):
    """Patch convolution (as a matmul), class token, learned positions."""

    def __init__(self, config: CLIPConfig, *, key: jax.Array):
        c, keys = config, jax.random.split(key, 3)
        std = c.hidden_size**-0.5
        self.patch_embedding = Linear(
            (c.patch_size, c.patch_size, 3),
            (c.hidden_size,),
            axes=("none", "none", "none", "vision_embed"),
            bias=False,
            key=keys[0],
        )
        self.class_embedding = nnx.Param(
            std * jax.random.normal(keys[1], (c.hidden_size,)), axes=("vision_embed",)
        )
        self.position_embedding = nnx.Param(
            std * jax.random.normal(keys[2], (c.patches**2 + 1, c.hidden_size)),
            axes=("none", "vision_embed"),
        )
        self.patch_size = c.patch_size

    def __call__(self, pixels: jax.Array) -> jax.Array:
        """[I,R,R,3] -> [I,1+P,D], class token first, patches row-major."""
        i, side, size = pixels.shape[0], pixels.shape[1], self.patch_size
        n = side // size
        patches = pixels.reshape(i, n, size, n, size, 3).transpose(0, 1, 3, 2, 4, 5)
        x = self.patch_embedding(patches.reshape(i, n * n, size, size, 3))
        first = jnp.broadcast_to(self.class_embedding[...].astype(x.dtype), (i, 1, x.shape[-1]))
        return jnp.concatenate([first, x], 1) + self.position_embedding[...].astype(x.dtype)


class SelfAttention(nnx.Module):
    """Multi-head attention with biases, over all patches of a tile."""

    def __init__(self, config: CLIPConfig, *, key: jax.Array):
        d, n = config.hidden_size, config.num_attention_heads
        keys = jax.random.split(key, 4)
        project = lambda k: Linear(
            (d,), (n, d // n), axes=("vision_embed", "heads", "none"), bias=True, key=k
        )
        self.q_proj, self.k_proj, self.v_proj = project(keys[0]), project(keys[1]), project(keys[2])
        self.out_proj = Linear(
            (n, d // n),
            (d,),
            axes=("heads", "none", "vision_embed"),
            bias=True,
            key=keys[3],
            std=residual_std(d, layers=config.num_hidden_layers),
        )

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.out_proj(
            attention(self.q_proj(x), self.k_proj(x), self.v_proj(x), causal=False)
        )


class MLP(nnx.Module):
    """Two layers with CLIP's activation."""

    def __init__(self, config: CLIPConfig, *, key: jax.Array):
        d, f, keys = config.hidden_size, config.intermediate_size, jax.random.split(key)
        self.fc1 = Linear((d,), (f,), axes=("vision_embed", "ffn"), bias=True, key=keys[0])
        std = residual_std(f, layers=config.num_hidden_layers)
        self.fc2 = Linear((f,), (d,), axes=("ffn", "vision_embed"), bias=True, key=keys[1], std=std)
        self.act = config.hidden_act

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.fc2(ACTIVATIONS[self.act](self.fc1(x)))


class Block(nnx.Module):
    """A pre-norm transformer block."""

    def __init__(self, config: CLIPConfig, *, key: jax.Array):
        keys = jax.random.split(key)
        norm = lambda: LayerNorm(config.hidden_size, eps=config.layer_norm_eps, axis="vision_embed")
        self.layer_norm1, self.layer_norm2 = norm(), norm()
        self.self_attn = SelfAttention(config, key=keys[0])
        self.mlp = MLP(config, key=keys[1])

    def __call__(self, x: jax.Array) -> jax.Array:
        x = x + self.self_attn(self.layer_norm1(x))
        x = x + self.mlp(self.layer_norm2(x))
        return constrain(x, "tiles", None, None)


class VisionTower(nnx.Module):
    """Tiles u8[I,R,R,3] -> features [I,P,D] of `feature_layer`, class token dropped.

    `tail` (blocks after the feature layer) and `post_layernorm` never run and get no gradient;
    they are parameters so that a checkpoint goes through unchanged.
    """

    def __init__(self, config: CLIPConfig, *, key: jax.Array):
        keys = jax.random.split(key, 3)
        norm = lambda: LayerNorm(config.hidden_size, eps=config.layer_norm_eps, axis="vision_embed")
        build = lambda k: Block(config, key=k)
        self.embeddings = Embeddings(config, key=keys[0])
        self.pre_layrnorm = norm()
        self.layers = stack(build, layers=config.layers_run, key=keys[1])
        unused = config.num_hidden_layers - config.layers_run
        self.tail = stack(build, layers=unused, key=keys[2]) if unused else None
        self.post_layernorm = norm()
        self.config = config

    def __call__(self, tiles: jax.Array, *, dtype: jnp.dtype, remat: str = "none") -> jax.Array:
        x = constrain(normalise(tiles, self.config).astype(dtype), "tiles", None, None, None)
        x = self.pre_layrnorm(self.embeddings(x))
        x = scan_layers(self.layers, x, body=lambda x, block: block(x), remat=remat)
        return x[:, 1:]


def normalise(tiles: jax.Array, config: CLIPConfig) -> jax.Array:
    """u8[...,3] -> f32[...,3]: rescaled to 0..1, then CLIP's mean and deviation."""
    mean = jnp.asarray(config.image_mean, jnp.float32)
    std = jnp.asarray(config.image_std, jnp.float32)
    return (tiles.astype(jnp.float32) / 255 - mean) / std
