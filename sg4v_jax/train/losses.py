"""Losses are sums: (total, weight, metric sums); the step adds them up and divides once.

Legend: `B` rows, `S` positions, `L` scored positions, `D` width, `V` vocabulary.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from sg4v_jax.batch import Batch
from sg4v_jax.models.video_lm import VideoLM


def next_token_loss(
    model: VideoLM,
    batch: Batch,
    *,
    dtype: jnp.dtype,
    remat: str,
    vocab_chunks: int = 1,
    key: jax.Array | None = None,
) -> tuple[jax.Array, jax.Array, dict[str, jax.Array]]:
    """Weighted negative log-likelihood at the scored positions only.

    `key` draws dropout (LoRA's); the step passes a new one for each micro-batch.

    Returns:
      total: f32[], sum of weight * nll; `weight`: f32[], sum of weights; and sums of metrics,
      `correct` (argmax hits, weighted by 1) over `scored` positions, and `tokens` (positions
      that are not padding).
    """
    hidden = model.hidden(batch, dtype=dtype, remat=remat, key=key)
    at = jnp.maximum(batch.loss_index, 0)
    scored = jnp.take_along_axis(hidden, at[..., None], axis=1)
    head = model.llm.head().astype(dtype)
    nll, hit = chunked_cross_entropy(scored, head, targets=batch.targets, chunks=vocab_chunks)
    counted = (batch.loss_index >= 0) & (batch.loss_weights > 0)
    weights = jnp.where(counted, batch.loss_weights, 0.0)
    metrics = {
        "correct": jnp.sum(hit & counted, dtype=jnp.float32),
        "scored": jnp.sum(counted, dtype=jnp.float32),
        "tokens": jnp.sum(batch.segments > 0, dtype=jnp.float32),
        "samples": jnp.sum(batch.segments.max(-1), dtype=jnp.float32),
    }
    return jnp.sum(weights * nll), jnp.sum(weights), metrics


def chunked_cross_entropy(
    hidden: jax.Array, head: jax.Array, *, targets: jax.Array, chunks: int
) -> tuple[jax.Array, jax.Array]:
    """Negative log-likelihood of `targets` without ever holding all [B,L,V] logits.

    The vocabulary is cut into `chunks` static slices; a running maximum and sum of exponentials
    joins them, and the backward pass recomputes each slice's logits.

    Args:
      hidden: [B,L,D]; head: [D,V]; targets: i32[B,L].

    Returns:
      nll f32[B,L], and bool[B,L]: whether the target has the largest logit.
    """
    size = -(-head.shape[1] // chunks)
    shape = targets.shape
    largest = jnp.full(shape, -jnp.inf, jnp.float32)
    total = jnp.zeros(shape, jnp.float32)
    target_logit = jnp.zeros(shape, jnp.float32)

    @jax.checkpoint
    def one(largest, total, target_logit, piece, first):
        logits = jnp.einsum("bld,dv->blv", hidden, piece, preferred_element_type=jnp.float32)
        top = jax.lax.stop_gradient(jnp.maximum(largest, logits.max(-1)))
        total = total * jnp.exp(largest - top) + jnp.exp(logits - top[..., None]).sum(-1)
        local = targets - first
        inside = (local >= 0) & (local < piece.shape[1])
        index = jnp.clip(local, 0, piece.shape[1] - 1)
        here = jnp.take_along_axis(logits, index[..., None], axis=-1)[..., 0]
        return top, total, jnp.where(inside, here, target_logit)

    for first in range(0, head.shape[1], size):
        piece = head[:, first : first + size]
        largest, total, target_logit = one(largest, total, target_logit, piece, first)
    return jnp.log(total) + largest - target_logit, target_logit >= largest
