"""Small parts shared by the tower and the decoder, and the rules of the module dialect.

Legend: `...` any leading axes, `I` inputs, `O` outputs, `D` model width, `L` layers,
`r` LoRA rank.

The dialect: modules are plain pytrees of parameters.
1. No RNG, counter or cache lives in a module: keys, KV caches, step numbers are arguments.
   `key=None` means no dropout; `split_key` hands keys (or None) down to the parts.
2. Only `jax.*` transforms act on modules; intermediates are returned, never sown.
3. Layers of one kind are one stacked module (`stack`) run by `lax.scan`; the body returns its carry.
4. Every parameter names its logical axes (`axes=`); `sharding.RULES` maps them to a mesh.
5. Trainable or frozen is decided by parameter path, outside (`train/optim.py`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
from flax import nnx

from sg4v_jax.models.dropout import dropout
from sg4v_jax.sharding import gathered

# `Linear`s of attention: heads stand before positions, as the kernels want them.
INTO_HEADS, OUT_OF_HEADS = "bsd,dnh->bnsh", "bnsh,nhd->bsd"


class Linear(nnx.Module):
    """`y = x W + b` over the last axes of `x`; computes in the dtype of `x`.

    `lora.attach` gives it a low-rank branch, `+ scaling * (dropout(x) A) B`; without one it costs
    nothing.

    Args:
      inputs: sizes of the contracted axes; `outputs`: sizes of the new axes. Attention uses
        `inputs=(D,), outputs=(N, H)`, so that heads are an axis that can be sharded.
      axes: a logical name for each of `inputs + outputs`.
      spec: an einsum of `x` and the kernel for other places of the axes than [...,*I] -> [...,*O]:
        "bsd,dnh->bnsh" puts heads before positions, where attention wants them.
    """

    def __init__(
        self,
        inputs: Sequence[int],
        outputs: Sequence[int],
        *,
        axes: Sequence[str],
        bias: bool,
        key: jax.Array,
        std: float | None = None,
        spec: str | None = None,
    ):
        std = 1 / math.sqrt(math.prod(inputs)) if std is None else std
        shape = (*inputs, *outputs)
        self.kernel = nnx.Param(std * jax.random.normal(key, shape, jnp.float32), axes=tuple(axes))
        self.bias = (
            nnx.Param(jnp.zeros(tuple(outputs), jnp.float32), axes=tuple(axes[len(inputs) :]))
            if bias
            else None
        )
        self.contracted, self.spec = len(inputs), spec
        # The names are declared as data, so that a module can be adapted after it is built.
        self.lora_a, self.lora_b = nnx.data(None), nnx.data(None)  # [*I,r], [r,*O]
        self.kernel_scale = nnx.data(None)  # f32[*O] of an int8 kernel (`int8.py`)
        self.scaling, self.dropout = 1.0, 0.0

    def __call__(self, x: jax.Array, *, key: jax.Array | None = None) -> jax.Array:
        """[...,*I] -> [...,*O]; `key` draws the LoRA branch's dropout, None for inference."""
        y = _contract(x, self._whole("kernel", x.dtype), axes=self.contracted, spec=self.spec)
        if self.kernel_scale is not None:
            scale = _beside(self.kernel_scale[...], self.spec)
            y = (y.astype(jnp.float32) * scale).astype(x.dtype)
        if self.lora_a is not None:
            y = y + self.scaling * self._low_rank(dropout(x, rate=self.dropout, key=key))
        return y if self.bias is None else y + _beside(self._whole("bias", x.dtype), self.spec)

    def _low_rank(self, x: jax.Array) -> jax.Array:
        a, b = self._whole("lora_a", x.dtype), self._whole("lora_b", x.dtype)
        if self.spec is None:
            return _contract(_contract(x, a, axes=self.contracted), b, axes=1)
        into, kernel, out = _letters(self.spec)
        summed = kernel[: self.contracted]
        kept = "".join(c for c in into if c not in summed)
        low = jnp.einsum(f"{into},{summed}r->{kept}r", x, a)
        return jnp.einsum(f"{kept}r,r{kernel[self.contracted :]}->{out}", low, b)

    def _whole(self, name: str, dtype) -> jax.Array:
        """A parameter in `dtype`, gathered along the axes that only store it in parts."""
        variable = getattr(self, name)
        return gathered(variable[...].astype(dtype), *variable.get_metadata()["axes"])


def repeated(linear: Linear, axis: str, copies: int) -> Linear:
    """`linear` with each entry of its logical output `axis` made `copies` times, side by side."""
    if copies == 1:
        return linear
    made = jax.tree.map(lambda x: x, linear)  # a new module with the same parameters
    for name in ("kernel", "bias", "lora_b", "kernel_scale"):
        if (variable := getattr(linear, name)) is not None:
            axes = variable.get_metadata()["axes"]
            value = jnp.repeat(variable[...], copies, axis=axes.index(axis))
            setattr(made, name, nnx.Param(value, axes=axes))
    return made


def _letters(spec: str) -> tuple[str, str, str]:
    """ "bsd,dnh->bnsh" -> ("bsd", "dnh", "bnsh")"""
    operands, out = spec.split("->")
    return (*operands.split(","), out)


def _beside(x: jax.Array, spec: str | None) -> jax.Array:
    """`x` [*O] with axes of 1 where the product of `spec` has axes that the kernel has not."""
    if spec is None:
        return x
    _, kernel, out = _letters(spec)
    own = iter(x.shape)
    return x.reshape([next(own) if c in kernel else 1 for c in out])


def _contract(x: jax.Array, kernel: jax.Array, *, axes: int, spec: str | None = None) -> jax.Array:
    """The last `axes` axes of `x` with the first of `kernel`, or the einsum `spec` of both."""
    if spec is not None:
        return jnp.einsum(spec, x, kernel)
    last = tuple(range(x.ndim - axes, x.ndim))
    return jax.lax.dot_general(x, kernel, ((last, tuple(range(axes))), ((), ())))


def split_key(key: jax.Array | None, count: int) -> Sequence[jax.Array | None]:
    """`count` independent keys; as many None for None, which is what inference passes."""
    return (None,) * count if key is None else jax.random.split(key, count)


def residual_std(fan_in: int, *, layers: int) -> float:
    """Initial deviation of a matrix that writes to the residual stream.

    `layers` blocks write twice each, so that the stream keeps its size from end to end (GPT-2).
    """
    return 1 / math.sqrt(fan_in * 2 * layers)


class LayerNorm(nnx.Module):
    """Layer normalisation with scale and bias, in f32 inside."""

    def __init__(self, width: int, *, eps: float, axis: str):
        self.scale = nnx.Param(jnp.ones((width,), jnp.float32), axes=(axis,))
        self.bias = nnx.Param(jnp.zeros((width,), jnp.float32), axes=(axis,))
        self.eps = eps

    def __call__(self, x: jax.Array) -> jax.Array:
        y = x.astype(jnp.float32)
        y = y - y.mean(-1, keepdims=True)
        y = y * jax.lax.rsqrt((y * y).mean(-1, keepdims=True) + self.eps)
        return (y * self.scale[...] + self.bias[...]).astype(x.dtype)


class RMSNorm(nnx.Module):
    """Root-mean-square normalisation (Llama), in f32 inside."""

    def __init__(self, width: int, *, eps: float, axis: str):
        self.scale = nnx.Param(jnp.ones((width,), jnp.float32), axes=(axis,))
        self.eps = eps

    def __call__(self, x: jax.Array) -> jax.Array:
        y = x.astype(jnp.float32)
        y = y * jax.lax.rsqrt((y * y).mean(-1, keepdims=True) + self.eps)
        # The scale multiplies in the input's dtype, as torch's Llama does.
        return self.scale[...].astype(x.dtype) * y.astype(x.dtype)


ACTIVATIONS: dict[str, Callable[[jax.Array], jax.Array]] = {
    "quick_gelu": lambda x: x * jax.nn.sigmoid(1.702 * x),  # CLIP's own
    "gelu": lambda x: jax.nn.gelu(x, approximate=False),
    "gelu_pytorch_tanh": lambda x: jax.nn.gelu(x, approximate=True),
    "silu": jax.nn.silu,
}

# The names (`checkpoint_name`) of what "projections" and "offload" keep. Each product's output costs
# as much memory for what it saves; these are the ones that also lie as the backward pass reads them
# (kept q, k and v are copied twice, which a TPU's compiler counts at half their recomputation).
KEPT = ("mixed", "o", "gate")
_policies = jax.checkpoint_policies

# What the backward pass recomputes: nothing; all but matrix products; all but `KEPT`; the same, with
# these waiting in the host's memory; or all.
REMAT: dict[str, Callable | None] = {
    "none": None,
    "dots": _policies.dots_with_no_batch_dims_saveable,
    "projections": _policies.save_only_these_names(*KEPT),
    "offload": _policies.save_and_offload_only_these_names(
        names_which_can_be_saved=[],
        names_which_can_be_offloaded=list(KEPT),
        offload_src="device",
        offload_dst="pinned_host",
    ),
    "full": _policies.nothing_saveable,
}


def stack(build: Callable[[jax.Array], nnx.Module], *, layers: int, key: jax.Array) -> nnx.Module:
    """One module whose every parameter has a leading axis of `layers`, each from its own key."""
    return nnx.vmap(build)(jax.random.split(key, layers))


def scan_layers(
    layers: nnx.Module, carry, *, body: Callable, remat: str, key: jax.Array | None = None
):
    """Runs `carry = body(carry, layer, key)` over a stack, recomputing by `REMAT[remat]`.

    Each layer's own key is an input of the scan, so what is recomputed drops the same numbers.
    """
    step = lambda c, inputs: (body(c, *inputs), None)
    count = jax.tree.leaves(layers)[0].shape[0]
    keys = None if key is None else jax.random.split(key, count)
    if remat != "none":
        # Inside a scan XLA cannot undo the recomputation, so the costly barrier is not needed.
        step = jax.checkpoint(step, policy=REMAT[remat], prevent_cse=False)
    return jax.lax.scan(step, carry, (layers, keys))[0]
