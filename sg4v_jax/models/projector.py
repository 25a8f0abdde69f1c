"""The projector: tower features to decoder width (LLaVA's `mlp2x_gelu`)."""

from __future__ import annotations

import jax
from flax import nnx

from sg4v_jax.models.layers import ACTIVATIONS, Linear, split_key


class Projector(nnx.Module):
    """Linear, exact GELU, Linear: [..., tower width] -> [..., decoder width]."""

    def __init__(self, inputs: int, outputs: int, *, key: jax.Array):
        keys = jax.random.split(key)
        self.linear_1 = Linear(
            (inputs,), (outputs,), axes=("vision_embed", "none"), bias=True, key=keys[0]
        )
        self.linear_2 = Linear(
            (outputs,), (outputs,), axes=("none", "embed"), bias=True, key=keys[1]
        )

    def __call__(self, x: jax.Array, *, key: jax.Array | None = None) -> jax.Array:
        first, second = split_key(key, 2)
        return self.linear_2(ACTIVATIONS["gelu"](self.linear_1(x, key=first)), key=second)
