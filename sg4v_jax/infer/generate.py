"""Prefill and decode with static shapes: one compilation a (batch, prompt, answer) bucket.

Legend: `B` prompts, `S` prompt bucket, `M` new tokens at most, `C` = S + M cache slots, `V` vocabulary.
Prompts are right-aligned in their bucket, so that the slot to write is one scalar for the batch.
"""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from sg4v_jax.batch import Batch
from sg4v_jax.models.kv_cache import KVCache, slots_for
from sg4v_jax.models.video_lm import VideoLM


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sampling:
    """How the next token is chosen. Temperature 0 takes the most likely one."""

    temperature: float = 0.0
    top_p: float = 1.0
    seed: int = 0


class DecodeState(NamedTuple):
    """What the decode loop carries from token to token."""

    cache: KVCache
    logits: jax.Array  # f32[B,V] of the next token
    position: jax.Array  # i32[B] of the next token
    tokens: jax.Array  # i32[B,M] said so far, 0 beyond
    done: jax.Array  # bool[B]
    count: jax.Array  # i32[] tokens said


def right_align(batch: Batch) -> Batch:
    """Moves each row's tokens to the end of the bucket (loss fields are left alone).

    >>> segments [[1, 1, 0, 0]] -> [[0, 0, 1, 1]]
    """
    shift = (batch.segments == 0).sum(-1)
    at = (np.arange(batch.tokens.shape[1])[None, :] - shift[:, None]) % batch.tokens.shape[1]
    moved = {
        name: np.take_along_axis(getattr(batch, name), at, axis=1)
        for name in ("tokens", "visual_index", "positions", "segments")
    }
    return batch._replace(**moved)


def prefill(
    model: VideoLM,
    batch: Batch,
    *,
    slots: int,
    dtype: jnp.dtype,
    kv_dtype: jnp.dtype | str | None = None,
) -> DecodeState:
    """Runs right-aligned prompts [B,S] and makes ready for the first new token.

    Args:
      slots: `C`, room for the prompt and the answer.
      kv_dtype: of the cache; None is `dtype`, "int8" halves what bf16 takes.
    """
    table = model.visual_table(batch.tiles, dtype=dtype)
    x = model.splice(batch.tokens, batch.visual_index, table)
    b, s = batch.tokens.shape
    cache = KVCache.empty(
        model.llm.config, batch=b, slots=slots_for(slots), dtype=kv_dtype or dtype
    )
    hidden, cache = model.llm.extend(
        x, positions=batch.positions, segments=batch.segments, cache=cache
    )
    return DecodeState(
        cache=cache,
        logits=model.llm.logits(hidden[:, -1]),
        position=batch.positions[:, -1] + 1,
        tokens=jnp.zeros((b, slots - s), jnp.int32),
        done=jnp.zeros((b,), bool),
        count=jnp.int32(0),
    )


def decode_one(
    model: VideoLM,
    state: DecodeState,
    *,
    key: jax.Array,
    eos: tuple[int, ...],
    greedy: bool,
    temperature: jax.Array,
    top_p: jax.Array,
    dtype: jnp.dtype,
) -> DecodeState:
    """Says one token in every unfinished row and runs the decoder on it."""
    if greedy:
        token = jnp.argmax(state.logits, axis=-1).astype(jnp.int32)
    else:
        step_key = jax.random.fold_in(key, state.count)
        token = sample(state.logits, key=step_key, temperature=temperature, top_p=top_p)
    token = jnp.where(state.done, 0, token)
    tokens = state.tokens.at[:, state.count].set(token)
    ended = jnp.isin(token, jnp.asarray(eos, jnp.int32))
    # A finished row goes on writing, into slots marked as padding that nobody reads.
    alive = (~state.done).astype(jnp.int32)
    hidden, cache = model.llm.extend(
        model.llm.embed(token[:, None], dtype=dtype),
        positions=state.position[:, None],
        segments=alive[:, None],
        cache=state.cache,
    )
    return DecodeState(
        cache=cache,
        logits=model.llm.logits(hidden[:, -1]),
        position=state.position + 1,
        tokens=tokens,
        done=state.done | ended,
        count=state.count + 1,
    )


def decode(model: VideoLM, state: DecodeState, **options) -> jax.Array:
    """Says tokens until every row has said one of `eos` or the room is full: i32[B,M]."""

    def unfinished(state: DecodeState) -> jax.Array:
        return (state.count < state.tokens.shape[1]) & ~state.done.all()

    return jax.lax.while_loop(unfinished, lambda s: decode_one(model, s, **options), state).tokens


def sample(
    logits: jax.Array, *, key: jax.Array, temperature: jax.Array, top_p: jax.Array
) -> jax.Array:
    """Draws from softmax(logits / temperature), cut to the smallest set of mass `top_p`.

    The most likely token always stays in the set (nucleus sampling, Holtzman et al. 2020).

    Args:
      logits: f32[B,V].

    Returns:
      i32[B].
    """
    scaled = logits / temperature
    order = jnp.argsort(-scaled, axis=-1)
    ranked = jnp.take_along_axis(scaled, order, axis=-1)
    mass = jnp.cumsum(jax.nn.softmax(ranked, axis=-1), axis=-1)
    before = jnp.concatenate([jnp.zeros_like(mass[:, :1]), mass[:, :-1]], axis=-1)
    kept = jnp.where(before < top_p, ranked, -jnp.inf)
    kept = kept.at[:, 0].set(ranked[:, 0])
    choice = jax.random.categorical(key, kept, axis=-1)
    return jnp.take_along_axis(order, choice[:, None], axis=-1)[:, 0].astype(jnp.int32)
