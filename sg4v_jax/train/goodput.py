"""Where the seconds of a run went, over all its starts: what trained, and what did not.

A `Clock` splits the time of one start into phases; a `Ledger` writes it to `WORKDIR/goodput.json`,
again and again, so that a kill loses little; `summary` adds up all starts. Seconds are of the main
thread of the primary: `step` is what is left of the loop, waiting for the device included; `input`
is time in which the loop waited for the loader, in which the device may still have worked. What was
trained after the last checkpoint of a start that was cut off is done again: that is `lost`, taken
out of `step` and `input`. `down` lies between two starts: the time in which no process ran, and what
the ledger of a killed one did not get to write.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from sg4v_jax import files
from sg4v_jax.errors import RecordError, StorageError
from sg4v_jax.train.flops import Speed

FILE = "goodput.json"
INIT, COMPILE, INPUT, STEP, SAVE, EVALUATION = (
    "init",
    "compile",
    "input",
    "step",
    "save",
    "evaluation",
)
PHASES = (INIT, INPUT, COMPILE, STEP, SAVE, EVALUATION)  # as a step goes through them
LOST, DOWN = "lost", "down"
EVERY = 20.0  # seconds between two writings


class Clock:
    """Seconds by phase, from its making on; always in exactly one phase.

    Attributes:
      phase, step: where the loop is now; other threads may look.
    """

    def __init__(self, now: Callable[[], float] = time.perf_counter):
        self._now, self._since = now, now()
        self._seconds = dict.fromkeys(PHASES, 0.0)
        self.phase, self.step = INIT, 0

    def to(self, phase: str) -> None:
        """The phase before ends, this one begins."""
        now = self._now()
        self._seconds[self.phase] += now - self._since
        self.phase, self._since = phase, now

    @contextlib.contextmanager
    def within(self, phase: str) -> Iterator[None]:
        """`phase`, and then again the one before."""
        before = self.phase
        self.to(phase)
        try:
            yield
        finally:
            self.to(before)

    def seconds(self) -> dict[str, float]:
        """Seconds of each phase until now."""
        return self._seconds | {self.phase: self._seconds[self.phase] + self._now() - self._since}


class Ledger:
    """Writes one start of a run beside the earlier ones.

    Args:
      folder: the working directory; None writes nothing (all processes but the primary).
      first: the step resumed from.
      now: wall-clock seconds.
    """

    def __init__(
        self,
        folder: str | os.PathLike | None,
        *,
        clock: Clock,
        first: int,
        now: Callable[[], float] = time.time,
    ):
        self._file = None if folder is None else files.path(folder) / FILE
        self._clock, self._now, self._written = clock, now, now()
        self._earlier = read(folder) if folder is not None else []
        began = now() - sum(clock.seconds().values())
        self._row: dict[str, Any] = {"began": began, "first": first, "last": first, "saved": {}}
        self._row |= {"outcome": "running", "tokens": 0.0}
        self.write(outcome="running")  # a start that is killed at once is one, too

    def saved(self, step: int) -> None:
        """A checkpoint of `step` was begun: what comes after it may have to be done again."""
        self._row["saved"] |= {str(step): _trained(self._clock.seconds())}
        kept = sorted(self._row["saved"].items(), key=lambda s: int(s[0]))[-20:]
        self._row["saved"] = dict(kept)
        self.write(outcome="running")

    def tick(self, step: int, *, tokens: float = 0.0) -> None:
        """The loop is at `step`, `tokens` further; writes now and then."""
        self._row |= {"last": step, "tokens": self._row["tokens"] + tokens}
        if self._now() - self._written > EVERY:
            self.write(outcome="running")

    def speed(self, speed: Speed) -> dict[str, float]:
        """What the seconds of this start's steps were worth, waiting for data included."""
        steps = self._row["last"] - self._row["first"]
        seconds = _trained(self._clock.seconds())
        return speed.of(steps=steps, tokens=self._row["tokens"], seconds=seconds)

    def write(self, *, outcome: str) -> None:
        """Writes all starts. Where the disk is full, the save says so, not this."""
        if self._file is None:
            return
        self._written = self._now()
        seconds = {k: round(v, 3) for k, v in self._clock.seconds().items()}
        row = self._row | {"seconds": seconds, "ended": self._written, "outcome": outcome}
        with contextlib.suppress(StorageError):
            files.write_json(self._file, {"starts": [*self._earlier, row]})


def read(folder: str | os.PathLike) -> list[dict[str, Any]]:
    """The starts that the ledger of a working directory has, oldest first; none without a file.

    Raises:
      RecordError: the file is damaged.
    """
    file = files.path(folder) / FILE
    if not file.exists():
        return []
    starts = files.read_json(file)
    wanted = {"began", "ended", "first", "last", "saved", "seconds"}
    starts = starts.get("starts") if isinstance(starts, dict) else None
    if not isinstance(starts, list) or any(not wanted <= set(s) for s in starts):
        raise RecordError(f"{file}: not a ledger", mend="remove it; it is begun anew")
    return starts


@dataclasses.dataclass(frozen=True)
class Summary:
    """Seconds of all starts of a run.

    Attributes:
      starts: how often it was started.
      steps: steps that count.
      seconds: by phase, `lost` and `down` among them; they add up to all of it.
    """

    starts: int
    steps: int
    seconds: Mapping[str, float]

    @property
    def total(self) -> float:
        return sum(self.seconds.values())

    @property
    def goodput(self) -> float:
        """The share of all time in which steps were trained that count."""
        return self.seconds[STEP] / self.total if self.total else 0.0


def summary(starts: Sequence[Mapping[str, Any]]) -> Summary:
    """Adds up starts, and finds what was done twice.

    >>> before = {"init": 5.0, "input": 1.0, "step": 9.0}
    >>> summary([  # killed after 9 seconds of steps, of which 6 were saved
    ...     {"began": 0, "ended": 15, "first": 0, "last": 9, "seconds": before, "saved": {"6": 6.5}},
    ...     {"began": 18, "ended": 28, "first": 6, "last": 12, "seconds": {"step": 10.0}, "saved": {}},
    ... ]).seconds["lost"]
    3.5
    """
    seconds = dict.fromkeys((*PHASES, LOST, DOWN), 0.0)
    for number, start in enumerate(starts):
        own = dict(start["seconds"])
        if number + 1 < len(starts):
            later = starts[number + 1]
            seconds[DOWN] += max(0.0, later["began"] - start["ended"])
            lost = _lost(start, resumed=later["first"])
            seconds[LOST] += lost
            share = lost / max(_trained(own), 1e-9)
            for phase in (INPUT, STEP):
                own[phase] = own.get(phase, 0.0) * (1 - share)
        for phase, value in own.items():
            seconds[phase] += value
    steps = starts[-1]["last"] if starts else 0
    return Summary(len(starts), steps, seconds)


def _trained(seconds: Mapping[str, float]) -> float:
    return seconds.get(STEP, 0.0) + seconds.get(INPUT, 0.0)


def _lost(start: Mapping[str, Any], *, resumed: int) -> float:
    """Seconds of steps and input of `start` after the step that the next one resumed from."""
    trained = _trained(start["seconds"])
    if resumed >= start["last"]:
        return 0.0
    before = 0.0 if resumed <= start["first"] else start["saved"].get(str(resumed), trained)
    return max(0.0, trained - before)


def said(found: Summary) -> str:
    """One line for people.

    >>> said(Summary(1, 12, dict.fromkeys((*PHASES, LOST, DOWN), 0.0) | {"init": 3.0, "step": 9.0}))
    'goodput 75.0 % of 12 s: step 75.0 %, init 25.0 %; 12 steps, 1 start'
    """
    parts = sorted(found.seconds.items(), key=lambda p: -p[1])
    shares = ", ".join(f"{n} {s / found.total:.1%}" for n, s in parts if s >= 5e-4 * found.total)
    starts = f"{found.starts} start{'s' if found.starts != 1 else ''}"
    text = f"goodput {found.goodput:.1%} of {duration(found.total)}: {shares}"
    return f"{text}; {found.steps} steps, {starts}".replace("%", " %")


def show(folder: str | os.PathLike, *, console: Console) -> None:
    """Prints the starts of the run in `folder`, their sum, and `said`.

    Raises:
      RecordError: nothing was trained there, or its ledger is damaged.
    """
    starts = read(folder)
    if not starts:
        raise RecordError(f"{folder}: no {FILE}", mend="give the workdir of `sg4v train`")
    found = summary(starts)
    table = Table("start", "steps", *PHASES, LOST, DOWN, "how it ended")
    for number, start in enumerate(starts):
        own = summary(starts[number : number + 2]), summary(starts[number + 1 : number + 2])
        row = {k: v - own[1].seconds[k] for k, v in own[0].seconds.items()}
        steps = f"{start['first']} to {start['last']}"
        cells = [f"{v:.1f}" for v in row.values()]
        table.add_row(str(number + 1), steps, *cells, start.get("outcome", ""))
    table.add_row("all", str(found.steps), *(f"{v:.1f}" for v in found.seconds.values()), "")
    console.print(table)
    console.print(said(found), markup=False, highlight=False)


def duration(seconds: float) -> str:
    """`45 s`, `12 min 5 s`, `3 h 20 min`."""
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 1:
        return f"{rest} s"
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"
