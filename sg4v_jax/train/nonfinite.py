"""What is not a number: found at its step, named with its data, and never saved."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
from rich.console import Console

from sg4v_jax.errors import ConfigError, Sg4vError
from sg4v_jax.train.state import TrainState

ACTIONS = ("stop", "skip")
NAMED = 8  # records that a message names

RecordsOf = Callable[[int], Sequence[str]]


class DivergedError(Sg4vError):
    """A loss, gradient or parameter is not a number any more."""


class Watch:
    """Judges each step by its metrics.

    Args:
      action: `stop` at the first bad step, or `skip` steps that changed nothing: those whose
        metric `nonfinite` says that the update was left out.
      patience: how many steps may be skipped in a row.
      records_of: step (from 1, as logged) -> names of the records in its batch.
      in_row: steps skipped in a row before, when resuming.

    Raises:
      ConfigError: unknown action, or no patience.
    """

    def __init__(
        self,
        *,
        action: str,
        patience: int,
        records_of: RecordsOf,
        console: Console,
        in_row: int = 0,
    ):
        if action not in ACTIONS:
            raise ConfigError(f"run.nonfinite {action!r} is unknown", mend="use stop or skip")
        if patience < 1:
            raise ConfigError(f"{patience} skips in a row", mend="use 1 or more, or stop")
        self.in_row = in_row
        self._action, self._patience = action, patience
        self._records_of, self._console = records_of, console

    def judge(self, step: int, metrics: dict[str, float]) -> bool:
        """Whether the step counts; False where it was skipped.

        Raises:
          DivergedError: it is bad and must not, or cannot, be skipped; names step, loss, gradient
            norms and records.
        """
        norms = {k: v for k, v in metrics.items() if k.startswith("grad_norm")}
        left_out = metrics.get("nonfinite", 0.0) > 0
        if (
            not left_out
            and math.isfinite(metrics["loss"])
            and all(map(math.isfinite, norms.values()))
        ):
            self.in_row = 0
            return True
        self.in_row += 1
        what = f"the loss is {metrics['loss']} at step {step}"
        if norms:
            what += f" ({', '.join(f'{name} {value:.4g}' for name, value in norms.items())})"
        what += _named(self._records_of(step))
        if self._action == "stop" or not left_out:
            raise DivergedError(
                what,
                mend="look at these records, lower the learning rate, or set run.nonfinite=skip; "
                "the same command goes on from the last checkpoint",
            )
        if self.in_row > self._patience:
            raise DivergedError(
                f"{what}; it is the {self.in_row}th step in a row that is skipped",
                mend="lower the learning rate and start from an earlier checkpoint",
            )
        self._console.print(f"skipped: {what}", style="yellow", markup=False)
        return False


def check_state(state: TrainState) -> None:
    """Checks that a state may be saved.

    Raises:
      DivergedError: names trained parameters and slots that have a NaN or an infinity.
    """
    finite = jax.device_get(_finite({"": state.trained, "optimizer ": state.slots}))
    bad = [name for name, good in finite.items() if not good]
    if bad:
        raise DivergedError(
            f"step {int(state.step)} left numbers that are not finite in {bad[0]}"
            f"{f' and {len(bad) - 1} others' if bad[1:] else ''}; it is not saved",
            mend="lower the learning rate; the same command goes on from the last checkpoint",
        )


@jax.jit
def _finite(parts: dict) -> dict[str, jax.Array]:
    found = {}
    for prefix, tree in parts.items():
        for keys, leaf in jax.tree_util.tree_leaves_with_path(tree):
            if jnp.issubdtype(leaf.dtype, jnp.inexact):
                name = prefix + ".".join(
                    str(getattr(k, "key", getattr(k, "name", ""))) for k in keys
                )
                good = jnp.isfinite(leaf).all()
                found[name] = found[name] & good if name in found else good
    return found


def _named(records: Sequence[str]) -> str:
    if not records:
        return ""
    more = f" and {len(records) - NAMED} more" if len(records) > NAMED else ""
    return f"; its records: {', '.join(records[:NAMED])}{more}"
