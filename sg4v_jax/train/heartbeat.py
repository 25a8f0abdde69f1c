"""Hosts that are gone or hang are found, named, and end the run on all the others.

Each process writes every few seconds how far its loop is, from a thread that runs while the main one
waits for the others in a collective: a wait that may never end. Who has not written for `timeout`
seconds is gone; where nothing has moved anywhere for `hang` seconds, those furthest behind hang.
The others then end at once with an exit code of their own. Nothing is half saved by that: a
checkpoint gets its name only when all have written their part.

jax aborts a process whose coordinator is gone (process 0, or the way to it). The handler of SIGABRT
turns that into the same words and code.
"""

from __future__ import annotations

import contextlib
import ctypes
import dataclasses
import json
import multiprocessing
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping

from rich.console import Console

from sg4v_jax.errors import Sg4vError
from sg4v_jax.train.goodput import COMPILE, EVALUATION, INIT, PHASES, Clock
from sg4v_jax.train.hosts import Hosts

# In these the hosts may rightly take long.
PATIENT = (INIT, COMPILE, EVALUATION)
AGAIN = "start all processes again; the run goes on from the last checkpoint"
OVER = "over"


@dataclasses.dataclass(frozen=True)
class Codes:
    """Exit codes: of a lost host, of an error that a user can mend, of a bug, of Ctrl-C."""

    lost: int
    error: int
    bug: int
    interrupted: int


class Judge:
    """Says from the beats who is gone or hangs.

    Args:
      count: processes.
      timeout, hang: seconds, as `run.host_timeout` and `run.hang_timeout`.
      now: seconds of any clock.
    """

    def __init__(self, count: int, *, timeout: float, hang: float, now: float):
        self._timeout, self._hang = timeout, hang
        self._heard = dict.fromkeys(range(count), ("", now))  # the last beat, and when it came
        self._moved = now
        self._places: dict[int, tuple[int, str]] = {}

    def look(self, beats: Mapping[int, str], *, now: float) -> str:
        """What is wrong by these beats, naming the hosts; empty while all is well."""
        for host, beat in beats.items():
            if beat != self._heard[host][0]:
                self._heard[host] = (beat, now)
        told = {h: json.loads(b) for h, (b, _) in self._heard.items() if b}
        left = {h for h, t in told.items() if t["phase"] == OVER}
        places = {h: (t["step"], t["phase"]) for h, t in told.items() if h not in left}
        gone = [
            h for h, (_, at) in self._heard.items() if h not in left and now - at > self._timeout
        ]
        if gone:
            silent = max(now - self._heard[h][1] for h in gone)
            return f"{_named(gone, told)} gone: no sign of life for {silent:.0f} s"
        if places != self._places or any(p in PATIENT for _, p in places.values()):
            self._places, self._moved = places, now
        if places and now - self._moved > self._hang:
            order = {h: (step, PHASES.index(phase)) for h, (step, phase) in places.items()}
            behind = [h for h in order if order[h] == min(order.values())]
            return (
                f"{_named(behind, told)} hanging: nothing has moved for {now - self._moved:.0f} s"
            )
        return ""


def _named(hosts: list[int], told: Mapping[int, dict]) -> str:
    one = lambda h: (
        f"process {h} ({told[h]['name']}, in {told[h]['phase']} at step {told[h]['step']})"
        if h in told
        else f"process {h}"
    )
    more = f" and {len(hosts) - 8} more" if len(hosts) > 8 else ""
    return f"{', '.join(map(one, hosts[:8]))}{more} {'is' if len(hosts) == 1 else 'are'}"


class Heartbeat:
    """Beats, and watches the beats of the others.

    Args:
      hosts: of this run.
      clock: says in which phase and at which step this process is.
    """

    def __init__(
        self,
        hosts: Hosts,
        *,
        clock: Clock,
        timeout: float,
        hang: float,
        codes: Codes,
    ):
        self._hosts, self._clock, self._codes = hosts, clock, codes
        self._timeout = timeout
        self.interval = min(2.0, timeout / 5)
        self._judge = Judge(hosts.count, timeout=timeout, hang=hang, now=time.monotonic())
        self._over, self._count, self._name = threading.Event(), 0, os.uname().nodename
        self._thread = threading.Thread(target=self._run, name="sg4v-heartbeat", daemon=True)

    def start(self) -> None:
        """Begins to beat and to watch."""
        on_abort(self._coordinator_lost)
        self._beat()
        self._thread.start()

    def stop(self) -> None:
        """This process leaves in good order."""
        self._over.set()
        with contextlib.suppress(Exception):
            self._beat(phase=OVER)

    def fail(self, code: int, message: str) -> None:
        """Tells the others that this process ends by an error, and gives them time to hear it."""
        self._over.set()
        with contextlib.suppress(Exception):
            self._hosts.put(f"failed/{self._hosts.index}", json.dumps([code, message]))
            time.sleep((3 if self._hosts.primary else 1) * self.interval)

    def wait_for_verdict(self) -> None:
        """After an error of the runtime, which may be due to a lost host: until that is known."""
        time.sleep(self._timeout + 2 * self.interval)

    def _beat(self, phase: str | None = None) -> None:
        self._count += 1
        where = {"phase": phase or self._clock.phase, "step": self._clock.step}
        beat = {"n": self._count, "name": self._name, **where}
        self._hosts.put(f"beat/{self._hosts.index}", json.dumps(beat))

    def _run(self) -> None:
        while not self._over.wait(self.interval):
            try:
                self._look()
            except RuntimeError:  # jax's errors are: the store is gone, and process 0 with it
                if not self._over.is_set():
                    self._coordinator_lost()
                return

    def _look(self) -> None:
        """Beats once, and ends this process where another's state demands it."""
        self._beat()
        failed, verdicts = self._hosts.notes("failed"), self._hosts.notes("verdict")
        beats = {int(k): v for k, v in self._hosts.notes("beat").items()}
        if failed and not self._over.is_set():
            host, note = min(failed.items())
            code, message = json.loads(note)
            self._end(code, f"process {host} stopped: {message}", mend="")
        wrong = next(iter(verdicts.values()), "")
        if not wrong and (wrong := self._judge.look(beats, now=time.monotonic())):
            self._hosts.put(f"verdict/{self._hosts.index}", wrong)
        if wrong and not self._over.is_set():
            self._end(self._codes.lost, wrong, mend=AGAIN)

    def _coordinator_lost(self, *_) -> None:
        who = "process 0, the coordinator, is gone, or the way to it"
        if self._hosts.primary:
            who = "the runtime has aborted this process; the lines above say why"
        self._end(self._codes.lost, who, mend=AGAIN)

    def _end(self, code: int, message: str, *, mend: str) -> None:
        with contextlib.suppress(Exception):
            say = f"error: {message}" + (f"\n  mend: {mend}" if mend else "")
            sys.stderr.write(f"{say}\n")
            sys.stderr.flush()
        if self._hosts.primary:
            time.sleep(3 * self.interval)  # the store goes with it: the others read it first
        leave(code)  # the main thread may be in a wait that no exception ends


@contextlib.contextmanager
def together(hosts: Hosts, beat: Heartbeat, *, codes: Codes) -> Iterator[None]:
    """An error in one process ends all of them, with its code; nothing for a single one.

    The process itself ends by `os._exit`: jax's way out would wait for the others, who wait for it.
    """
    if hosts.count == 1:
        yield
        return
    beat.start()
    try:
        yield
        hosts.gather("done", "yes")
    except BaseException as e:  # noqa: BLE001 - whatever it is, the others must not wait
        if isinstance(e, Sg4vError):
            code, text = codes.error, str(e)
            Console(stderr=True).print(
                f"error: {text}", style="red", markup=False, highlight=False, soft_wrap=True
            )
        else:
            if type(e).__module__.startswith("jax"):
                beat.wait_for_verdict()
            stopped = isinstance(e, KeyboardInterrupt)
            code, text = codes.interrupted if stopped else codes.bug, f"{type(e).__name__}: {e}"
            traceback.print_exc()
        beat.fail(code, text)
        leave(code)
    beat.stop()


def leave(code: int) -> None:
    """Ends this process at once, with the loader's workers, which would outlive it."""
    for child in multiprocessing.active_children():
        child.kill()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


_kept = []  # what C code points to must stay


def on_abort(handler: Callable[..., None]) -> None:
    """Calls `handler` when C++ code aborts. Python's own handlers would wait for the main thread."""
    called = ctypes.CFUNCTYPE(None, ctypes.c_int)(handler)
    _kept.append(called)
    libc = ctypes.CDLL(None)
    libc.signal.argtypes = [ctypes.c_int, ctypes.c_void_p]
    libc.signal.restype = ctypes.c_void_p
    libc.signal(signal.SIGABRT, ctypes.cast(called, ctypes.c_void_p))
