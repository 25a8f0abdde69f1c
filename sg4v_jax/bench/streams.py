"""Worker pools that are measured: each an endless stream of grids, with its processes known.

Every method gets as many worker processes, hands over through the same shared memory, and reads
the same files.
"""

from __future__ import annotations

import multiprocessing
import os
import pathlib
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import grain
from absl import flags

# Threads in each worker. Ours: what training uses unless told otherwise. The original loads with
# torch's loader, whose workers have one thread; CPU seconds tell what is left without threads.
THREADS = {"ours": 2, "original": 1}


class Cell(NamedTuple):
    """One timing: `grids` took `wall` seconds and `cpu` seconds of all processes (None: unknown)."""

    grids: int
    wall: float
    cpu: float | None


class Stream:
    """An iterator over grids and the worker processes behind it.

    Args:
      start: makes the iterator; processes that it starts are counted as its own.
      workers: how many processes it runs (0: none), to know how much lies ready in buffers.
    """

    def __init__(self, start: Callable[[], Iterator[Any]], *, workers: int):
        before = {p.pid for p in multiprocessing.active_children()}
        self._items = start()
        next(self._items)  # the pool is up once its first grid is here
        self._children = [p.pid for p in multiprocessing.active_children() if p.pid not in before]
        # A worker that is not asked has 2 grids read ahead, 1 in hand and 1 handed over.
        self._buffered = 5 * max(workers, 1)

    def drain(self) -> None:
        """Takes what may lie ready, so that the next grids are made while they are timed."""
        for _ in range(self._buffered):
            next(self._items)

    def time(self, grids: int) -> Cell:
        """Takes `grids` grids."""
        cpu, start = self._cpu(), time.perf_counter()
        for _ in range(grids):
            next(self._items)
        wall = time.perf_counter() - start
        after = self._cpu()
        return Cell(grids, wall, None if cpu is None or after is None else after - cpu)

    def close(self) -> None:
        """Ends the worker processes."""
        close = getattr(self._items, "close", None)
        if close is not None:
            close()
        self._items = iter(())

    def _cpu(self) -> float | None:
        used = [cpu_seconds(pid) for pid in self._children]
        return None if None in used else sum(used) + time.process_time()


def cpu_seconds(pid: int) -> float | None:
    """CPU seconds that process `pid` has used in all its threads; None where there is no /proc."""
    try:
        # The name of the program stands in brackets and may hold spaces; fields count from there.
        fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def pool(source: Any, *, workers: int, threads: int) -> Iterator[Any]:
    """The items of a random-access `source`, made in worker processes as the pipeline does.

    Without workers they are made in this process.
    """
    options = grain.ReadOptions(num_threads=threads, prefetch_buffer_size=2)
    data = grain.MapDataset.source(source).to_iter_dataset(options)
    if not workers:
        return iter(data)
    if not flags.FLAGS.is_parsed():  # Grain reads its own flags, also where absl runs no main
        flags.FLAGS.mark_as_parsed()
    return iter(data.mp_prefetch(grain.MultiprocessingOptions(num_workers=workers)))
