"""Pictures of videos made ahead of need, in threads: once for all questions about a video."""

from __future__ import annotations

import collections
import os
import threading
from collections.abc import Callable, Hashable, Iterable
from concurrent import futures
from typing import Generic, Self, TypeVar

T = TypeVar("T")


class Ahead(Generic[T]):
    """Makes what will be asked for, in order, at most so many things before they are taken.

        with Ahead(make, workers=2, ahead=32) as pictures:
            pictures.want(["a.mp4", "b.mp4"])    # starts on both
            pictures.get("a.mp4")                # waits for the first; kept until no longer wanted

    Args:
      make: what is made of a key, in a thread; its exception is raised by `get`.
      workers: threads; by default one a core.
      ahead: things that are made or being made at once; 0 makes each when it is asked for, in
        the asking thread.
    """

    def __init__(self, make: Callable[[Hashable], T], *, ahead: int, workers: int | None = None):
        self._make, self._ahead = make, ahead
        self._pool = futures.ThreadPoolExecutor(workers or os.cpu_count() or 1, "pictures")
        self._made: dict[Hashable, futures.Future[T]] = {}
        self._queue: collections.deque[Hashable] = collections.deque()
        self._lock = threading.Lock()
        self.count = 0  # things begun, for tests

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)

    def want(self, keys: Iterable[Hashable]) -> None:
        """Says what will be asked for from now on, soonest first; the rest is let go."""
        wanted = list(dict.fromkeys(keys))
        with self._lock:
            for key in set(self._made) - set(wanted):
                self._made.pop(key).cancel()
            self._queue = collections.deque(key for key in wanted if key not in self._made)
            self._fill()

    def get(self, key: Hashable) -> T:
        """What was made of `key`, now if it has not been begun."""
        with self._lock:
            made = key in self._made
            if not made and self._ahead:
                self._begin(key)
            elif not made:
                self.count += 1
                self._made[key] = futures.Future()
            future = self._made[key]
        if not made and not self._ahead:
            self._make_here(key, future)
        return future.result()

    def done(self, key: Hashable) -> None:
        """Says that `key` will not be asked for again."""
        with self._lock:
            self._made.pop(key, None)
            self._fill()

    def _make_here(self, key: Hashable, future: futures.Future[T]) -> None:
        try:
            future.set_result(self._make(key))
        except Exception as e:  # noqa: BLE001 - `get` raises it, now and whenever asked again
            future.set_exception(e)

    def _fill(self) -> None:
        while self._queue and len(self._made) < self._ahead:
            key = self._queue.popleft()
            if key not in self._made:
                self._begin(key)

    def _begin(self, key: Hashable) -> None:
        self.count += 1
        self._made[key] = self._pool.submit(self._make, key)
