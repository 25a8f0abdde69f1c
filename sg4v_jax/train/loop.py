"""The one training loop: resume, step, log, save, stop cleanly. It knows no task.

Order of resuming: the caller builds the abstract state, restores the newest checkpoint or
creates step 0, then asks the data for the batches from that step on.
"""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from sg4v_jax.batch import Batch
from sg4v_jax.errors import StorageError
from sg4v_jax.train import maintenance
from sg4v_jax.train.checkpoint import Checkpoints
from sg4v_jax.train.evaluate import Evaluation, Evaluations
from sg4v_jax.train.flops import Speed
from sg4v_jax.train.goodput import COMPILE, EVALUATION, INPUT, SAVE, STEP, Clock, Ledger
from sg4v_jax.train.hosts import Hosts
from sg4v_jax.train.metrics import MetricsLog, Window
from sg4v_jax.train.nonfinite import RecordsOf, Watch, check_state
from sg4v_jax.train.profile import Profile, annotate
from sg4v_jax.train.state import TrainState
from sg4v_jax.train.stopping import Stop


@dataclasses.dataclass(frozen=True, kw_only=True)
class LoopSettings:
    """How often to log and save, how far to go, and what to do about NaN and infinity.

    Attributes:
      nonfinite: `stop` at the first step whose loss or gradient is not finite, or `skip` it where
        the step function left its update out; `max_skips` in a row.
    """

    steps: int
    log_every: int
    save_every: int
    nonfinite: str = "stop"
    max_skips: int = 10


@dataclasses.dataclass(frozen=True, kw_only=True)
class Around:
    """What is around a loop: the other processes, the accounts of its time, a trace, notices.

    Attributes:
      speed: what a step's seconds are worth; None leaves it out of the log.
      maintenance_url: see `maintenance.watch`.
    """

    hosts: Hosts = dataclasses.field(default_factory=Hosts)
    clock: Clock = dataclasses.field(default_factory=Clock)
    ledger: Ledger | None = None
    profile: Profile | None = None
    speed: Speed | None = None
    maintenance_url: str = ""


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
    evaluations: Sequence[Evaluation] = (),
    records_of: RecordsOf = lambda step: (),
    around: Around | None = None,
) -> Outcome:
    """Trains from `state.step` to `settings.steps`.

    Args:
      step: compiled step; it owns (donates) the state that it is given.
      batches: first step -> iterator of device batches.
      data_state: step -> the data position to save with it.
      rates: step -> learning rates by group, for the log.
      evaluations: what to measure on the way; each at its steps and at the last one.
      records_of: step, counted from 1 as in the log -> names of the records in its batch.
      around: the other processes, each of which runs this loop alike.

    SIGTERM, Ctrl-C and a notice of maintenance, in any process, let the step in progress end, save,
    and return with `finished=False`, all at the same step; what was to be evaluated at that step
    is evaluated when the run goes on.

    Raises:
      DivergedError: the loss, a gradient or a parameter is not finite; nothing is saved from
        that step on.
      StorageError: a save or the log failed; names the step that is still usable.
    """
    around, first, last = around or Around(), int(state.step), settings.steps
    hosts, clock = around.hosts, around.clock
    ledger = around.ledger or Ledger(None, clock=clock, first=first)
    carried = checkpoints.log(first)
    watch = _watch(settings, carried, records_of=records_of, console=console)
    due = Evaluations(
        evaluations, last=last, log=log, checkpoints=checkpoints, console=console, hosts=hosts
    )
    with contextlib.ExitStack() as stack:
        stop, bar, profile = _enter(stack, around, checkpoints=checkpoints, console=console)
        with clock.within(EVALUATION):
            due.run(state)
        if first >= last:
            return Outcome(state, finished=True)
        iterator, window = batches(first), Window(carried.get("window"))
        task = bar.add_task("train", total=last, completed=first, note="")
        for number in range(first, last):
            done = clock.step = number + 1
            profile.before(done)
            batch, waited = _next(iterator, clock=clock)
            with annotate(done), clock.within(COMPILE if number == first else STEP):
                state, metrics = step(state, batch)
            profile.after(done, state)
            window.add(done, metrics, input_seconds=waited)

            if done % settings.log_every == 0 or done == last:
                window.settle(watch.judge)
                record = window.record(done, rates=rates(number), speed=around.speed)
                log.write(record)
                ledger.tick(done, tokens=record.get("tokens", 0.0))
                bar.update(task, note=_note(record))
                window = Window()
            bar.update(task, completed=done)

            # Asked once: a signal that comes later is for the next step.
            stopping, measured = stop.asked(done), due.due(done)
            scored = bool(measured) and checkpoints.best_metric is not None
            if done % settings.save_every == 0 or done == last or stopping or scored:
                window.settle(watch.judge)
                carry = {"window": window.carry(), "skips": watch.in_row}
                with clock.within(SAVE):
                    check_state(state)
                    checkpoints.save(state, data=data_state(done), log=carry)
                ledger.saved(done)
            if stopping and (done < last or measured):
                return Outcome(state, finished=False)
            if measured:
                with clock.within(EVALUATION):
                    window.leave_out(due.run(state))
    return Outcome(state, finished=True)


def _watch(settings: LoopSettings, carried: dict[str, Any], **how: Any) -> Watch:
    skips = carried.get("skips", 0)
    return Watch(action=settings.nonfinite, patience=settings.max_skips, in_row=skips, **how)


def _enter(
    stack: contextlib.ExitStack, around: Around, *, checkpoints: Checkpoints, console: Console
) -> tuple[Stop, Progress, Profile]:
    """What a loop is within; all of it ends with it, the last of these first."""
    stop = stack.enter_context(Stop(around.hosts))
    bar = stack.enter_context(_progress(console))
    stack.enter_context(_written(checkpoints, clock=around.clock))
    stack.callback(_on_notice(stop, url=around.maintenance_url, console=console))
    return stop, bar, stack.enter_context(_ended(around.profile))


def _next(iterator: Iterator[Batch], *, clock: Clock) -> tuple[Batch, float]:
    """The next batch, and the seconds that it took to come."""
    clock.to(INPUT)
    began = time.perf_counter()
    batch = next(iterator)
    clock.to(STEP)
    return batch, time.perf_counter() - began


@contextlib.contextmanager
def _ended(profile: Profile | None) -> Iterator[Profile]:
    """Whatever ends the loop, what was traced is written."""
    profile = profile or Profile("")
    try:
        yield profile
    finally:
        profile.end()


def _on_notice(stop: Stop, *, url: str, console: Console) -> Callable[[], None]:
    def asked(notice: str) -> None:
        console.print(f"notice of maintenance ({notice}): saving", style="yellow", markup=False)
        stop.request()

    return maintenance.watch(url, on_notice=asked)


@contextlib.contextmanager
def _written(checkpoints: Checkpoints, *, clock: Clock) -> Iterator[None]:
    """Leaves only when what is being saved has been written, or is known not to be.

    Where the disk is full, the log fails too: then the save's error says more.
    """
    try:
        yield
    except Exception as e:
        try:
            checkpoints.wait()
        except StorageError as failed:
            if isinstance(e, StorageError):
                raise failed from e
        raise
    with clock.within(SAVE):
        checkpoints.wait()


def _note(record: dict[str, Any]) -> str:
    shown = (("loss", "loss"), ("accuracy", "acc"), ("skipped", "skipped"))
    return " ".join(f"{short} {record[name]:.4g}" for name, short in shown if name in record)


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
