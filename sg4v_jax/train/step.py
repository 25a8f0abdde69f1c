"""One training step: sums of loss and gradient over micro-batches, divided once, one update."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
import optax

from sg4v_jax.batch import Batch
from sg4v_jax.models.params import Skeleton
from sg4v_jax.train.optim import left_out
from sg4v_jax.train.state import TrainState

Loss = Callable[..., tuple[jax.Array, jax.Array, dict[str, jax.Array]]]


def make_step(
    loss: Loss,
    *,
    skeleton: Skeleton,
    optimizer: optax.GradientTransformation,
    accumulate: int,
    groups: Mapping[str, str] | None = None,
) -> Callable[[TrainState, Batch, jax.Array], tuple[TrainState, dict[str, jax.Array]]]:
    """The function `(state, batch, key) -> (state, metrics)`, to be jitted with donated state.

    Args:
      loss: `(model, batch, key) -> (total, weight, metric sums)`.
      accumulate: micro-batches; more than 1 expects batches [A, B/A, ...] and scans over A, so
        that a sharded axis is never reshaped.
      groups: group of each parameter path; then the metrics hold `grad_norm/GROUP` too.

    Metrics: `loss` (weighted mean), `weight`, `grad_norm` before clipping, `nonfinite` (1 where
    the loss or a gradient was nan or inf, else 0) and the loss's own sums. A step that is not finite
    counts in `state.step` and in the schedules (`optim.left_out`), but parameters and moments stay
    as they were: the caller may stop with the last good state in hand, or go on.
    """

    def sums(trained, frozen, batch, key):
        total, weight, metrics = loss(skeleton.build({**trained, **frozen}), batch, key)
        return total, (weight, metrics)

    gradient = jax.value_and_grad(sums, has_aux=True)

    def step(state: TrainState, batch: Batch, key: jax.Array):
        key = jax.random.fold_in(key, state.step)

        def micro(number, part):
            (total, (weight, metrics)), grads = gradient(
                state.trained, state.frozen, part, jax.random.fold_in(key, number)
            )
            return grads, total, weight, metrics

        if accumulate == 1:
            grads, total, weight, metrics = micro(0, batch)
        else:
            shapes = jax.eval_shape(micro, 0, jax.tree.map(lambda x: x[0], batch))
            zeros = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shapes)

            def add(carry, numbered):
                return jax.tree.map(jnp.add, carry, micro(*numbered)), None

            (grads, total, weight, metrics), _ = jax.lax.scan(
                add, zeros, (jnp.arange(accumulate), batch)
            )
        # A batch of holes has weight 0: then there is nothing to learn and nothing to divide.
        divisor = jnp.where(weight > 0, weight, 1.0)
        grads = jax.tree.map(lambda g: g / divisor, grads)
        norm = optax.tree.norm(grads)
        finite = jnp.isfinite(total) & jnp.isfinite(norm)

        def apply():
            updates, slots = optimizer.update(grads, state.slots, state.trained)
            return optax.apply_updates(state.trained, updates), slots

        # Takes no more memory than `apply` alone; selecting new or old by `where` took half a copy
        # of the parameters more.
        trained, slots = jax.lax.cond(finite, apply, lambda: (state.trained, left_out(state.slots)))
        out = {
            "loss": total / divisor,
            "weight": weight,
            "grad_norm": norm,
            "nonfinite": 1 - finite.astype(jnp.int32),
            **group_norms(grads, groups or {}),
            **metrics,
        }
        return TrainState(state.step + 1, trained, state.frozen, slots), out

    return step


def group_norms(grads: Mapping[str, jax.Array], groups: Mapping[str, str]) -> dict[str, jax.Array]:
    """`grad_norm/GROUP` of each group that has gradients.

    >>> group_norms({"a": 3.0, "b": 4.0, "c": 1.0}, {"a": "llm", "b": "llm", "c": "tower"})
    {'grad_norm/llm': 5.0, 'grad_norm/tower': 1.0}
    """
    parts: dict[str, list[jax.Array]] = {}
    for path, gradient in grads.items():
        if path in groups:
            parts.setdefault(groups[path], []).append(gradient)
    return {f"grad_norm/{name}": optax.tree.norm(parts[name]) for name in sorted(parts)}
