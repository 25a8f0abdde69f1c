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
    """Rotates pairs `(x[i], x[i + H/2])` of `x` [B,N,S,H] by the angles of `angles`."""
    cos, sin = (turn.swapaxes(1, 2) for turn in cos_sin)
    first, second = jnp.split(x.astype(jnp.float32), 2, axis=-1)
    rotated = (first * cos - second * sin, second * cos + first * sin)
    return jnp.concatenate(rotated, axis=-1).astype(x.dtype)
