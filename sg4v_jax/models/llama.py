"""The Llama decoder (Llama 3, SmolLM2, and small ones), scanned over stacked layers.

Legend: `B` batch, `S` positions, `C` cache slots, `L` layers, `D` width, `N` heads, `K` kv heads,
`H` head dim, `F` ffn, `V` vocabulary.
"""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
from flax import nnx
from jax.ad_checkpoint import checkpoint_name

from sg4v_jax.models.attention import attention
from sg4v_jax.models.embedding import lookup
from sg4v_jax.models.kv_cache import KVCache
from sg4v_jax.models.layers import (
    INTO_HEADS,
    OUT_OF_HEADS,
    Linear,
    RMSNorm,
    repeated,
    residual_std,
    scan_layers,
    split_key,
    stack,
)
from sg4v_jax.models.rope import angles, rotate
from sg4v_jax.sharding import constrain, copies_of_heads


@dataclasses.dataclass(frozen=True, kw_only=True)
class LlamaConfig:
    """What a checkpoint defines; nothing here has a default (a dropped RoPE base is silent)."""

    vocab_size: int
    hidden_size: int
    intermediate_size: int
    num_hidden_layers: int
    num_attention_heads: int
    num_key_value_heads: int
    head_dim: int
    rope_theta: float
    rms_norm_eps: float
    max_position_embeddings: int
    tie_word_embeddings: bool


class SelfAttention(nnx.Module):
    """Grouped-query attention with rotary positions, no biases."""

    def __init__(self, config: LlamaConfig, *, key: jax.Array):
        c, keys = config, jax.random.split(key, 4)
        d, n, kv, h = c.hidden_size, c.num_attention_heads, c.num_key_value_heads, c.head_dim
        project = lambda count, axis, key: Linear(
            (d,), (count, h), axes=("embed", axis, "none"), bias=False, key=key, spec=INTO_HEADS
        )
        self.q_proj = project(n, "heads", keys[0])
        self.k_proj = project(kv, "kv_heads", keys[1])
        self.v_proj = project(kv, "kv_heads", keys[2])
        self.o_proj = Linear(
            (n, h),
            (d,),
            axes=("heads", "none", "embed"),
            bias=False,
            key=keys[3],
            std=residual_std(n * h, layers=c.num_hidden_layers),
            spec=OUT_OF_HEADS,
        )

    def qkv(
        self, x: jax.Array, cos_sin, *, key: jax.Array | None = None
    ) -> tuple[jax.Array, jax.Array, jax.Array]:
        """[B,S,D] -> rotated q [B,N,S,H], rotated k [B,K,S,H], v [B,K,S,H].

        Where `tensor` is a multiple of the kv heads, `K` is `tensor`: each device makes the one head
        that its queries need.
        """
        q_key, k_key, v_key = split_key(key, 3)
        copies = copies_of_heads(self.k_proj.kernel.shape[-2])
        k_proj, v_proj = (repeated(p, "kv_heads", copies) for p in (self.k_proj, self.v_proj))
        q, k = rotate(self.q_proj(x, key=q_key), cos_sin), rotate(k_proj(x, key=k_key), cos_sin)
        return q, k, v_proj(x, key=v_key)


class MLP(nnx.Module):
    """SwiGLU: `down(silu(gate(x)) * up(x))`."""

    def __init__(self, config: LlamaConfig, *, key: jax.Array):
        d, f, keys = config.hidden_size, config.intermediate_size, jax.random.split(key, 3)
        self.gate_proj = Linear((d,), (f,), axes=("embed", "ffn"), bias=False, key=keys[0])
        self.up_proj = Linear((d,), (f,), axes=("embed", "ffn"), bias=False, key=keys[1])
        std = residual_std(f, layers=config.num_hidden_layers)
        self.down_proj = Linear((f,), (d,), axes=("ffn", "embed"), bias=False, key=keys[2], std=std)

    def __call__(self, x: jax.Array, *, key: jax.Array | None = None) -> jax.Array:
        gate_key, up_key, down_key = split_key(key, 3)
        gate = checkpoint_name(self.gate_proj(x, key=gate_key), "gate")
        gated = jax.nn.silu(gate) * self.up_proj(x, key=up_key)
        return self.down_proj(gated, key=down_key)


class Block(nnx.Module):
    """A pre-norm decoder block; `mix` is the attention step, given by the caller."""

    def __init__(self, config: LlamaConfig, *, key: jax.Array):
        keys = jax.random.split(key)
        norm = lambda: RMSNorm(config.hidden_size, eps=config.rms_norm_eps, axis="norm")
        self.input_layernorm, self.post_attention_layernorm = norm(), norm()
        self.self_attn = SelfAttention(config, key=keys[0])
        self.mlp = MLP(config, key=keys[1])

    def feed_forward(self, x: jax.Array, *, key: jax.Array | None = None) -> jax.Array:
        x = x + self.mlp(self.post_attention_layernorm(x), key=key)
        return constrain(x, "batch", "position", None)


class Llama(nnx.Module):
    """Embeddings in, hidden states out; the vocabulary head is applied by the caller where needed."""

    def __init__(self, config: LlamaConfig, *, key: jax.Array):
        c, keys = config, jax.random.split(key, 3)
        self.embed_tokens = nnx.Param(
            c.hidden_size**-0.5 * jax.random.normal(keys[0], (c.vocab_size, c.hidden_size)),
            axes=("vocab", "table"),
        )
        self.layers = stack(lambda k: Block(c, key=k), layers=c.num_hidden_layers, key=keys[1])
        self.norm = RMSNorm(c.hidden_size, eps=c.rms_norm_eps, axis="norm")
        self.lm_head = (
            None
            if c.tie_word_embeddings
            else Linear(
                (c.hidden_size,), (c.vocab_size,), axes=("table", "vocab"), bias=False, key=keys[2]
            )
        )
        self.embed_scale = nnx.data(None)  # f32[V] of an int8 table (`int8.py`)
        self.config = c

    def embed(self, tokens: jax.Array, *, dtype: jnp.dtype) -> jax.Array:
        """i32[B,S] -> [B,S,D]."""
        if self.embed_scale is None:
            return lookup(self.embed_tokens[...], tokens, dtype=dtype)
        rows = lookup(self.embed_tokens[...], tokens, dtype=jnp.float32)
        return (rows * self.embed_scale[...][tokens][..., None]).astype(dtype)

    def head(self) -> jax.Array:
        """The vocabulary projection, [D,V]."""
        matrix, scale = self._head()
        return matrix if scale is None else matrix * scale

    def logits(self, hidden: jax.Array) -> jax.Array:
        """[...,D] -> f32[...,V]."""
        matrix, scale = self._head()
        matrix = matrix.astype(hidden.dtype)
        logits = jnp.matmul(hidden, matrix, preferred_element_type=jnp.float32)
        return logits if scale is None else logits * scale

    def _head(self) -> tuple[jax.Array, jax.Array | None]:
        """The projection as it is stored, and the scales [V] of one in int8."""
        tied = self.lm_head is None
        matrix = self.embed_tokens[...].T if tied else self.lm_head.kernel[...]
        scale = self.embed_scale if tied else self.lm_head.kernel_scale
        return matrix, None if scale is None else scale[...]

    def __call__(
        self,
        x: jax.Array,
        *,
        positions: jax.Array,
        segments: jax.Array,
        remat: str = "none",
        impl: str = "auto",
        key: jax.Array | None = None,
    ) -> jax.Array:
        """Whole rows: [B,S,D], positions and segments i32[B,S] -> normalised hidden [B,S,D].

        `key` draws dropout (None: there is none).
        """
        turn = self._angles(positions)

        def body(x, block, key):
            qkv_key, o_key, mlp_key = split_key(key, 3)
            q, k, v = block.self_attn.qkv(block.input_layernorm(x), turn, key=qkv_key)
            mixed = attention(q, k, v, causal=True, segments=(segments, segments), impl=impl)
            out = checkpoint_name(block.self_attn.o_proj(mixed, key=o_key), "o")
            return block.feed_forward(x + out, key=mlp_key)

        x = constrain(x, "batch", "position", None)
        return self.norm(scan_layers(self.layers, x, body=body, remat=remat, key=key))

    def extend(
        self, x: jax.Array, *, positions: jax.Array, segments: jax.Array, cache: KVCache
    ) -> tuple[jax.Array, KVCache]:
        """Runs [B,S,D] at the cache's next S slots: prefill (S = prompt) or decode (S = 1).

        Returns the normalised hidden states and the longer cache. The stacked cache rides in the
        scan's carry and each layer writes only its own new tokens, in place.
        """
        turn = self._angles(positions)
        filled = jax.lax.dynamic_update_slice(cache.segments, segments, (0, cache.slot))
        cache = cache._replace(segments=filled)

        def body(carry, block, _):
            x, (k, v, scales), layer = carry
            now = cache._replace(k=k, v=v, scales=scales)
            q, k, v = block.self_attn.qkv(block.input_layernorm(x), turn)
            now = now.write(k, v, layer=layer)
            mixed = now.attend(q, k, v, layer=layer, segments=segments)
            x = block.feed_forward(x + block.self_attn.o_proj(mixed))
            return x, (now.k, now.v, now.scales), layer + 1

        carry = (x, (cache.k, cache.v, cache.scales), jnp.int32(0))
        x, (k, v, scales), _ = scan_layers(self.layers, carry, body=body, remat="none")
        return self.norm(x), KVCache(k, v, filled, jnp.int32(cache.slot) + x.shape[1], scales)

    def _angles(self, positions: jax.Array) -> tuple[jax.Array, jax.Array]:
        return angles(positions, head_dim=self.config.head_dim, theta=self.config.rope_theta)
