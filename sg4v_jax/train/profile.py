"""A window of steps traced by jax's profiler, for TensorBoard's profile plugin and xprof.

sg4v train ... --config.profile.steps=100:105
xprof --logdir=WORKDIR/profile        (or tensorboard --logdir=WORKDIR/profile)
"""

from __future__ import annotations

import os
import re
from typing import Any

import jax

from sg4v_jax import files
from sg4v_jax.errors import ConfigError
from sg4v_jax.train.hosts import Hosts

FOLDER = "profile"
WHO = ("primary", "all")


class Profile:
    """Traces the steps FIRST to LAST - 1 of `window`, counted from 1 as in the log.

    Args:
      folder: the working directory.
      window: `FIRST:LAST`, or empty for none.
      hosts: this run's; `who` says whether the primary alone traces, or each process.

    Raises:
      ConfigError: a window that is none.
    """

    def __init__(
        self,
        folder: str | os.PathLike,
        *,
        window: str = "",
        who: str = "primary",
        hosts: Hosts | None = None,
    ):
        self._folder, hosts = files.path(folder) / FOLDER, hosts or Hosts()
        self._first, self._last = _window(window)
        if who not in WHO:
            raise ConfigError(f"profile.who is {who!r}", mend=f"use one of {', '.join(WHO)}")
        self._mine = bool(window) and (hosts.primary or who == "all")
        self._on = False

    def before(self, step: int) -> None:
        """To be called before step `step` begins."""
        if self._mine and not self._on and self._first <= step < self._last:
            # After a resumption within the window, what is left of it.
            jax.profiler.start_trace(os.fspath(self._folder))
            self._on = True

    def after(self, step: int, state: Any) -> None:
        """To be called once step `step` was begun; waits for `state` where the window ends."""
        if self._on and step >= self._last - 1:
            jax.block_until_ready(state)
            self.end()

    def end(self) -> None:
        """Writes what was traced, if anything."""
        if self._on:
            self._on = False
            jax.profiler.stop_trace()


def annotate(step: int) -> jax.profiler.StepTraceAnnotation:
    """Within it, a trace knows that it is in step `step`."""
    return jax.profiler.StepTraceAnnotation("train", step_num=step)


def _window(text: str) -> tuple[int, int]:
    if not text:
        return 0, 0
    found = re.fullmatch(r"(\d+):(\d+)", text)
    if not found or not 1 <= int(found[1]) < int(found[2]):
        raise ConfigError(
            f"profile.steps is {text!r}", mend="use FIRST:LAST, for example 100:105 for five steps"
        )
    return int(found[1]), int(found[2])
