"""The Llama decoder (Llama 3, SmolLM2, and small ones), scanned over stacked layers.

Legend: `B` batch, `S` positions, `C` cache slots, `L` layers, `D` width, `N` heads, `K` kv heads,
`H` head dim, `F` ffn, `V` vocabulary.
"""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jax.ad_checkpoint import checkpoint_name

from sg4v_jax.models.attention import attention
from sg4v_jax.models.embedding import lookup
from sg4v_jax.models.layers import (
    INTO_HEADS,
    OUT_OF_HEADS,
    Linear,
    RMSNorm,
    residual_std,
    scan_layers,
    split_key,
    stack,
)
from sg4v_jax.models.rope import angles, rotate
from sg4v_jax.sharding import constrain


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


class KVCache(NamedTuple):
    """Keys and values of every layer and which slots are filled.

    Prompts are right-aligned, so one scalar slot serves the whole batch.
    """

    k: jax.Array  # [L,B,K,C,H], rotated
    v: jax.Array  # [L,B,K,C,H]
    segments: jax.Array  # i32[B,C], 1 = a real token, 0 = padding or not yet written
    slot: jax.Array  # i32[], the next slot to write

    @staticmethod
    def empty(config: LlamaConfig, *, batch: int, slots: int, dtype: jnp.dtype) -> KVCache:
        """A cache with nothing in it."""
        shape = (config.num_hidden_layers, batch, config.num_key_value_heads, slots)
        zeros = jnp.zeros((*shape, config.head_dim), dtype)
        return KVCache(zeros, zeros, jnp.zeros((batch, slots), jnp.int32), jnp.int32(0))


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
        """[B,S,D] -> rotated q [B,N,S,H], rotated k [B,K,S,H], v [B,K,S,H]."""
        q_key, k_key, v_key = split_key(key, 3)
        q = rotate(self.q_proj(x, key=q_key), cos_sin)
        k = rotate(self.k_proj(x, key=k_key), cos_sin)
        v = self.v_proj(x, key=v_key)
        return checkpoint_name(q, "q"), checkpoint_name(k, "k"), checkpoint_name(v, "v")


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
        gated = jax.nn.silu(self.gate_proj(x, key=gate_key)) * self.up_proj(x, key=up_key)
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

        def body(carry, block, _):
            x, keys, values, layer = carry
            q, k, v = block.self_attn.qkv(block.input_layernorm(x), turn)
            at = (layer, 0, 0, cache.slot, 0)
            keys = jax.lax.dynamic_update_slice(keys, k[None].astype(keys.dtype), at)
            values = jax.lax.dynamic_update_slice(values, v[None].astype(values.dtype), at)
            mixed = attention(
                q,
                jax.lax.dynamic_index_in_dim(keys, layer, keepdims=False).astype(q.dtype),
                jax.lax.dynamic_index_in_dim(values, layer, keepdims=False).astype(q.dtype),
                causal=True,
                segments=(segments, filled),
                start=cache.slot,
                impl="xla",
            )
            return block.feed_forward(x + block.self_attn.o_proj(mixed)), keys, values, layer + 1

        carry = (x, cache.k, cache.v, jnp.int32(0))
        x, keys, values, _ = scan_layers(self.layers, carry, body=body, remat="none")
        return self.norm(x), KVCache(keys, values, filled, cache.slot + x.shape[1])

    def _angles(self, positions: jax.Array) -> tuple[jax.Array, jax.Array]:
        return angles(positions, head_dim=self.config.head_dim, theta=self.config.rope_theta)
