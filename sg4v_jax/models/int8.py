"""Weights in int8 for inference: `W ~ q * scale`, one f32 scale an output channel (symmetric).

Legend: `L` layers, `I` inputs, `O` outputs, `V` vocabulary, `D` width.

Only weights are rounded: a product is of activations in their own dtype with `q`, which that dtype
holds exactly, and the scale multiplies its result. Norms, biases, tables of positions stay.
Kept libraries were looked at: qwix and aqt quantise by intercepting the products of Flax modules
while they are called, with variables of their own, which plain pytrees in a scan do not have.
"""

from __future__ import annotations

from collections.abc import Mapping

import jax
import jax.numpy as jnp
from flax import nnx

from sg4v_jax.models.layers import Linear
from sg4v_jax.models.llama import Llama

LARGEST = 127  # -128 is not used, so that the range is symmetric


def quantise(x: jax.Array, *, axes: tuple[int, ...]) -> tuple[jax.Array, jax.Array]:
    """`x` as (int8 of its shape, f32 scales of its shape without `axes`).

    `axes` are those that a product sums over. A channel of zeros gets scale 0.

    [[1.0, 0.02], [-2.0, 0.01]] over axis 0 -> [[64, 127], [-127, 64]] and [2/127, 0.02/127]
    """
    wide = x.astype(jnp.float32)
    scale = jnp.max(jnp.abs(wide), axis=axes, keepdims=True) / LARGEST
    q = jnp.round(wide / jnp.where(scale > 0, scale, 1.0))
    return q.astype(jnp.int8), jnp.squeeze(scale, axes)


def attach(model: nnx.Module) -> nnx.Module:
    """A copy of `model` with its `Linear`s and vocabulary table in int8; for `skeleton`, too.

    A kernel [L?,*I,*O] becomes int8 and gets `kernel_scale` [L?,*O]; `llm.embed_tokens` [V,D] gets
    `llm.embed_scale` [V], which serves a tied head as well. Low-rank branches are merged before.
    """
    stop = lambda x: isinstance(x, Linear)
    copy = jax.tree.map(lambda x: _linear(x) if stop(x) else x, model, is_leaf=stop)
    if (llm := _decoder(copy)) is not None:
        table = llm.embed_tokens
        q, scale = quantise(table[...], axes=(1,))
        axes = table.get_metadata()["axes"]
        llm.embed_tokens, llm.embed_scale = nnx.Param(q, axes=axes), nnx.Param(scale, axes=axes[:1])
    return copy


def params(
    flat: dict[str, jax.Array], model: nnx.Module, *, dtype: jnp.dtype | str
) -> dict[str, jax.Array]:
    """Parameters by path as `attach(model)` has them, the unrounded ones in `dtype`.

    Each array is taken out of `flat` as it is done, so that no two copies of the model are held.
    `model` may be abstract.
    """
    axes = summed_axes(model)
    done = {}
    for path in list(flat):
        value = flat.pop(path)
        if path in axes:
            name = path.removesuffix("kernel") + "kernel_scale"
            name = name if path.endswith("kernel") else path.replace("embed_tokens", "embed_scale")
            done[path], done[name] = _jitted(value, axes=axes[path])
        else:
            done[path] = value.astype(dtype)
    return done


def summed_axes(model: nnx.Module) -> Mapping[str, tuple[int, ...]]:
    """Path of each array that `attach` rounds -> the axes that its product sums over.

    `llm.layers.mlp.up_proj.kernel` [30,576,1536] -> (1,); `llm.embed_tokens` [V,D] -> (1,)
    """
    stop = lambda x: isinstance(x, Linear)
    found = {}
    for keys, leaf in jax.tree_util.tree_leaves_with_path(model, is_leaf=stop):
        if stop(leaf):
            path = ".".join(str(getattr(k, "name", getattr(k, "key", k))) for k in keys)
            found[f"{path}.kernel"] = _axes(leaf)
    if _decoder(model) is not None:
        found["embed_tokens" if isinstance(model, Llama) else "llm.embed_tokens"] = (1,)
    return found


_jitted = jax.jit(quantise, static_argnames="axes")


def _decoder(model: nnx.Module) -> Llama | None:
    return model if isinstance(model, Llama) else getattr(model, "llm", None)


def _axes(linear: Linear) -> tuple[int, ...]:
    first = linear.kernel.ndim - len(linear.kernel.get_metadata()["axes"])  # 1 in a stack
    return tuple(range(first, first + linear.contracted))


def _linear(linear: Linear) -> Linear:
    axes = linear.kernel.get_metadata()["axes"]
    q, scale = quantise(linear.kernel[...], axes=_axes(linear))
    made = jax.tree.map(lambda x: x, linear)  # a new module with the same parameters
    made.kernel = nnx.Param(q, axes=axes)
    made.kernel_scale = nnx.Param(scale, axes=axes[linear.contracted :])
    return made
