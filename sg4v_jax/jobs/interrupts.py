"""Ctrl-C and SIGTERM as KeyboardInterrupt, at places where nothing is left half done."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from typing import Self

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupts:
    """Within it, a signal raises KeyboardInterrupt inside `with here():`, or at the next one.

    A signal that meets no such place raises at the end. A second signal raises wherever it comes.
    In a thread other than the main one nothing changes.

        with Interrupts() as interrupts:
            claim()                     # a signal that comes now ...
            with interrupts.here():     # ... raises here
                compute()
    """

    def __init__(self) -> None:
        self._open, self._pending = False, False
        self._old: dict[int, object] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            self._old = {number: signal.signal(number, self._handle) for number in _SIGNALS}
        return self

    def __exit__(self, kind, *_) -> None:
        for number, handler in self._old.items():
            signal.signal(number, handler)
        if self._pending and kind is None:
            raise KeyboardInterrupt

    @contextlib.contextmanager
    def here(self) -> Iterator[None]:
        """Where an interrupt may come."""
        self._open = True
        try:
            if self._pending:
                raise KeyboardInterrupt
            yield
        finally:
            self._open = False

    def _handle(self, *_) -> None:
        second, self._pending = self._pending, True
        if self._open or second:
            raise KeyboardInterrupt
