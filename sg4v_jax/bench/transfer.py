"""What it costs to move a grid: between processes, and from the host to a device."""

from __future__ import annotations

import statistics
import time
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from sg4v_jax.bench import streams


class Ready:
    """A source whose items exist already, so that only their way back is measured."""

    def __init__(self, item: Any, *, length: int):
        self._item, self._length = item, length

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, index: int) -> Any:
        return self._item


def between_processes(items: Mapping[str, Any], *, repeats: int) -> dict[str, dict]:
    """Ms a grid to bring each of `items` from a worker to the consumer, by kind.

    Returns:
      for each kind: wall and cpu ms (of both processes; None: unknown).
    """
    found = {}
    for kind, item in items.items():
        source = Ready(item, length=1 << 30)
        stream = streams.Stream(lambda s=source: streams.pool(s, workers=1, threads=1), workers=1)
        try:
            stream.drain()
            cell = stream.time(repeats)
        finally:
            stream.close()
        cpu = None if cell.cpu is None else 1e3 * cell.cpu / repeats
        found[kind] = {"wall": 1e3 * cell.wall / repeats, "cpu": cpu}
    return found


def to_device(arrays: Mapping[str, np.ndarray], *, repeats: int) -> dict:
    """MB and grids a second that `jax.device_put` moves, by kind of array (one grid each).

    A copy is forced: on the CPU backend jax would otherwise share the host's memory.
    """
    device = jax.local_devices()[0]
    times = {kind: [] for kind in arrays}
    for turn in range(repeats + 1):  # the first turn allocates
        for kind, array in arrays.items():
            start = time.perf_counter()
            jax.block_until_ready(jax.device_put(array, device, may_alias=False))
            if turn:
                times[kind].append(time.perf_counter() - start)
    rates = {}
    for kind, array in arrays.items():
        seconds = statistics.median(times[kind])
        rates[kind] = {
            "bytes": array.nbytes,
            "mb_per_s": array.nbytes / seconds / 1e6,
            "grids_per_s": 1 / seconds,
        }
    return {"device": device.device_kind, "rates": rates}
