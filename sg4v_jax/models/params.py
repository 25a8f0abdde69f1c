"""Parameters by path: one flat dictionary is what optimizers, checkpoints and weight tables see.

A path is the attribute path, `llm.layers.self_attn.q_proj.kernel`; a scanned stack has a leading
layer axis. A `Skeleton` turns a flat dictionary back into the module without building weights.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping

import jax
from flax import nnx

from sg4v_jax.errors import CheckpointError


def _path(keys) -> str:
    # The last key is the variable's own `.value`.
    return ".".join(str(getattr(k, "name", getattr(k, "key", k))) for k in keys[:-1])


@dataclasses.dataclass(frozen=True)
class Skeleton:
    """The module's structure, with the shape, dtype and logical axes of each parameter."""

    shapes: Mapping[str, jax.ShapeDtypeStruct]
    axes: Mapping[str, tuple[str, ...]]
    treedef: jax.tree_util.PyTreeDef

    def build(self, flat: Mapping[str, jax.Array]) -> nnx.Module:
        """The module holding `flat`.

        Raises:
          CheckpointError: names missing, unexpected or of another shape, all in one message.
        """
        problems = [f"missing {n}" for n in self.shapes if n not in flat]
        problems += [f"unexpected {n}" for n in flat if n not in self.shapes]
        problems += [
            f"{n}: shape {tuple(flat[n].shape)}, expected {s.shape}"
            for n, s in self.shapes.items()
            if n in flat and tuple(flat[n].shape) != s.shape
        ]
        if problems:
            raise CheckpointError(
                f"{len(problems)} parameters do not fit the model: " + "; ".join(problems[:8]),
                mend="use the model config that the weights were saved with",
            )
        return jax.tree_util.tree_unflatten(self.treedef, [flat[n] for n in self.shapes])


def skeleton(build: Callable[[jax.Array], nnx.Module]) -> Skeleton:
    """The structure of `build(key)`, by abstract evaluation: no memory, no compute."""
    abstract = jax.eval_shape(build, jax.random.key(0))
    leaves, treedef = jax.tree_util.tree_flatten_with_path(abstract)
    shapes = {_path(keys): leaf for keys, leaf in leaves}
    return Skeleton(shapes, _axes(abstract, shapes), treedef)


def flatten(module: nnx.Module) -> dict[str, jax.Array]:
    """The parameters of `module` by path."""
    return {_path(k): v for k, v in jax.tree_util.tree_leaves_with_path(module)}


def _axes(module: nnx.Module, shapes) -> dict[str, tuple[str, ...]]:
    variables = jax.tree_util.tree_leaves_with_path(
        module, is_leaf=lambda x: isinstance(x, nnx.Variable)
    )
    axes = {}
    for keys, variable in variables:
        name = _path((*keys, None))
        named = tuple(variable.get_metadata()["axes"])
        extra = len(shapes[name].shape) - len(named)  # a scanned stack adds the layer axis
        axes[name] = ("layers",) * extra + named
    return axes
