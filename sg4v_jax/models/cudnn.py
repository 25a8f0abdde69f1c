"""cuDNN's flash attention, for rows that are one sample each and for the tower.

Its public interface in jax has no segments, so packed rows are refused rather than masked densely.
"""

from __future__ import annotations

import jax

from sg4v_jax.errors import ConfigError


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
    out = jax.nn.dot_product_attention(
        *(x.swapaxes(1, 2) for x in (q, k, v)), is_causal=causal, implementation="cudnn"
    )
    return out.swapaxes(1, 2)
