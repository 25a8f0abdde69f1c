"""Keys and values of what was read, kept for the tokens to come; in int8 if asked.

Legend: `L` layers, `B` batch, `S` new positions, `C` cache slots, `N` heads, `K` kv heads,
`H` head dim.

The stacked cache rides in the decoder's scan and each layer writes only its own new tokens, in
place. In int8 each head's key and value at a slot has a scale of its own, so that a token is rounded
once, when it is written, and no other token's size matters.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from sg4v_jax.models.attention import attention
from sg4v_jax.models.decode_attention import LARGEST_BLOCK, block_of, decode_attention
from sg4v_jax.models.splash import block_size
from sg4v_jax.sharding import constrain, copies_of_heads, platform

LARGEST = 127  # of int8; -128 is not used, so that the range is symmetric


class KVCache(NamedTuple):
    """Keys and values of every layer and which slots are filled.

    Prompts are right-aligned, so one scalar slot serves the whole batch.
    """

    k: jax.Array  # [L,B,K,C,H], rotated
    v: jax.Array  # [L,B,K,C,H]
    segments: jax.Array  # i32[B,C], 1 = a real token, 0 = padding or not yet written
    slot: jax.Array | int  # i32[], the next slot to write; the number 0 says that all are empty
    scales: tuple[jax.Array, jax.Array] | None = None  # f32[L,B,K,1,C] of int8 keys and values

    @staticmethod
    def empty(config, *, batch: int, slots: int, dtype: jnp.dtype | str) -> KVCache:
        """A cache with nothing in it.

        Args:
          config: a `LlamaConfig`.
          dtype: of keys and values; "int8" keeps a byte and a 128th of a scale a number.
        """
        heads = config.num_key_value_heads * copies_of_heads(config.num_key_value_heads)
        shape = (config.num_hidden_layers, batch, heads, slots)
        k, v = (_placed(jnp.zeros((*shape, config.head_dim), dtype)) for _ in range(2))
        scales = None
        if jnp.dtype(dtype) == jnp.int8:
            scales = tuple(_placed(jnp.zeros((*shape[:3], 1, slots))) for _ in range(2))
        return KVCache(k, v, jnp.zeros((batch, slots), jnp.int32), 0, scales)

    def write(self, k: jax.Array, v: jax.Array, *, layer: jax.Array) -> KVCache:
        """With keys and values [B,K,S,H] of `layer` in the next S slots."""
        if self.scales is None:
            return self._replace(
                k=_put(self.k, k, layer=layer, slot=self.slot),
                v=_put(self.v, v, layer=layer, slot=self.slot),
            )
        (k, k_scale), (v, v_scale) = quantised(k), quantised(v)
        done = self._replace(scales=None).write(k, v, layer=layer)
        at = (layer, 0, 0, 0, self.slot)
        put = lambda old, new: jax.lax.dynamic_update_slice(old, new[None, :, :, None], at)
        return done._replace(scales=(put(self.scales[0], k_scale), put(self.scales[1], v_scale)))

    def attend(
        self, q: jax.Array, k: jax.Array, v: jax.Array, *, layer: jax.Array, segments: jax.Array
    ) -> jax.Array:
        """What queries at the newest slots see: q [B,N,S,H] -> [B,N,S,H].

        `k`, `v` [B,K,S,H] and `segments` i32[B,S] are those just written. A prompt in an empty cache
        looks at these alone; one token streams the cache through a kernel on TPU.
        """
        if isinstance(self.slot, int) and self.slot == 0:
            impl = "auto" if platform() == "tpu" else "xla"
            both = (segments, segments)
            return attention(q, k, v, causal=True, segments=both, impl=impl)
        if q.shape[2] == 1 and platform() == "tpu" and block_of(self.k.shape[3]):
            return decode_attention(
                q,
                self.k,
                self.v,
                scales=self.scales,
                filled=self.segments,
                layer=layer,
                slot=self.slot,
            )
        keys, values = self.of_layer(layer, dtype=q.dtype)
        both = (segments, self.segments)
        return attention(q, keys, values, causal=True, segments=both, start=self.slot, impl="xla")

    def of_layer(self, layer: jax.Array, *, dtype: jnp.dtype) -> tuple[jax.Array, jax.Array]:
        """Keys and values [B,K,C,H] of a layer, in `dtype`."""
        pick = lambda x: jax.lax.dynamic_index_in_dim(x, layer, keepdims=False)
        k, v = pick(self.k), pick(self.v)
        if self.scales is None:
            return k.astype(dtype), v.astype(dtype)
        scales = (pick(s).swapaxes(-1, -2) for s in self.scales)
        k, v = (x.astype(jnp.float32) * s for x, s in zip((k, v), scales, strict=True))
        return k.astype(dtype), v.astype(dtype)


def slots_for(count: int) -> int:
    """Slots to make for `count` tokens: on TPU whole blocks of the decode kernel."""
    if platform() != "tpu":
        return count
    block = block_size(count, largest=LARGEST_BLOCK)
    return -(-count // block) * block


def quantised(x: jax.Array) -> tuple[jax.Array, jax.Array]:
    """[B,K,S,H] as int8 and a scale f32[B,K,S]: `x ~ q * scale`."""
    wide = x.astype(jnp.float32)
    scale = jnp.max(jnp.abs(wide), axis=-1) / LARGEST
    q = jnp.round(wide / jnp.where(scale > 0, scale, 1.0)[..., None])
    return q.astype(jnp.int8), scale


def _put(cache: jax.Array, new: jax.Array, *, layer, slot) -> jax.Array:
    new = new[None].astype(cache.dtype)
    return jax.lax.dynamic_update_slice(cache, new, (layer, 0, 0, slot, 0))


def _placed(x: jax.Array) -> jax.Array:
    return constrain(x, None, "batch", "kv_heads", None, None)
