"""Runs `sg4v` with one fault planted: python faulty.py FAULT WHERE ARGV...

signal_at STEP:NAME   signal NAME to itself, right after step STEP is logged
kill_at_file PATTERN  SIGKILL to itself at the first file event that matches: 'open FILE',
                      'os.rename FROM TO', 'os.remove FILE' (the names of Python's audit events)
full_at STEP          from the saving of step STEP on, no file can grow: the disk is full

Checkpoints are written in the background, so where a run is when it is killed is a race, as in
life; `signal_at` lets a save that has begun end first.
"""

from __future__ import annotations

import os
import re
import resource
import signal
import sys

from sg4v_jax.cli import main
from sg4v_jax.train.checkpoint import Checkpoints
from sg4v_jax.train.metrics import MetricsLog


def signal_at(where: str) -> None:
    step, name = where.split(":")
    write, save = MetricsLog.write, Checkpoints.save

    def write_and_signal(self, record):
        write(self, record)
        if record["step"] == int(step):
            os.kill(os.getpid(), getattr(signal, name))

    def save_to_the_end(self, state, **about):
        save(self, state, **about)
        self.wait()

    MetricsLog.write, Checkpoints.save = write_and_signal, save_to_the_end


def kill_at_file(pattern: str) -> None:
    def hook(event, arguments):
        if event == "open" or event.startswith("os."):
            paths = [str(a) for a in arguments if isinstance(a, (str, os.PathLike))]
            if re.match(pattern, " ".join([event, *paths])):
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)


def full_at(step: str) -> None:
    save = Checkpoints.save

    def save_on_full_disk(self, state, **about):
        if int(state.step) == int(step):
            hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
            resource.setrlimit(resource.RLIMIT_FSIZE, (600, hard))
        save(self, state, **about)

    Checkpoints.save = save_on_full_disk


if __name__ == "__main__":
    fault, where, *argv = sys.argv[1:]
    {"signal_at": signal_at, "kill_at_file": kill_at_file, "full_at": full_at}[fault](where)
    sys.exit(main.run(argv))
