"""Evaluations during training: each step that is due is evaluated once, however a run goes."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Mapping, Sequence

import jax
from rich.console import Console

from sg4v_jax.errors import ConfigError, Sg4vError
from sg4v_jax.train.checkpoint import Checkpoints
from sg4v_jax.train.hosts import Hosts
from sg4v_jax.train.metrics import MetricsLog
from sg4v_jax.train.state import TrainState


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """Something to measure every so many steps, and after the last one.

    Attributes:
      name: tells it apart in the log.
      every: steps between measurements.
      run: parameters by path -> {metric: value}. The arrays are the training's own: what `run`
        keeps of them is gone with the next step.
    """

    name: str
    every: int
    run: Callable[[dict[str, jax.Array]], Mapping[str, float]]


class Evaluations:
    """The evaluations of a run.

    Args:
      last: the step at whose end all are due.

    Raises:
      ConfigError: two of the same name, one that is never due, or none although an evaluation is
        to say which checkpoint is best.
    """

    def __init__(
        self,
        evaluations: Sequence[Evaluation],
        *,
        last: int,
        log: MetricsLog,
        checkpoints: Checkpoints,
        console: Console,
        hosts: Hosts | None = None,
    ):
        names = [e.name for e in evaluations]
        twice = [n for n in names if names.count(n) > 1]
        if twice:
            raise ConfigError(f"two evaluations are named {twice[0]!r}", mend="rename one")
        never = [e for e in evaluations if e.every < 1]
        if never:
            raise ConfigError(
                f"evaluation {never[0].name!r} is due every {never[0].every} steps",
                mend="use 1 or more, or leave it out",
            )
        if checkpoints.best_metric is not None and not evaluations:
            raise ConfigError(
                f"run.best is {checkpoints.best_metric!r}, but nothing is evaluated",
                mend="set eval.every and what to evaluate, or leave run.best empty",
            )
        self._all, self._last = tuple(evaluations), last
        self._log, self._checkpoints, self._console = log, checkpoints, console
        self._together = hosts is not None and hosts.count > 1

    def due(self, step: int) -> list[Evaluation]:
        """Those that the log does not have yet at `step`."""
        return [
            e
            for e in self._all
            if step > 0
            and (step % e.every == 0 or step == self._last)
            and not self._log.has_evaluation(e.name, step=step)
        ]

    def run(self, state: TrainState) -> float:
        """Runs what is due at `state.step`, and logs and scores it; the seconds that it took.

        An evaluation that cannot be done (a broken file, a lost disk) is said and logged, and
        training goes on: its hours are worth more. The next one is tried again. Of several
        processes one that fails would leave the others waiting in its collectives: there it
        stops the run.

        Raises:
          Sg4vError: of an evaluation of several processes.
          ConfigError: of an evaluation, or because none measures the metric that is to say which
            checkpoint is best: a mistake in how the run was set up stops it at once.
        """
        began, step, best = time.perf_counter(), int(state.step), self._checkpoints.best_metric
        done = [self._run_one(e, state, step=step) for e in self.due(step)]
        if best and len(done) == len(self._all) and all(done):
            names = sorted(name for metrics in done for name in metrics)
            if best not in names:
                raise ConfigError(f"run.best is {best!r}", mend=f"use one of {', '.join(names)}")
        return time.perf_counter() - began

    def _run_one(self, evaluation: Evaluation, state: TrainState, *, step: int) -> dict[str, float]:
        """Its metrics; none where it failed."""
        name, began = evaluation.name, time.perf_counter()
        try:
            metrics = {f"eval/{k}": float(v) for k, v in evaluation.run(state.params()).items()}
        except ConfigError:
            raise
        except Sg4vError as e:
            if self._together:
                raise
            self._console.print(
                f"evaluation {name} at step {step} failed: {e}", style="red", markup=False
            )
            self._log.write({"step": step, "eval": name, "error": e.message})
            return {}
        # Scored first: a kill between the two then repeats the evaluation, and misses none.
        self._checkpoints.score(step, metrics)
        seconds = round(time.perf_counter() - began, 4)
        self._log.write({"step": step, "eval": name, **metrics, "eval_seconds": seconds})
        said = ", ".join(f"{k.removeprefix('eval/')} {v:.4g}" for k, v in metrics.items())
        self._console.print(f"step {step}: {name}: {said}", markup=False, highlight=False)
        return metrics
