"""The training state: a pure pytree, flat parameter dictionaries by path."""

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


def create(flat: Mapping[str, jax.Array], *, groups: Mapping[str, str], optimizer) -> TrainState:
    """The state at step 0, from parameters by path and the group of each."""
    trained = {p: v for p, v in flat.items() if groups[p] != FROZEN}
    frozen = {p: v for p, v in flat.items() if groups[p] == FROZEN}
    return TrainState(jnp.int32(0), trained, frozen, optimizer.init(trained))


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
        names = [k.key for k in keys if isinstance(k, jax.tree_util.DictKey)]
        path = next((n for n in names if n in by_path), None)
        return by_path[path] if path and leaf.ndim else whole

    return jax.tree_util.tree_map_with_path(one, slots)
