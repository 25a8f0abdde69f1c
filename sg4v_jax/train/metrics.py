"""The training log: one JSON line a logged step, which resuming cuts back to its checkpoint."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax

from sg4v_jax import files
from sg4v_jax.errors import StorageError
from sg4v_jax.train.flops import Speed


class MetricsLog:
    """Appends records to `metrics.jsonl`; of several processes, one writes.

    Two kinds of record: what `Window.record` gives, and an evaluation's, which has its name in the
    field `eval` and its numbers in fields `eval/...`.

    Args:
      path: the file.
      step: the step resumed from; records after it were not saved and are cut away, so that the
        log tells one run, however often it was interrupted.
      also: who else gets each record (TensorBoard).
      writes: whether this process is the one; the others know the same evaluations.
    """

    def __init__(
        self,
        path: str | os.PathLike,
        *,
        step: int,
        also: Sequence[Callable[[dict], None]] = (),
        writes: bool = True,
    ):
        self._path, self._also, self._writes = files.path(path), also, writes
        rows = [r for r in read(path) if r["step"] <= step]
        self._evaluated = {(r["step"], r["eval"]) for r in rows if "eval" in r}
        if writes:
            files.write_atomic(path, "".join(json.dumps(r) + "\n" for r in rows))

    def write(self, record: dict) -> None:
        """Adds one record; it must have `step`.

        Raises:
          StorageError: the disk is full or the folder cannot be written.
        """
        try:
            if self._writes:
                files.append(self._path, json.dumps(record) + "\n")
        except StorageError as e:
            where = str(self._path)
            raise StorageError(
                e.message.replace(where, f"{where} at step {record['step']}", 1),
                mend="free some space; the same command goes on from the last checkpoint",
            ) from e
        if "eval" in record:
            self._evaluated.add((record["step"], record["eval"]))
        for write in self._also:
            write(record)

    def has_evaluation(self, name: str, *, step: int) -> bool:
        """Whether the evaluation `name` of `step` was logged."""
        return (step, name) in self._evaluated


def read(path: str | os.PathLike) -> list[dict]:
    """The records of a log; a last line cut by a kill is left out. Empty without a file."""
    file = files.path(path)
    if not file.exists():
        return []
    rows = []
    for line in file.read_text().splitlines():
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError:
            break
    return rows


class Window:
    """Sums of metrics since the last log line; read from the device only when asked for.

    A checkpoint between two log lines carries the sums, so that an interrupted run logs the same
    numbers as one that was not.

    Args:
      carried: what `carry` gave at the step that is resumed.
    """

    def __init__(self, carried: Mapping[str, float] | None = None):
        self._sums: dict[str, float] = dict(carried or {})
        self._began, self._pending = time.perf_counter(), []

    def add(self, step: int, metrics: Mapping[str, jax.Array], *, input_seconds: float) -> None:
        """Takes the metrics of a step, still on the device."""
        self._pending.append((step, metrics))
        self._count("input_seconds", input_seconds)

    def settle(self, judge: Callable[[int, dict[str, float]], bool]) -> None:
        """Reads what is pending; steps that `judge` refuses are counted as skipped, no more."""
        pending, self._pending = jax.device_get(self._pending), []
        for step, metrics in pending:
            values = {name: float(value) for name, value in metrics.items()}
            if judge(step, values):
                self._count("steps", 1)
                values["loss"] *= values["weight"]
                for name, value in values.items():
                    self._count(name, value)
            else:
                self._count("skipped", 1)

    def leave_out(self, seconds: float) -> None:
        """Takes time away that was not spent on steps."""
        self._began += seconds

    def carry(self) -> dict[str, float]:
        """The sums as JSON values; `settle` first."""
        return {**self._sums, "seconds": self._seconds()}

    def record(
        self, step: int, *, rates: Mapping[str, float], speed: Speed | None = None
    ) -> dict[str, Any]:
        """The log line at `step`; `settle` first.

        `speed` adds what the seconds were worth. Losses are weighted by their weights, hits by what was scored, gradient norms averaged;
        all other metrics are summed. Without any step that counts there is no loss.
        """
        sums = {k: v for k, v in self._sums.items() if k not in ("nonfinite", "seconds")}
        steps, input_seconds = sums.pop("steps", 0), sums.pop("input_seconds", 0.0)
        skipped = sums.pop("skipped", 0)
        row: dict[str, Any] = {"step": step}
        if steps:
            row["loss"] = sums.pop("loss") / max(sums.pop("weight"), 1e-9)
        if "correct" in sums:
            row["accuracy"] = sums.pop("correct") / max(sums["scored"], 1.0)
        for name, value in sums.items():
            row[name] = value / steps if name.startswith("grad_norm") else value
        if skipped:
            row["skipped"] = int(skipped)
        row["seconds"] = round(self._seconds(), 4)
        row["input_seconds"] = round(input_seconds, 4)
        if speed is not None:
            taken = dict(tokens=sums.get("tokens", 0.0), seconds=self._seconds())
            row |= speed.of(steps=steps + skipped, **taken)
        return row | {f"rate/{name}": rate for name, rate in rates.items()}

    def _seconds(self) -> float:
        return self._sums.get("seconds", 0.0) + time.perf_counter() - self._began

    def _count(self, name: str, value: float) -> None:
        # One by one: `sum` rounds differently from a sum that was carried over.
        self._sums[name] = self._sums.get(name, 0.0) + value
