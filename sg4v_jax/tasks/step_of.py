"""The compiled training step of a config on a mesh: the one that `sg4v train` runs and `plan` plans.

Both get from here the jitted function, the abstract state with its shardings, and the shapes of a
batch; so what is planned for a named slice is what runs on it. Nothing here makes an array.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
import optax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from sg4v_jax import chips, sharding
from sg4v_jax.batch import Batch
from sg4v_jax.data.packing import Budget
from sg4v_jax.models.params import Skeleton, skeleton
from sg4v_jax.tasks import run_setup
from sg4v_jax.train import optim, state
from sg4v_jax.train.losses import next_token_loss
from sg4v_jax.train.step import Loss, make_step
from sg4v_jax.weights.store import ModelSettings


def parts(
    config: ml_collections.ConfigDict, settings: ModelSettings
) -> tuple[Skeleton, dict[str, str]]:
    """The model's structure, and the group of each of its parameters.

    Raises:
      ConfigError: rules that do not fit the model.
    """
    shape = skeleton(run_setup.builder(settings))
    return shape, optim.assign(list(shape.shapes), run_setup.rules(config))


@dataclasses.dataclass(frozen=True)
class Program:
    """One config on one mesh.

    Attributes:
      skeleton, groups: as `parts` gives them.
      schedules: the learning rates of each group.
      loss: `(model, batch, key) -> (total, weight, metric sums)`.
      state: shapes, dtypes and shardings of the training state.
      step: `(state, batch, key) -> (state, metrics)`, jitted; the state is donated and comes back
        as it lay.
    """

    config: ml_collections.ConfigDict
    mesh: Mesh
    side: int
    skeleton: Skeleton
    groups: Mapping[str, str]
    optimizer: optax.GradientTransformation
    schedules: Mapping[str, optax.Schedule]
    loss: Loss
    state: state.TrainState
    step: Callable[..., tuple[state.TrainState, dict[str, jax.Array]]]

    def shardings(self) -> state.TrainState:
        """Where each array of the state lies."""
        return jax.tree.map(lambda s: s.sharding, self.state)

    def batch(self, budget: Budget | None = None) -> Batch:
        """Shapes, dtypes and shardings of a batch; `budget` replaces what a row holds."""
        data = self.config.data
        budget = budget or Budget(data.positions, data.tiles, data.scored)
        accumulate = data.accumulate
        shapes = batch_shapes(budget, rows=data.batch_rows, accumulate=accumulate, side=self.side)
        batch_axis = 1 if accumulate > 1 else 0
        spec = PartitionSpec(*(None,) * batch_axis, sharding.RULES["batch"])
        return jax.tree.map(lambda s: _lying(s, NamedSharding(self.mesh, spec)), shapes)

    def lower(self, budget: Budget | None = None) -> jax.stages.Lowered:
        """The step lowered for shapes alone: what `compile()` needs."""
        key = jax.eval_shape(lambda: jax.random.key(0))
        with jax.set_mesh(self.mesh):
            return self.step.lower(self.state, self.batch(budget), key)


def build(
    config: ml_collections.ConfigDict,
    settings: ModelSettings,
    *,
    skeleton: Skeleton,
    groups: Mapping[str, str],
    mesh: Mesh,
    steps: int,
    compiler_options: Mapping[str, str] | None = None,
) -> Program:
    """The program of `config` on `mesh`.

    Args:
      skeleton, groups: of `parts`.
      steps: the optimizer's steps, which its schedules need.
      compiler_options: of XLA, by name; None takes those of the mesh's devices (`chips.flags`).

    Raises:
      ConfigError: settings of the optimizer that contradict.
    """
    accumulate = config.data.accumulate
    optimizer, schedules = run_setup.make_optimizer(config, groups, steps=steps)
    how = dict(groups=groups, optimizer=optimizer, frozen_dtype=config.model.frozen_dtype)
    abstract = state.abstract(skeleton, **how)
    placed = state.shardings(abstract, skeleton=skeleton, mesh=mesh)
    loss = loss_of(config)
    step = make_step(
        loss, skeleton=skeleton, optimizer=optimizer, accumulate=accumulate, groups=groups
    )
    if compiler_options is None:
        compiler_options = chips.flags(mesh.devices.flat[0].device_kind)
    jitted = jax.jit(
        step,
        donate_argnums=0,
        out_shardings=(placed, None),
        compiler_options=dict(compiler_options),
    )
    return Program(
        config=config,
        mesh=mesh,
        side=settings.config.tower.image_size,
        skeleton=skeleton,
        groups=groups,
        optimizer=optimizer,
        schedules=schedules,
        loss=loss,
        state=jax.tree.map(_lying, abstract, placed),
        step=jitted,
    )


def loss_of(config: ml_collections.ConfigDict) -> Loss:
    """The loss of the config's dtype, recomputation and vocabulary chunks."""
    model, chunks = config.model, config.optim.vocab_chunks
    dtype = jnp.dtype(model.dtype)

    def loss(model_, batch, key):
        return next_token_loss(
            model_,
            batch,
            dtype=dtype,
            remat=model.remat,
            vocab_chunks=chunks,
            impl=model.attention,
            key=key,
        )

    return loss


def batch_shapes(budget: Budget, *, rows: int, accumulate: int, side: int) -> Batch:
    """Shapes and dtypes of a `Batch` of `rows` rows, as the loader makes them.

    >>> batch_shapes(Budget(2048, 1, 2048), rows=128, accumulate=4, side=336).tiles.shape
    (4, 32, 1, 336, 336, 3)
    """
    lead = (accumulate, rows // accumulate) if accumulate > 1 else (rows,)
    of = lambda dtype, *shape: jax.ShapeDtypeStruct((*lead, *shape), dtype)
    positions, scored = budget.positions, budget.scored
    return Batch(
        tokens=of(np.int32, positions),
        visual_index=of(np.int32, positions),
        positions=of(np.int32, positions),
        segments=of(np.int32, positions),
        loss_index=of(np.int32, scored),
        targets=of(np.int32, scored),
        loss_weights=of(np.float32, scored),
        tiles=of(np.uint8, budget.tiles, side, side, 3),
    )


def _lying(shape: jax.ShapeDtypeStruct, where: NamedSharding) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(shape.shape, shape.dtype, sharding=where)
