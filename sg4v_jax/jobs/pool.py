"""`run_pool`: several workers on this machine, with a progress bar.

Processes are spawned, not forked, because the caller may hold jax or other threads. A process that
is killed is replaced; its shard is taken up again when its claim expires.
"""

from __future__ import annotations

import multiprocessing
import multiprocessing.connection
import os
import signal
import threading
import traceback
from collections.abc import Callable
from concurrent import futures
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from sg4v_jax.errors import ConfigError, Sg4vError, WorkdirError
from sg4v_jax.jobs import results
from sg4v_jax.jobs.interrupts import Interrupts
from sg4v_jax.jobs.items import Do
from sg4v_jax.jobs.manifest import Manifest
from sg4v_jax.jobs.store import Store
from sg4v_jax.jobs.worker import Report, work

KINDS = ("processes", "threads")
_GRACE = 15.0  # seconds that a worker gets to give its shard back
_LOOK = 0.5  # seconds between updates of the progress bar


def run_pool(
    store: Store,
    do: Do,
    *,
    workers: int,
    kind: str = "processes",
    console: Console | None = None,
    **options: Any,
) -> Report:
    """Runs `workers` workers until the job is done.

    Ctrl-C and SIGTERM stop all workers and raise KeyboardInterrupt; committed shards stay, the
    others are given back, and the next run goes on from there.

    Args:
      store: where `begin` put the job.
      do: as for `work`; picklable for processes (a module's function, or an object that loads
        what it needs at its first call). Threads share it.
      workers: how many.
      kind: "processes", or "threads" for a `do` that mostly waits (HTTP) or releases the lock.
      console: where the progress bar goes; standard error by default.
      options: for `work`: attempts, batch, lease, deaths.

    Raises:
      ConfigError: a bad `workers` or `kind`.
      WorkdirError: workers kept being killed; the message gives their exit codes.
      RuntimeError: a fault of `do` that no item is to blame for; holds the worker's traceback.
      What else `work` raises in a worker.
    """
    if workers < 1 or kind not in KINDS:
        raise ConfigError(
            f"pool: workers={workers}, kind={kind!r} cannot be used",
            mend=f"use 1 or more workers of a kind among {', '.join(KINDS)}",
        )
    manifest = Manifest.load(store)
    run = _run_processes if kind == "processes" else _run_threads
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=console or Console(stderr=True),
    )
    with Interrupts() as interrupts, interrupts.here(), bar:
        shown = bar.add_task("items", total=manifest.items)
        marks: dict[str, Any] = {}

        def show() -> None:
            for name in results.done_shards(store) - set(marks):
                marks[name] = results.read_done(store, name)
            errors = sum(mark["errors"] for mark in marks.values())
            text = f"items ({errors} failed)" if errors else "items"
            bar.update(shown, completed=sum(m["rows"] for m in marks.values()), description=text)

        try:
            return run(store, do, workers, options, show)
        finally:
            show()


def _run_threads(store, do, workers: int, options: dict, show: Callable[[], None]) -> Report:
    stop, total = threading.Event(), Report()
    with futures.ThreadPoolExecutor(workers, thread_name_prefix="worker") as pool:
        try:
            left = {pool.submit(work, store, do, stop=stop, **options) for _ in range(workers)}
            while left:
                ended, left = futures.wait(left, _LOOK, futures.FIRST_COMPLETED)
                for worker in ended:
                    total.add(worker.result())
                show()
        finally:
            stop.set()  # the pool's exit then waits only for calls of `do` in progress
    return total


def _run_processes(store, do, workers: int, options: dict, show: Callable[[], None]) -> Report:
    context = multiprocessing.get_context("spawn")
    total, running, codes = Report(), {}, []

    def start() -> None:
        reader, writer = context.Pipe(duplex=False)
        process = context.Process(target=_child, args=(writer, store, do, options))
        process.start()
        writer.close()  # the child's copy remains, so its death ends the pipe
        running[reader] = process

    try:
        for _ in range(workers):
            start()
        while running:
            for reader in multiprocessing.connection.wait(list(running), timeout=_LOOK):
                process = running[reader]
                try:
                    answer = reader.recv()
                except (EOFError, OSError):
                    answer = None
                process.join()
                del running[reader]
                if isinstance(answer, Report):
                    total.add(answer)
                elif answer is not None:
                    raise answer
                else:
                    codes.append(process.exitcode)
                    if len(codes) > 2 * workers:
                        raise WorkdirError(
                            f"{store}: {len(codes)} workers died, exit codes {codes}",
                            mend="see why (memory?), then run again: what is done stays done",
                        )
                    start()
            show()
        return total
    finally:
        for process in running.values():
            process.terminate()
        for process in running.values():
            process.join(_GRACE)
            process.kill()
            process.join()


def _child(writer, store: Store, do: Do, options: dict) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal sends it to all; the parent decides
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        writer.send(work(store, do, **options))
    except KeyboardInterrupt:
        os._exit(128 + signal.SIGTERM)
    except Sg4vError as e:
        writer.send(e)
    except Exception:  # noqa: BLE001 - whatever it is, the caller sees it
        writer.send(RuntimeError(f"a worker failed:\n{traceback.format_exc()}"))


def _end_with_parent() -> None:
    multiprocessing.connection.wait([multiprocessing.parent_process().sentinel])
    os.kill(os.getpid(), signal.SIGTERM)
