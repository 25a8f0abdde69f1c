"""cuDNN's flash attention, for rows that are one sample each and for the tower.

Its public interface in jax has no segments, so packed rows are refused rather than masked densely.
Its backward pass takes even lengths alone, and a tower has 577 patches: those rows are padded, and
their true length is told.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from sg4v_jax.errors import ConfigError

EVEN = 8  # odd lengths are padded to a multiple of this


def cudnn(
    q: jax.Array,
    k: jax.Array,
    v: jax.Array,
    *,
    causal: bool,
    segments: tuple[jax.Array, jax.Array] | None = None,
) -> jax.Array:
    """`attention` by cuDNN: q [B,N,S,H]; k, v [B,K,S,H] -> [B,N,S,H].

    Raises:
      ConfigError: packed rows, or numbers that are not in half precision.
    """
    if segments is not None:
        raise ConfigError(
            "attention impl 'cudnn' cannot keep packed samples apart",
            mend="use model.attention='xla' on GPU for packed rows",
        )
    if q.dtype.itemsize != 2:
        raise ConfigError(
            f"attention impl 'cudnn' cannot compute in {q.dtype}",
            mend="set model.dtype='bfloat16', or model.attention='xla'",
        )
    rows, _, length, _ = q.shape
    padded = -(-length // EVEN) * EVEN if length % 2 else length
    width = ((0, 0), (0, padded - length), (0, 0), (0, 0))
    lengths = jnp.full((rows,), length, jnp.int32) if padded > length else None
    out = jax.nn.dot_product_attention(
        *(jnp.pad(x.swapaxes(1, 2), width) for x in (q, k, v)),
        is_causal=causal,
        query_seq_lengths=lengths,
        key_value_seq_lengths=lengths,
        implementation="cudnn",
    )
    return out[:, :length].swapaxes(1, 2)
