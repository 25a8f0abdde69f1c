"""Checkpoints by Orbax (v1 API): parameters, optimizer and data position, whole or not at all.

A step's folder holds `params` (all parameters by path, what inference reads), `optimizer` (slots)
and, as metadata, the data position. Orbax writes under a temporary name and renames; a save that
fails leaves the earlier ones as they were.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sys
from collections.abc import Iterator
from typing import Any

import jax
from orbax.checkpoint.experimental import v1 as ocp

from sg4v_jax import files
from sg4v_jax.errors import CheckpointError, StorageError
from sg4v_jax.train.state import TrainState
from sg4v_jax.weights.store import CHECKPOINTS


class Checkpoints:
    """The checkpoints of one working directory.

    Args:
      workdir: its `checkpoints` folder is used.
      keep: how many of the latest steps stay.
    """

    def __init__(self, workdir: str | os.PathLike, *, keep: int = 2):
        self._folder = files.path(workdir) / CHECKPOINTS
        self._folder.mkdir(parents=True, exist_ok=True)
        policy = ocp.training.preservation_policies.LatestN(n=keep)
        self._orbax = ocp.training.Checkpointer(
            self._folder.resolve(), preservation_policy=policy, cleanup_tmp_directories=True
        )

    def latest_step(self) -> int | None:
        """The newest complete step, None when there is none."""
        latest = self._orbax.latest
        return None if latest is None else latest.step

    def save(self, state: TrainState, *, data: dict[str, Any]) -> None:
        """Saves `state` under its step, with the data position `data` (JSON values).

        Raises:
          StorageError: the disk is full or not writable; names the step that is still usable.
        """
        step, before = int(state.step), self.latest_step()
        if before == step:
            return
        parts = {"params": state.params(), "optimizer": state.slots}
        try:
            with _said_once():
                self._orbax.save_checkpointables(step, parts, force=True, custom_metadata=data)
        except Exception as e:  # Orbax and TensorStore raise many types for a failed write
            usable = "none was saved yet" if before is None else f"step {before} is still usable"
            raise StorageError(
                f"{self._folder}: saving step {step} failed ({_first_line(e)}); {usable}",
                mend="free some space and run the same command again",
            ) from e

    def restore(self, abstract: TrainState) -> tuple[TrainState, dict[str, Any]]:
        """The newest checkpoint as `abstract` (shapes and shardings), and its data position.

        Raises:
          CheckpointError: there is none, or it does not fit `abstract`.
        """
        step = self.latest_step()
        if step is None:
            raise CheckpointError(f"{self._folder}: no checkpoint", mend="train first")
        wanted = {"params": abstract.params(), "optimizer": abstract.slots}
        try:
            parts = self._orbax.load_checkpointables(step, wanted)
            data = dict(self._orbax.metadata(step).custom_metadata or {})
            if not data:
                raise ValueError("its data position is lost")
        except Exception as e:
            raise CheckpointError(
                f"{self._folder}: step {step} is damaged, or does not fit this model and optimizer "
                f"({_first_line(e)})",
                mend="use the config that it was saved with; where a file of it is damaged, "
                "remove that step's folder to go on from the one before",
            ) from e
        params = parts["params"]
        number = jax.device_put(jax.numpy.int32(step), abstract.step.sharding)
        return (
            TrainState(
                number,
                {p: params[p] for p in abstract.trained},
                {p: params[p] for p in abstract.frozen},
                parts["optimizer"],
            ),
            data,
        )

    def close(self) -> None:
        """Waits for what is being written."""
        self._orbax.close()


@contextlib.contextmanager
def _said_once() -> Iterator[None]:
    """Within it, and from a failure on, Orbax's own threads are silent.

    One failed write fails dozens of their futures, each with a traceback, some of them after
    `save` has raised; they would bury its message.
    """
    log, hook = logging.getLogger("absl"), sys.unraisablehook
    level = log.level

    def quiet(unraisable):
        if str(unraisable.exc_value) != "Event loop is closed":
            hook(unraisable)

    log.setLevel(logging.CRITICAL)
    sys.unraisablehook = quiet
    yield
    log.setLevel(level)
    sys.unraisablehook = hook


def _first_line(error: Exception) -> str:
    text = str(error).strip().splitlines()
    return f"{type(error).__name__}: {text[0][:200]}" if text else type(error).__name__
