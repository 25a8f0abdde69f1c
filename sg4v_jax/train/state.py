"""The training state: a pure pytree, flat parameter dictionaries by path.

What trains is f32 (master weights, gradients, moments); what is frozen may be stored in less, since
the modules cast to the compute dtype anyway.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from sg4v_jax.models.params import Skeleton
from sg4v_jax.sharding import sharding_for
from sg4v_jax.train.optim import FROZEN


class TrainState(NamedTuple):
    """What a checkpoint holds. Frozen parameters have no gradient and no optimizer slot."""

    step: jax.Array  # i32[], optimizer steps taken
    trained: dict[str, jax.Array]
    frozen: dict[str, jax.Array]
    slots: Any  # optax state over `trained`

    def params(self) -> dict[str, jax.Array]:
        """All parameters by path."""
        return {**self.trained, **self.frozen}


def create(
    flat: Mapping[str, jax.Array],
    *,
    groups: Mapping[str, str],
    optimizer,
    frozen_dtype: str | None = None,
) -> TrainState:
    """The state at step 0, from parameters by path and the group of each.

    Args:
      frozen_dtype: the dtype in which frozen parameters are stored, for example `bfloat16` (half
        the memory of f32); None or "" keeps what they have. Trained ones become f32.
    """
    trained = {p: _as(v, jnp.float32) for p, v in flat.items() if groups[p] != FROZEN}
    frozen = {p: _as(v, frozen_dtype or v.dtype) for p, v in flat.items() if groups[p] == FROZEN}
    return TrainState(jnp.int32(0), trained, frozen, optimizer.init(trained))


def abstract(
    skeleton: Skeleton, *, groups: Mapping[str, str], optimizer, frozen_dtype: str | None = None
) -> TrainState:
    """The shapes and dtypes of `create`'s state, without an array: 8B parameters cost nothing."""
    make = lambda flat: create(flat, groups=groups, optimizer=optimizer, frozen_dtype=frozen_dtype)
    return jax.eval_shape(make, dict(skeleton.shapes))


def _as(value: jax.Array, dtype) -> jax.Array:
    return value if value.dtype == dtype else value.astype(dtype)


def shardings(state: TrainState, *, skeleton: Skeleton, mesh: Mesh) -> TrainState:
    """The sharding of each array of an (abstract) state, from our rules.

    Optimizer slots lie as their parameter does; everything else is on every device.
    """
    whole = NamedSharding(mesh, PartitionSpec())
    by_path = {
        path: sharding_for(skeleton.axes[path], shape=s.shape, mesh=mesh)
        for path, s in skeleton.shapes.items()
    }
    pick = lambda tree: {p: by_path[p] for p in tree}
    slots = _slot_shardings(state.slots, by_path=by_path, whole=whole)
    return TrainState(whole, pick(state.trained), pick(state.frozen), slots)


def _slot_shardings(slots, *, by_path, whole):
    def one(keys, leaf):
        return by_path.get(slot_of(keys), whole) if leaf.ndim else whole

    return jax.tree_util.tree_map_with_path(one, slots)


def slot_of(keys) -> str | None:
    """The parameter path that a leaf of the optax state belongs to; None for counters.

    A parameter's name ends the way to its slots; a group of the same name (`separators`) comes
    before it, and before the group's counters.
    """
    return keys[-1].key if isinstance(keys[-1], jax.tree_util.DictKey) else None
