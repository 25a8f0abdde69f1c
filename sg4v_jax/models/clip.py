"""CLIP's vision tower: tiles in, patch features out. DINOv2 and SigLIP are options of the same one.

Legend: `I` images (tiles), `R` tile side in pixels, `P` patches a tile, `D` tower width,
`N` heads, `H` head dim, `F` ffn. Names follow Hugging Face (`pre_layrnorm` is its spelling).

| | `patch_bias` | `layer_scale` | `pre_norm` | `class_token` | `hidden_act` |
|---|---|---|---|---|---|
| CLIP | no | no | yes | yes | quick_gelu |
| DINOv2 | yes | yes | no | yes | gelu |
| SigLIP | yes | no | no | no | gelu_pytorch_tanh |
"""

from __future__ import annotations

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from sg4v_jax.models.attention import attention
from sg4v_jax.models.layers import (
    ACTIVATIONS,
    INTO_HEADS,
    OUT_OF_HEADS,
    LayerNorm,
    Linear,
    residual_std,
    scan_layers,
    split_key,
    stack,
)
from sg4v_jax.sharding import constrain


@dataclasses.dataclass(frozen=True, kw_only=True)
class CLIPConfig:
    """What a checkpoint defines; the fields with a default are facts of every CLIP."""

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
    patch_bias: bool = False  # of the patch convolution
    layer_scale: bool = False  # a learned factor on what each half of a block adds
    pre_norm: bool = True  # a norm between the embeddings and the first block
    class_token: bool = True
    position_grid: int = 0  # side of the stored position table, resized to `patches`; 0: as those

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
            bias=c.patch_bias,
            key=keys[0],
        )
        first = lambda: nnx.Param(
            std * jax.random.normal(keys[1], (c.hidden_size,)), axes=("vision_embed",)
        )
        self.class_embedding = first() if c.class_token else None
        rows = (c.position_grid or c.patches) ** 2 + c.class_token
        self.position_embedding = nnx.Param(
            std * jax.random.normal(keys[2], (rows, c.hidden_size)), axes=("none", "vision_embed")
        )
        self.patch_size, self.class_token = c.patch_size, c.class_token

    def __call__(self, pixels: jax.Array, *, key: jax.Array | None = None) -> jax.Array:
        """[I,R,R,3] -> [I,1+P,D], class token (if there is one) first, patches row-major."""
        i, side, size = pixels.shape[0], pixels.shape[1], self.patch_size
        n = side // size
        patches = pixels.reshape(i, n, size, n, size, 3).transpose(0, 1, 3, 2, 4, 5)
        x = self.patch_embedding(patches.reshape(i, n * n, size, size, 3), key=key)
        if self.class_embedding is not None:
            first = self.class_embedding[...].astype(x.dtype)
            x = jnp.concatenate([jnp.broadcast_to(first, (i, 1, x.shape[-1])), x], 1)
        table = resize_positions(self.position_embedding[...], side=n, first=self.class_token)
        return x + table.astype(x.dtype)


def resize_positions(table: jax.Array, *, side: int, first: bool) -> jax.Array:
    """A position table [`first` + G*G, D] for `side` x `side` patches: [`first` + side*side, D].

    Bicubic (a = -3/4, half-pixel centres, edges repeated, no antialiasing): what torch's
    `interpolate` and ONNX's `Resize` do for DINOv2. A table of that side already is returned as
    it is. `first`: the class token's row leads and stays.

    1 + 37*37 rows for 16 x 16 patches: 1 + 256 rows, in the dtype of `table`.
    """
    lead, rows = table[: int(first)], table[int(first) :]
    grid = math.isqrt(rows.shape[0])
    if grid == side:
        return table
    weights = bicubic_weights(grid, side)
    square = rows.astype(jnp.float32).reshape(grid, grid, -1)
    resized = jnp.einsum("pi,qj,ijd->pqd", weights, weights, square, precision="highest")
    return jnp.concatenate([lead, resized.reshape(side * side, -1).astype(table.dtype)])


def bicubic_weights(old: int, new: int) -> np.ndarray:
    """f32[new,old]: `weights @ x` resizes `old` samples to `new` (Keys 1981 with a = -3/4)."""
    a = -0.75
    centre = (np.arange(new) + 0.5) * (old / new) - 0.5
    left = np.floor(centre).astype(int)
    weights = np.zeros((new, old))
    for tap in (-1, 0, 1, 2):
        d = np.abs(centre - (left + tap))
        near = ((a + 2) * d - (a + 3)) * d * d + 1
        far = a * (((d - 5) * d + 8) * d - 4)
        at = np.clip(left + tap, 0, old - 1)
        np.add.at(weights, (np.arange(new), at), np.where(d <= 1, near, far))
    return weights.astype(np.float32)


class SelfAttention(nnx.Module):
    """Multi-head attention with biases, over all patches of a tile."""

    def __init__(self, config: CLIPConfig, *, key: jax.Array):
        d, n = config.hidden_size, config.num_attention_heads
        keys = jax.random.split(key, 4)
        project = lambda k: Linear(
            (d,),
            (n, d // n),
            axes=("vision_embed", "none", "none"),
            bias=True,
            key=k,
            spec=INTO_HEADS,
        )
        self.q_proj, self.k_proj, self.v_proj = project(keys[0]), project(keys[1]), project(keys[2])
        self.out_proj = Linear(
            (n, d // n),
            (d,),
            axes=("none", "none", "vision_embed"),
            bias=True,
            key=keys[3],
            std=residual_std(d, layers=config.num_hidden_layers),
            spec=OUT_OF_HEADS,
        )

    def __call__(self, x: jax.Array, *, key: jax.Array | None = None) -> jax.Array:
        q_key, k_key, v_key, out_key = split_key(key, 4)
        q, k, v = self.q_proj(x, key=q_key), self.k_proj(x, key=k_key), self.v_proj(x, key=v_key)
        return self.out_proj(attention(q, k, v, causal=False, rows="tiles"), key=out_key)


class MLP(nnx.Module):
    """Two layers with CLIP's activation."""

    def __init__(self, config: CLIPConfig, *, key: jax.Array):
        d, f, keys = config.hidden_size, config.intermediate_size, jax.random.split(key)
        self.fc1 = Linear((d,), (f,), axes=("vision_embed", "none"), bias=True, key=keys[0])
        std = residual_std(f, layers=config.num_hidden_layers)
        self.fc2 = Linear(
            (f,), (d,), axes=("none", "vision_embed"), bias=True, key=keys[1], std=std
        )
        self.act = config.hidden_act

    def __call__(self, x: jax.Array, *, key: jax.Array | None = None) -> jax.Array:
        first, second = split_key(key, 2)
        return self.fc2(ACTIVATIONS[self.act](self.fc1(x, key=first)), key=second)


class Block(nnx.Module):
    """A pre-norm transformer block."""

    def __init__(self, config: CLIPConfig, *, key: jax.Array):
        keys = jax.random.split(key)
        norm = lambda: LayerNorm(config.hidden_size, eps=config.layer_norm_eps, axis="norm")
        self.layer_norm1, self.layer_norm2 = norm(), norm()
        self.self_attn = SelfAttention(config, key=keys[0])
        self.mlp = MLP(config, key=keys[1])
        scale = lambda: nnx.Param(jnp.ones((config.hidden_size,)), axes=("vision_embed",))
        self.layer_scale1 = scale() if config.layer_scale else None
        self.layer_scale2 = scale() if config.layer_scale else None

    def __call__(self, x: jax.Array, *, key: jax.Array | None = None) -> jax.Array:
        first, second = split_key(key, 2)
        x = x + _scaled(self.self_attn(self.layer_norm1(x), key=first), self.layer_scale1)
        x = x + _scaled(self.mlp(self.layer_norm2(x), key=second), self.layer_scale2)
        return constrain(x, "tiles", None, None)


def _scaled(x: jax.Array, scale: nnx.Param | None) -> jax.Array:
    return x if scale is None else x * scale[...].astype(x.dtype)


class VisionTower(nnx.Module):
    """Tiles u8[I,R,R,3] -> features [I,P,D] of `feature_layer`, a class token dropped.

    `tail` (blocks after the feature layer) and `post_layernorm` never run and get no gradient;
    they are parameters so that a checkpoint goes through unchanged.
    """

    def __init__(self, config: CLIPConfig, *, key: jax.Array):
        keys = jax.random.split(key, 3)
        norm = lambda: LayerNorm(config.hidden_size, eps=config.layer_norm_eps, axis="norm")
        build = lambda k: Block(config, key=k)
        self.embeddings = Embeddings(config, key=keys[0])
        self.pre_layrnorm = norm() if config.pre_norm else None
        self.layers = stack(build, layers=config.layers_run, key=keys[1])
        unused = config.num_hidden_layers - config.layers_run
        self.tail = stack(build, layers=unused, key=keys[2]) if unused else None
        self.post_layernorm = norm()
        self.config = config

    def __call__(
        self,
        tiles: jax.Array,
        *,
        dtype: jnp.dtype,
        remat: str = "none",
        key: jax.Array | None = None,
    ) -> jax.Array:
        first, rest = split_key(key, 2)
        x = constrain(normalise(tiles, self.config).astype(dtype), "tiles", None, None, None)
        x = self.embeddings(x, key=first)
        if self.pre_layrnorm is not None:
            x = self.pre_layrnorm(x)
        body = lambda x, block, key: block(x, key=key)
        x = scan_layers(self.layers, x, body=body, remat=remat, key=rest)
        return x[:, int(self.config.class_token) :]


def normalise(tiles: jax.Array, config: CLIPConfig) -> jax.Array:
    """u8[...,3] -> f32[...,3]: rescaled to 0..1, then CLIP's mean and deviation."""
    mean = jnp.asarray(config.image_mean, jnp.float32)
    std = jnp.asarray(config.image_std, jnp.float32)
    return (tiles.astype(jnp.float32) / 255 - mean) / std
