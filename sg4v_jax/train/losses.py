"""Losses are sums: (total, weight, metric sums); the step adds them up and divides once.

Legend: `B` rows, `S` positions, `L` scored positions.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from sg4v_jax.batch import Batch
from sg4v_jax.models.video_lm import VideoLM
from sg4v_jax.sharding import constrain
from sg4v_jax.train.cross_entropy import chunked_cross_entropy


def next_token_loss(
    model: VideoLM,
    batch: Batch,
    *,
    dtype: jnp.dtype,
    remat: str,
    vocab_chunks: int = 1,
    impl: str = "auto",
    key: jax.Array | None = None,
) -> tuple[jax.Array, jax.Array, dict[str, jax.Array]]:
    """Weighted negative log-likelihood at the scored positions only.

    `key` draws dropout (LoRA's); the step passes a new one for each micro-batch. `impl` as in
    `attention`.

    Returns:
      total: f32[], sum of weight * nll; `weight`: f32[], sum of weights; and sums of metrics,
      `correct` (argmax hits, weighted by 1) over `scored` positions, and `tokens` (positions
      that are not padding).
    """
    hidden = model.hidden(batch, dtype=dtype, remat=remat, impl=impl, key=key)
    at = jnp.maximum(batch.loss_index, 0)
    scored = jnp.take_along_axis(hidden, at[..., None], axis=1)
    scored = constrain(scored, "batch", "position", None)
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
