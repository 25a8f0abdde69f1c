"""Rotary position embedding, half-split layout (Hugging Face's `rotate_half`).

Legend: `B` batch, `S` positions, `N` heads, `H` head dim (even).
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np


def angles(positions: jax.Array, *, head_dim: int, theta: float) -> tuple[jax.Array, jax.Array]:
    """Cosine and sine, f32[B,S,1,H/2], of `position * theta**(-2i/H)`.

    Everything is f32 and elementwise: bf16 turns position 257 into 256, and a matmul at default
    precision does the same on an accelerator.
    """
    # On the host, with the power in f64: the bits that transformers has. A compiled f32 power is
    # one step off in some frequencies, which at position 8191 is 5e-4 radians.
    exponent = np.arange(0, head_dim, 2, dtype=np.float32) / np.float32(head_dim)
    frequency = 1 / (theta ** exponent.astype(np.float64)).astype(np.float32)
    angle = positions.astype(jnp.float32)[..., None, None] * frequency
    return jnp.cos(angle), jnp.sin(angle)


def rotate(x: jax.Array, cos_sin: tuple[jax.Array, jax.Array]) -> jax.Array:
    """Rotates pairs `(x[i], x[i + H/2])` of `x` [B,N,S,H] by the angles of `angles`.

    `x * cos + swapped * sin`, where the product with a permutation swaps the halves (exactly): on a
    TPU one fusion, while cutting the lanes in two and joining them takes three passes over memory.
    """
    cos, sin = (turn.swapaxes(1, 2) for turn in cos_sin)
    cos, sin = jnp.concatenate([cos, cos], -1), jnp.concatenate([-sin, sin], -1)
    size = x.shape[-1]
    swap = jnp.asarray(np.roll(np.eye(size), size // 2, axis=1), x.dtype)
    swapped = jax.lax.dot_general(
        x,
        swap,
        (((3,), (0,)), ((), ())),
        precision=jax.lax.Precision.HIGHEST,
        preferred_element_type=jnp.float32,
    )
    return (x.astype(jnp.float32) * cos + swapped * sin).astype(x.dtype)
