"""SIGTERM, Ctrl-C and notices of maintenance: all processes stop after the same step.

A process that is asked leaves a note. Each process that sees it writes down its last step, and none
begins another until all have: the step after the latest of them is the last. The way of jax's own
`reached_preemption_sync_point`, which knows no Ctrl-C and loses a notice before the first step.
"""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from typing import Self

from sg4v_jax.train.hosts import POLL, Hosts

INTERVAL = 1.0  # seconds between two looks for a note


class Stop:
    """Within it, SIGTERM and Ctrl-C ask the loop to stop; a second Ctrl-C interrupts."""

    def __init__(self, hosts: Hosts | None = None):
        self._hosts, self._old = hosts or Hosts(), {}
        self._asked, self._over = threading.Event(), threading.Event()
        self._lock, self._step, self._last = threading.Lock(), None, None
        self._name = self._hosts.fresh("stop")
        self._thread = threading.Thread(target=self._listen, name="sg4v-stop", daemon=True)

    def request(self) -> None:
        """As a signal does."""
        self._asked.set()

    def asked(self, step: int) -> bool:
        """Whether `step` is the last; to be called after each step, on all processes alike."""
        if self._hosts.count == 1:
            return self._asked.is_set()
        with self._lock:
            self._step = step
            return self._last is not None and step >= self._last

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGINT):
                self._old[number] = signal.signal(number, self._on_signal)
        if self._hosts.count > 1:
            self._thread.start()
        return self

    def __exit__(self, *_):
        for number, handler in self._old.items():
            signal.signal(number, handler)
        self._over.set()
        if self._hosts.count > 1 and self._last is None:
            with contextlib.suppress(Exception):  # the coordinator may be what failed
                self._post()  # others may wait for it

    def _on_signal(self, number, frame):
        if self._asked.is_set() and number == signal.SIGINT:
            raise KeyboardInterrupt
        self._asked.set()

    def _post(self) -> None:
        self._hosts.put(f"{self._name}/at/{self._hosts.index}", str(self._step or 0))

    def _listen(self) -> None:
        with contextlib.suppress(Exception):  # where the store is gone, the heartbeat says so
            told = False
            while not self._over.is_set():
                if self._asked.wait(INTERVAL) and not told:
                    self._hosts.put(f"{self._name}/asked/{self._hosts.index}", "yes")
                    told = True
                if self._step is not None and self._hosts.notes(f"{self._name}/asked"):
                    self._settle()
                    return
                if told:
                    self._over.wait(0.1)

    def _settle(self) -> None:
        """Fixes the last step; `asked` waits meanwhile, so that no step begins."""
        with self._lock:
            self._post()
            while not self._over.is_set():
                steps = self._hosts.notes(f"{self._name}/at")
                if len(steps) == self._hosts.count:
                    self._last = max(map(int, steps.values())) + 1
                    return
                time.sleep(POLL)
