"""One run brought to its end: started, started again when it was stopped, and read."""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import os
import pathlib
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TextIO

from sg4v_jax import files
from sg4v_jax.sweep.expand import Run
from sg4v_jax.sweep.launchers import Launcher

AGAIN = (3, 4)  # of cli/exit_codes.py: told to stop, and saved; another host was lost
_SHELL_KILLED = 128  # a shell's code for a signal is this much more than its number
_REASON = 300  # characters of a log that tell why
_POLL = 0.5  # seconds between looks at a lock
# No times: they differ between two runs of the same thing, and the table should not.
_USUAL = ("step", "loss", "accuracy")


@dataclasses.dataclass(frozen=True)
class RunWork:
    """The `do` of a sweep's job: takes items `{"id", "overrides"}`, gives rows with metrics.

    Attributes:
      config: the config file, with its argument.
      out: the folder of all workdirs; `out/NAME` is that of a run.
      logs: a local folder for logs and locks.
      metrics: names of what to read of `metrics.jsonl`; empty: the usual ones.
      slots: runs at a time.
      restarts: how often a run may be stopped without having saved anything in between.
    """

    launcher: Launcher
    config: str
    out: str
    logs: str
    metrics: tuple[str, ...] = ()
    slots: int = 1
    restarts: int = 5

    def __call__(self, items: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        return [self.run_one(Run(item["id"], item["overrides"])) for item in items]

    def workdir(self, run: Run) -> str:
        """Where `run` keeps its checkpoints and its log."""
        return f"{self.out.rstrip('/')}/{run.name}"

    def run_one(self, run: Run) -> dict[str, Any]:
        """The row of `run`; an `error` that is not None tells why there are no results."""
        workdir = self.workdir(run)
        row = {"id": run.name, "error": None, "overrides": dict(run.overrides), "workdir": workdir}
        row["metrics"] = {}
        with self._alone(run) as lock, self._slot() as (slot, slot_lock):
            words = dict(config=self.config, workdir=workdir, slot=slot)
            command = self.launcher.command(run, **words)
            row["error"] = self._until_done(run, command, keep_open=(lock, slot_lock))
        if row["error"] is None:
            row["metrics"] = read_metrics(workdir, names=self.metrics)
            if not row["metrics"]:
                row["error"] = f"it ended well, but {workdir}/metrics.jsonl has no such numbers"
        return row

    def _until_done(
        self, run: Run, command: list[str], *, keep_open: Sequence[TextIO]
    ) -> str | None:
        """Why the run failed, None if it is done."""
        idle, saved, log = 0, saved_steps(self.workdir(run)), self._file(f"{run.name}.log")
        while True:
            began = log.stat().st_size if log.exists() else 0
            code = _spawn(command, log, keep_open=keep_open)
            if code == 0:
                return None
            if code not in AGAIN and 0 < code <= _SHELL_KILLED:
                return _reason(log, since=began, code=code)
            before, saved = saved, saved_steps(self.workdir(run))
            idle = idle + 1 if saved == before else 0
            if idle > self.restarts:
                return f"stopped {idle} times without saving anything (exit code {code})"

    @contextlib.contextmanager
    def _alone(self, run: Run) -> Iterator[TextIO]:
        """Waits until no process of an earlier sweep works on `run`.

        A sweeper that is killed leaves its run behind; that process has inherited the lock and
        holds it as long as it lives. Two in one workdir would spoil it.
        """
        with open(self._file(f"{run.name}.lock"), "w") as f:
            while not _locked(f):
                time.sleep(_POLL)
            yield f

    @contextlib.contextmanager
    def _slot(self) -> Iterator[tuple[int, TextIO]]:
        while True:
            for slot in range(self.slots):
                with open(self._file(f".slot-{slot}.lock"), "w") as f:
                    if _locked(f):
                        yield slot, f
                        return
            time.sleep(_POLL)

    def _file(self, name: str) -> pathlib.Path:
        folder = pathlib.Path(self.logs)
        folder.mkdir(parents=True, exist_ok=True)
        return folder / name


def read_metrics(workdir: str | os.PathLike, *, names: Sequence[str] = ()) -> dict[str, float]:
    """The last value of each number in the log of a run: its last step's, and each evaluation's.

    >>> read_metrics("runs/rates/run-0", names=["loss", "eval/loss"])  # doctest: +SKIP
    {'loss': 1.25, 'eval/loss': 1.5}

    Args:
      names: fields of `metrics.jsonl`; empty: `step`, `loss`, `accuracy`, and `eval/...`.

    Raises:
      RecordError: there is no log, or it is damaged.
    """
    last: dict[str, float] = {}
    for record in files.read_jsonl(files.path(workdir) / "metrics.jsonl"):
        last.update({k: v for k, v in record.items() if isinstance(v, (int, float))})
    if names:
        return {name: last[name] for name in names if name in last}
    usual = (k for k in last if k in _USUAL or k.startswith("eval/"))
    return {name: last[name] for name in usual}


def saved_steps(workdir: str | os.PathLike) -> list[int]:
    """The steps whose checkpoints are whole."""
    folder = files.path(workdir) / "checkpoints"
    if not folder.exists():
        return []
    return sorted(int(p.name) for p in folder.iterdir() if p.name.isdigit())


def _spawn(command: list[str], log: pathlib.Path, *, keep_open: Sequence[TextIO]) -> int:
    """Runs `command` to its end and gives its exit code; an interrupt is passed on to it.

    It has a session of its own, so that Ctrl-C at a terminal reaches the sweeper alone, which
    then asks the run to save and stop.
    """
    with open(log, "ab") as out:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            pass_fds=[f.fileno() for f in keep_open],
        )
        try:
            return process.wait()
        except BaseException:
            process.terminate()
            process.wait()
            raise


def _locked(file: TextIO) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _reason(log: pathlib.Path, *, since: int, code: int) -> str:
    """What a log says about a failure: its last error message, else its last line."""
    with open(log, "rb") as f:
        f.seek(since)
        lines = [line for line in f.read().decode(errors="replace").splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("error: ")]
    said = (errors or lines or ["nothing was said"])[-1].removeprefix("error: ").strip()
    return f"exit code {code}: {said[:_REASON]}"
