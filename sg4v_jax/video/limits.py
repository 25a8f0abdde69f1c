"""A time limit on reading one video, which holds even while a decoder hangs in C."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TypeVar

from sg4v_jax.errors import ConfigError, DecodeTimeoutError

T = TypeVar("T")

TIME_LIMIT = 60.0  # seconds; 16 frames of an hour of 1080p take some ten on a slow core
# How much later than the deadline the caller leaves: time for the reader to end by itself.
_GRACE = 0.25
_FOREVER = threading.TIMEOUT_MAX


class Deadline:
    """The moment by which a video must be read.

    Readers call `check` between packets and frames. `remaining` is what one blocking call of
    FFmpeg may take.
    """

    def __init__(self, name: str, *, seconds: float):
        if not seconds > 0:
            raise ConfigError(
                f"{name}: a time limit of seconds={seconds}",
                mend="give a positive number of seconds; math.inf means no limit",
            )
        self.name, self.seconds = name, seconds
        self._end = time.monotonic() + seconds

    @property
    def remaining(self) -> float | None:
        """Seconds left, at least a millisecond; None without a limit."""
        left = self._end - time.monotonic()
        return None if left > _FOREVER else max(left, 0.001)

    def check(self) -> None:
        """Raises `DecodeTimeoutError` once the time is up."""
        if time.monotonic() >= self._end:
            raise self.error()

    def give_up(self) -> None:
        """Lets the next `check` fail: nobody waits for the result any more."""
        self._end = 0.0

    def error(self) -> DecodeTimeoutError:
        return DecodeTimeoutError(
            f"{self.name}: not read within {self.seconds:g} seconds",
            mend="give more seconds if the video is long, else re-encode it or leave it out",
        )


def run_within(name: str, *, seconds: float, work: Callable[[Deadline], T]) -> T:
    """`work(deadline)`, given up after `seconds`.

    The work is done in a daemon thread: Python cannot stop a decoder that hangs in C, but it can
    stop waiting. Such a thread is left behind (it ends at its next check, if it ever gets there)
    and does not keep the process from exiting.

    Args:
      name: the file, for the message.
      seconds: above 0; `math.inf` for no limit.
      work: what to do; it should call `deadline.check` often.

    Raises:
      DecodeTimeoutError: the time is up.
      ConfigError: `seconds` is not above 0.
      Whatever `work` raises.
    """
    deadline = Deadline(name, seconds=seconds)
    if deadline.remaining is None:
        return work(deadline)
    results: list[T] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            results.append(work(deadline))
        except BaseException as e:  # noqa: BLE001 - it belongs to the waiting thread
            errors.append(e)

    worker = threading.Thread(target=run, daemon=True, name=f"read {name}")
    worker.start()
    try:
        worker.join(deadline.remaining + _GRACE)
    finally:
        deadline.give_up()
    if errors:
        raise errors.pop()
    if not results:
        raise deadline.error()
    return results.pop()
