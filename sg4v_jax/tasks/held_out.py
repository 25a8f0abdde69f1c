"""Loss and accuracy on held-out records while training: each scored token, given those before."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import jax

from sg4v_jax.batch import Batch
from sg4v_jax.errors import RecordError
from sg4v_jax.models.params import Skeleton
from sg4v_jax.train.evaluate import Evaluation
from sg4v_jax.train.step import Loss


def evaluation(
    batches: Callable[[], Iterator[Batch]], *, loss: Loss, skeleton: Skeleton, every: int
) -> Evaluation:
    """`eval/loss` (per scored token) and `eval/accuracy` over all batches, without dropout.

    Args:
      batches: one pass over the held-out rows, on the device and never accumulated.
      loss: `(model, batch, key) -> (total, weight, metric sums)`, with weight 1 a scored token.

    Raises (when run):
      RecordError: no held-out record could be read.
    """

    @jax.jit
    def sums(params, batch):
        total, weight, metrics = loss(skeleton.build(params), batch, None)
        return {"total": total, "weight": weight, "correct": metrics["correct"]}

    def run(params: Mapping[str, jax.Array]) -> dict[str, float]:
        # All are asked for before any is read, so that the device never waits for the host.
        parts = jax.device_get([sums(dict(params), batch) for batch in batches()])
        total = {
            name: sum(float(p[name]) for p in parts) for name in ("total", "weight", "correct")
        }
        if not total["weight"]:
            raise RecordError("no held-out record can be read", mend="see eval.annotations")
        return {
            "loss": total["total"] / total["weight"],
            "accuracy": total["correct"] / total["weight"],
        }

    return Evaluation("held_out", every, run)
