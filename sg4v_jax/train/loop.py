"""The one training loop: resume, step, log, save, stop cleanly. It knows no task.

Order of resuming: the caller builds the abstract state, restores the newest checkpoint or
creates step 0, then asks the data for the batches from that step on.
"""

from __future__ import annotations

import dataclasses
import signal
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from sg4v_jax.batch import Batch
from sg4v_jax.errors import Sg4vError
from sg4v_jax.train.checkpoint import Checkpoints
from sg4v_jax.train.metrics import MetricsLog
from sg4v_jax.train.state import TrainState


class DivergedError(Sg4vError):
    """The loss is not a number any more."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class LoopSettings:
    """How often to log and save, and how far to go."""

    steps: int
    log_every: int
    save_every: int


@dataclasses.dataclass(frozen=True)
class Outcome:
    """How a run ended."""

    state: TrainState
    finished: bool  # False: stopped by a signal, saved, can be resumed


def run(
    state: TrainState,
    *,
    step: Callable[[TrainState, Batch], tuple[TrainState, dict[str, jax.Array]]],
    batches: Callable[[int], Iterator[Batch]],
    data_state: Callable[[int], dict[str, Any]],
    rates: Callable[[int], dict[str, float]],
    checkpoints: Checkpoints,
    log: MetricsLog,
    settings: LoopSettings,
    console: Console,
) -> Outcome:
    """Trains from `state.step` to `settings.steps`.

    Args:
      step: compiled step; it owns (donates) the state that it is given.
      batches: first step -> iterator of device batches.
      data_state: step -> the data position to save with it.
      rates: step -> learning rates by group, for the log.

    SIGTERM and Ctrl-C let the step in progress end, save, and return with `finished=False`.

    Raises:
      DivergedError: the loss is not finite at a logged step; nothing is saved from then on.
    """
    first = int(state.step)
    if first >= settings.steps:
        return Outcome(state, finished=True)
    iterator = batches(first)
    with _StopSignals() as stop, _progress(console) as bar:
        task = bar.add_task("train", total=settings.steps, completed=first, note="")
        window = _Window()
        for number in range(first, settings.steps):
            waited = time.perf_counter()
            batch = next(iterator)
            window.input_seconds += time.perf_counter() - waited
            state, metrics = step(state, batch)
            window.add(metrics)
            done = number + 1
            last = done == settings.steps
            if done % settings.log_every == 0 or last:
                record = window.record(done, rates=rates(number))
                if not np.isfinite(record["loss"]):
                    raise DivergedError(
                        f"the loss is {record['loss']} at step {done}",
                        mend="lower the learning rate, or look at the data of this step",
                    )
                log.write(record)
                bar.update(task, note=f"loss {record['loss']:.3f} acc {record['accuracy']:.3f}")
                window = _Window()
            bar.update(task, completed=done)
            if done % settings.save_every == 0 or last or stop.is_set():
                checkpoints.save(state, data=data_state(done))
            if stop.is_set() and not last:
                return Outcome(state, finished=False)
    return Outcome(state, finished=True)


class _Window:
    """Sums of metrics since the last log line; read from the device only when logged."""

    def __init__(self):
        self.began, self.input_seconds, self._parts = time.perf_counter(), 0.0, []

    def add(self, metrics: dict[str, jax.Array]) -> None:
        self._parts.append(metrics)

    def record(self, step: int, *, rates: dict[str, float]) -> dict:
        parts = [{k: float(v) for k, v in m.items()} for m in jax.device_get(self._parts)]
        total = {k: sum(p[k] for p in parts) for k in parts[0]}
        seconds = time.perf_counter() - self.began
        weight = max(total["weight"], 1e-9)
        return {
            "step": step,
            "loss": sum(p["loss"] * p["weight"] for p in parts) / weight,
            "accuracy": total["correct"] / max(total["scored"], 1.0),
            "grad_norm": total["grad_norm"] / len(parts),
            "samples": total["samples"],
            "tokens": total["tokens"],
            "scored": total["scored"],
            "seconds": round(seconds, 4),
            "input_seconds": round(self.input_seconds, 4),
            **{f"rate/{name}": rate for name, rate in rates.items()},
        }


class _StopSignals:
    """Within it, SIGTERM and Ctrl-C ask the loop to save and stop; a second Ctrl-C interrupts."""

    def __init__(self):
        self._event, self._old = threading.Event(), {}

    def __enter__(self) -> threading.Event:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGINT):
                self._old[number] = signal.signal(number, self._ask)
        return self._event

    def _ask(self, number, frame):
        if self._event.is_set() and number == signal.SIGINT:
            raise KeyboardInterrupt
        self._event.set()

    def __exit__(self, *_):
        for number, handler in self._old.items():
            signal.signal(number, handler)


def _progress(console: Console) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
        console=console,
        refresh_per_second=2,
    )
