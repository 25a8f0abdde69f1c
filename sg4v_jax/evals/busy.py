"""How much of a run the device was busy."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Hashable, Iterator
from typing import Any


class BusyClock:
    """Adds up the time from batch to batch, and how much of it the device computed.

    The first batch of each shape compiles; it counts for neither. So does the time before the
    first batch that counts.
    """

    def __init__(self, now=time.perf_counter):
        self._now = now
        self._met: set[Hashable] = set()
        self._last: float | None = None
        self.busy = self.wall = self.compiling = 0.0
        self.batches = 0

    @contextlib.contextmanager
    def batch(self, shape: Hashable) -> Iterator[None]:
        """Around the work of one batch."""
        began = self._now()
        yield
        ended = self._now()
        if shape not in self._met:
            self._met.add(shape)
            self.compiling += ended - began
        elif self._last is not None:
            self.busy += ended - began
            self.wall += ended - self._last
            self.batches += 1
        self._last = ended

    @property
    def idle_share(self) -> float | None:
        """The share of time in which the device waited for the host; None if nothing counts."""
        return 1 - self.busy / self.wall if self.wall else None

    def to_json(self) -> dict[str, Any]:
        idle = self.idle_share
        return {
            "batches": self.batches,
            "seconds": round(self.wall, 3),
            "busy_seconds": round(self.busy, 3),
            "first_batches_seconds": round(self.compiling, 3),
            "idle_share": None if idle is None else round(idle, 4),
        }
