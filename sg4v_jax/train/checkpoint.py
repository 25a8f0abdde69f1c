"""Checkpoints by Orbax (v1 API): parameters, optimizer and data position, whole or not at all.

A step's folder holds `trained` (parameters by path), `optimizer` (slots) and, as metadata, the
data position and the open sums of the log. Frozen parameters never change: they are written once,
before the first step (`weights/checkpoint_files.py` has the layout). Orbax writes under a
temporary name and renames; a save that fails leaves the earlier ones as they were.

Saves run in the background. Orbax holds on to the arrays that it is given, so a step that donates
them makes the runtime copy, and what is written is the state as it was.
"""

from __future__ import annotations

import dataclasses
import logging
import os
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import jax
from orbax.checkpoint.experimental import v1 as ocp

from sg4v_jax import files
from sg4v_jax.errors import CheckpointError, StorageError
from sg4v_jax.train.hosts import Hosts
from sg4v_jax.train.state import TrainState
from sg4v_jax.weights.checkpoint_files import (
    CHECKPOINTS,
    FROZEN,
    Scores,
    frozen_folder,
    read_scores,
    write_scores,
)

_policies = ocp.training.preservation_policies


@dataclasses.dataclass(frozen=True, kw_only=True)
class Best:
    """Which evaluation metric decides what is best; the `keep` best steps are never removed."""

    metric: str
    mode: str = "max"  # max | min
    keep: int = 1


class Checkpoints:
    """The checkpoints of one working directory.

    Args:
      workdir: its `checkpoints` folder is used.
      keep: how many of the latest steps stay.
      best: what to keep besides.
      hosts: the processes of the run; each must make the same calls, in the same order, on a folder
        that all of them see.
    """

    def __init__(
        self,
        workdir: str | os.PathLike,
        *,
        keep: int = 2,
        best: Best | None = None,
        hosts: Hosts | None = None,
    ):
        self._hosts = hosts or Hosts()
        self._workdir, self._best = files.path(workdir), best
        self._folder = self._workdir / CHECKPOINTS
        self._scores = self._read_scores()
        self._folder.mkdir(parents=True, exist_ok=True)
        policy = _policies.AnyPreservationPolicy([_policies.LatestN(n=keep), _KeepBest(self)])
        self._orbax = ocp.training.Checkpointer(
            files.absolute(self._folder), preservation_policy=policy, cleanup_tmp_directories=True
        )
        self._writing: int | None = None  # the step that is written in the background
        self._quiet = _Quiet()

    def latest_step(self) -> int | None:
        """The newest complete step, None when there is none; waits for one being written."""
        self.wait()
        return max(self._steps(), default=None)

    def best_step(self) -> int | None:
        """The best step by `best.metric`, None as long as none was scored."""
        return next(iter(self.best_of(self._steps())), None)

    def best_of(self, steps: Sequence[int]) -> list[int]:
        """Those of `steps` that stay because they are the best."""
        if self._best is None:
            return []
        return self._scores.best(steps, keep=self._best.keep)

    @property
    def best_metric(self) -> str | None:
        """The metric that decides what is best, None where only the latest steps stay."""
        return self._best.metric if self._best else None

    def score(self, step: int, metrics: Mapping[str, float]) -> None:
        """Notes the evaluation of a saved step; the next save acts on it.

        The score comes after the save, so that nobody who asks a run to stop waits for an
        evaluation, and so that both go on at the same time.
        """
        if self._best is None or self._best.metric not in metrics:
            return
        by_step = {**self._scores.by_step, step: float(metrics[self._best.metric])}
        self._scores = dataclasses.replace(self._scores, by_step=by_step)
        if self._hosts.primary:
            write_scores(self._workdir, self._scores)

    def save(
        self, state: TrainState, *, data: Mapping[str, Any], log: Mapping[str, Any] | None = None
    ) -> None:
        """Begins to save `state` under its step; returns once it may be donated.

        Waits first for the save before this one. A step that is there is not saved again.

        Args:
          data: the data position (JSON values).
          log: what the log had not written yet at this step (JSON values).

        Raises:
          StorageError: this save could not begin, or the one before failed; names the step that
            is still usable.
        """
        step, before = int(state.step), self.latest_step()
        if before == step:
            return
        about = {"data": dict(data), "frozen": len(state.frozen), "log": dict(log or {})}
        parts = {"trained": state.trained, "optimizer": state.slots}
        self._writing, self._quiet.on = step, True
        try:
            if before is None:
                self._save_frozen(state.frozen)
            self._orbax.save_checkpointables_async(step, parts, force=True, custom_metadata=about)
        except Exception as e:  # Orbax and TensorStore raise many types for a failed write
            raise self._failed(e) from e

    def wait(self) -> None:
        """Waits for what is being written.

        Raises:
          StorageError: writing it failed; names the step that is still usable.
        """
        try:
            self._orbax.wait()
        except Exception as e:
            raise self._failed(e) from e
        self._writing, self._quiet.on = None, self._quiet.stays

    def log(self, step: int) -> dict[str, Any]:
        """What was given as `log` when `step` was saved; empty where there is no such step."""
        if step not in self._steps():
            return {}
        return (self._orbax.metadata(step).custom_metadata or {}).get("log", {})

    def restore(self, abstract: TrainState) -> tuple[TrainState, dict[str, Any]]:
        """The newest checkpoint as `abstract` (shapes and shardings), and its data position.

        Raises:
          CheckpointError: there is none, or it does not fit `abstract`.
        """
        step = self.latest_step()
        if step is None:
            raise CheckpointError(f"{self._folder}: no checkpoint", mend="train first")
        wanted = {"trained": abstract.trained, "optimizer": abstract.slots}
        try:
            parts = self._orbax.load_checkpointables(step, wanted)
            about = self._orbax.metadata(step).custom_metadata or {}
            if not about.get("data"):
                raise ValueError("its data position is lost")
            if about["frozen"] != len(abstract.frozen):
                raise ValueError(
                    f"{about['frozen']} parameters are frozen there, {len(abstract.frozen)} here"
                )
            frozen = self._load_frozen(abstract.frozen)
        except CheckpointError:
            raise
        except Exception as e:
            raise CheckpointError(
                f"{self._folder}: step {step} is damaged, or does not fit this model and optimizer "
                f"({_first_line(e)})",
                mend="use the config that it was saved with; where a file of it is damaged, "
                "remove that step's folder to go on from the one before",
            ) from e
        number = jax.device_put(jax.numpy.int32(step), abstract.step.sharding)
        return TrainState(number, parts["trained"], frozen, parts["optimizer"]), about["data"]

    def close(self) -> None:
        """Waits for what is being written, and lets go of the folder.

        Raises:
          StorageError: as `wait`.
        """
        try:
            self.wait()
            self._orbax.close()
        finally:
            self._quiet.end()

    def _steps(self) -> list[int]:
        """Complete steps, oldest first."""
        return [c.step for c in self._orbax.checkpoints if c.step != self._writing]

    def _read_scores(self) -> Scores | None:
        if self._best is None:
            return None
        old = read_scores(self._workdir)
        new = Scores(self._best.metric, self._best.mode)
        same = old is not None and (old.metric, old.mode) == (new.metric, new.mode)
        return old if same else new

    def _save_frozen(self, frozen: Mapping[str, jax.Array]) -> None:
        """As no step is there yet, nothing depends on what an earlier start may have left."""
        folder = files.absolute(self._workdir) / FROZEN
        if self._hosts.primary:
            for old in files.absolute(self._workdir).glob(f"{FROZEN}*"):
                if old.name == FROZEN or "orbax-checkpoint-tmp" in old.name:
                    old.rmtree()
        self._hosts.gather("old frozen part removed", "yes")
        if frozen:
            ocp.save_checkpointables(folder, {"params": dict(frozen)})

    def _load_frozen(self, abstract: Mapping[str, jax.ShapeDtypeStruct]) -> dict[str, jax.Array]:
        if not abstract:
            return {}
        folder = frozen_folder(self._workdir, count=len(abstract))
        return ocp.load_checkpointables(folder, {"params": dict(abstract)})["params"]

    def _failed(self, error: Exception) -> StorageError:
        """Forgets the failed save, and says what is left."""
        step, self._writing, self._quiet.stays = self._writing, None, True
        self._orbax.reload()
        left = max(self._steps(), default=None)
        usable = "none was saved yet" if left is None else f"step {left} is still usable"
        return StorageError(
            f"{self._folder}: saving step {step} failed ({_first_line(error)}); {usable}",
            mend="free some space and run the same command again",
        )


class _KeepBest:
    """An Orbax preservation policy. Orbax's own wants a step's metrics when it is saved."""

    def __init__(self, checkpoints: Checkpoints):
        self._checkpoints = checkpoints

    def should_preserve(self, checkpoints, *, context) -> list[bool]:
        best = self._checkpoints.best_of([c.step for c in checkpoints])
        return [c.step in best for c in checkpoints]


class _Quiet(logging.Filter):
    """While a save is written, and from a failure on, Orbax's own threads are silent.

    One failed write fails dozens of their futures, each with a traceback, some of them after the
    error was raised here; they would bury its message.
    """

    def __init__(self):
        super().__init__()
        self.on, self.stays, self._hook = False, False, sys.unraisablehook
        logging.getLogger("absl").addFilter(self)
        sys.unraisablehook = self._unraisable

    def filter(self, record: logging.LogRecord) -> bool:
        return not (self.on and "orbax" in record.pathname)

    def _unraisable(self, unraisable) -> None:
        if not (self.on and str(unraisable.exc_value) == "Event loop is closed"):
            self._hook(unraisable)

    def end(self) -> None:
        """Lets Orbax speak again, but for the threads of a save that failed."""
        if self.stays:
            return
        logging.getLogger("absl").removeFilter(self)
        if sys.unraisablehook == self._unraisable:
            sys.unraisablehook = self._hook


def _first_line(error: Exception) -> str:
    text = str(error).strip().splitlines()
    return f"{type(error).__name__}: {text[0][:200]}" if text else type(error).__name__
