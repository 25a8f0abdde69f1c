"""Low-rank adaptation (LoRA, Hu et al. 2021): `y = x W + (alpha / rank) * dropout(x) A B`.

Legend: `L` layers, `I` inputs, `O` outputs, `r` rank.

The branch lives in the `Linear` itself (`layers.py`), as parameters `lora_a` and `lora_b` beside its
kernel: no wrapper changes a path. Kept libraries were looked at: `flax.nnx.LoRA` wraps a plain
matrix, has neither scaling nor dropout, and would rename the kernel; qwix and peft-jax adapt models
by intercepting Flax calls with their own variables and RNG, which plain pytrees do not have.
"""

from __future__ import annotations

import dataclasses
import difflib
import math
import re
from collections.abc import Mapping

import jax
import jax.numpy as jnp
from flax import nnx

from sg4v_jax.errors import CheckpointError, ConfigError
from sg4v_jax.models.layers import Linear

# Sets of targets by name.
TARGETS = {
    # The seven projections of each decoder layer: what the original adapts on purpose.
    "llm": (
        r"llm\.layers\.self_attn\.(q|k|v|o)_proj",
        r"llm\.layers\.mlp\.(gate|up|down)_proj",
    ),
    # Every matrix of the tower's blocks that run.
    "tower": (r"tower\.layers\.self_attn\.(q|k|v|out)_proj", r"tower\.layers\.mlp\.fc[12]"),
    # What the original adapts by accident: peft matches `q_proj` by its suffix, in CLIP too.
    "clip_qkv": (r"tower\.layers\.self_attn\.(q|k|v)_proj",),
}

# Where a branch would never be read: the head is used as a matrix, the tail never runs.
_WITHOUT_EFFECT = r"llm\.lm_head|tower\.tail\..*"
_SUFFIXES = (".lora_a", ".lora_b")


@dataclasses.dataclass(frozen=True, kw_only=True)
class LoRA:
    """Which `Linear`s are adapted, and how.

    `targets` are names of `TARGETS` or regular expressions; each must match the whole path of at
    least one `Linear` (`llm.layers.self_attn.q_proj`). All layers of a stack are adapted together.

    Raises:
      ConfigError: a rank below 1, or a dropout outside 0..1.
    """

    rank: int
    alpha: float
    dropout: float
    targets: tuple[str, ...]

    def __post_init__(self):
        if self.rank < 1:
            raise ConfigError(f"lora.rank is {self.rank}", mend="use 1 or more")
        if not 0 <= self.dropout < 1:
            raise ConfigError(f"lora.dropout is {self.dropout}", mend="use 0 or more, below 1")

    @property
    def scaling(self) -> float:
        """The factor of the low-rank branch."""
        return self.alpha / self.rank


def attach(model: nnx.Module, lora: LoRA, *, key: jax.Array) -> nnx.Module:
    """A copy of `model` whose targets have a low-rank branch; it computes what `model` does.

    A kernel [L?,*I,*O] gets `lora_a` [L?,*I,r], uniform in +-1/sqrt(I) as in peft (Kaiming with
    a = sqrt(5)), and `lora_b` [L?,r,*O], zero. Works on abstract models too (`jax.eval_shape`).

        llm.layers.self_attn.q_proj.kernel  [32,4096,32,128]
        llm.layers.self_attn.q_proj.lora_a  [32,4096,128]      rank 128
        llm.layers.self_attn.q_proj.lora_b  [32,128,32,128]

    Raises:
      ConfigError: a target that matches no `Linear`, or one where a branch has no effect.
    """
    leaves = jax.tree_util.tree_leaves_with_path(model, is_leaf=_is_linear)
    paths = [_path(keys) for keys, leaf in leaves if _is_linear(leaf)]
    chosen = {path: number for number, path in enumerate(_matches(paths, lora.targets))}

    def one(keys, leaf):
        path = _path(keys)
        if not _is_linear(leaf) or path not in chosen:
            return leaf
        return _adapted(leaf, lora, key=jax.random.fold_in(key, chosen[path]))

    return jax.tree_util.tree_map_with_path(one, model, is_leaf=_is_linear)


def is_lora(path: str) -> bool:
    """Whether the parameter at `path` belongs to a low-rank branch."""
    return path.endswith(_SUFFIXES)


def split(flat: Mapping[str, jax.Array]) -> tuple[dict[str, jax.Array], dict[str, jax.Array]]:
    """Parameters by path -> (the base model's, the low-rank branches')."""
    base = {path: value for path, value in flat.items() if not is_lora(path)}
    return base, {path: value for path, value in flat.items() if is_lora(path)}


def merge(flat: Mapping[str, jax.Array], lora: LoRA) -> dict[str, jax.Array]:
    """The parameters of the plain model that computes the same: `W + scaling * A B`.

    The sum is in f32 and rounded once to the kernel's dtype; one layer of a stack at a time, so
    that no stack is held in f32.

    Raises:
      CheckpointError: half a branch, or a branch without its kernel.
    """
    base, branches = split(flat)
    for linear in dict.fromkeys(path.rpartition(".")[0] for path in branches):
        names = [f"{linear}.{part}" for part in ("kernel", "lora_a", "lora_b")]
        missing = [name for name in names if name not in flat]
        if missing:
            raise CheckpointError(
                f"{missing[0]} is missing, but {linear} has a low-rank branch",
                mend="merge into the weights that the branch was trained on",
            )
        base[names[0]] = _merged(*(flat[name] for name in names), scaling=lora.scaling)
    return base


@jax.jit
def _add_product(kernel, a, b, scaling):
    """[L,*I,*O], [L,*I,r], [L,r,*O] -> [L,*I,*O]."""

    def one(layer):
        w, a, b = (x.astype(jnp.float32) for x in layer)
        product = jnp.matmul(
            a.reshape(-1, a.shape[-1]), b.reshape(b.shape[0], -1), precision="highest"
        )
        return (w + scaling * product.reshape(w.shape)).astype(kernel.dtype)

    return jax.lax.map(one, (kernel, a, b))


def _merged(kernel, a, b, *, scaling: float) -> jax.Array:
    # Both branches' axes but the two ranks are the kernel's, and a stack's layer axis is in each.
    stacked = a.ndim + b.ndim - 2 > kernel.ndim
    kernel, a, b = (jnp.asarray(x) if stacked else jnp.asarray(x)[None] for x in (kernel, a, b))
    merged = _add_product(kernel, a, b, scaling)
    return merged if stacked else merged[0]


def _matches(paths: list[str], targets: tuple[str, ...]) -> list[str]:
    """The paths that some target matches, in the order of `paths`."""
    chosen = set()
    for target in (t for name in targets for t in TARGETS.get(name, (name,))):
        found = {path for path in paths if re.fullmatch(target, path)}
        if not found:
            near = difflib.get_close_matches(target.replace("\\", ""), paths, n=1, cutoff=0.0)
            raise ConfigError(
                f"lora.targets: {target!r} matches no linear layer",
                mend=f"the nearest path is {near[0] if near else 'none'}; use one of "
                f"{', '.join(TARGETS)}, or a regular expression for a whole path",
            )
        for path in sorted(found):
            if re.fullmatch(_WITHOUT_EFFECT, path):
                raise ConfigError(
                    f"lora.targets: {target!r} matches {path}, where it has no effect",
                    mend="name the layers under llm.layers, tower.layers or projector",
                )
        chosen |= found
    return [path for path in paths if path in chosen]


def _adapted(linear: Linear, lora: LoRA, *, key: jax.Array) -> Linear:
    axes, n = linear.kernel.get_metadata()["axes"], linear.contracted
    shape, stacked = linear.kernel.shape, linear.kernel.ndim - len(axes)
    layers, inputs, outputs = shape[:stacked], shape[stacked:][:n], shape[stacked:][n:]
    bound = 1 / math.sqrt(math.prod(inputs))
    a = jax.random.uniform(
        key, (*layers, *inputs, lora.rank), jnp.float32, minval=-bound, maxval=bound
    )
    b = jnp.zeros((*layers, lora.rank, *outputs), jnp.float32)
    adapted = jax.tree.map(lambda x: x, linear)  # a new module with the same parameters
    adapted.lora_a = nnx.Param(a, axes=(*axes[:n], "lora_rank"))
    adapted.lora_b = nnx.Param(b, axes=("lora_rank", *axes[n:]))
    adapted.scaling, adapted.dropout = lora.scaling, lora.dropout
    return adapted


def _is_linear(x) -> bool:
    return isinstance(x, Linear)


def _path(keys) -> str:
    return ".".join(str(getattr(k, "name", getattr(k, "key", k))) for k in keys)
