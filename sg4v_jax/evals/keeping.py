"""What a run of the predictor keeps as it goes, and what it shows."""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from sg4v_jax.evals.protocol import Protocol
from sg4v_jax.evals.questions import Question
from sg4v_jax.jobs import Store, open_store
from sg4v_jax.jobs.results import done_shards


class Kept:
    """Rows as they come, a small file a batch, which no other host writes."""

    def __init__(
        self, out: str | os.PathLike, questions: Iterable[Question], *, protocol: Protocol
    ):
        self._store = open_store(f"{os.fspath(out)}/answers")
        self._prompts = {q.id: protocol.turns(q)[0].content for q in questions}
        self._owner, self._number = uuid.uuid4().hex[:12], 0

    def add(self, rows: Sequence[Mapping[str, Any]]) -> None:
        lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        self._store.write(f"{self._owner}-{self._number:06d}.jsonl", lines.encode())
        self._number += 1

    def read(self, *, failed: bool) -> dict[str, dict[str, Any]]:
        """Rows of the questions asked, by id; of failed ones only if `failed`."""
        found = {}
        for name in self._store.names(""):
            # Bytes end at line feeds alone; text would also at U+2028, which an answer may hold.
            for line in self._store.read(name).splitlines():
                row = json.loads(line)
                same = self._prompts.get(row["id"]) == row["prompt"]
                better = row["error"] is None or (failed and row["id"] not in found)
                if same and better:
                    found[row["id"]] = row
        return found


class Bar:
    """Progress over all hosts: groups that are done, and rows of the one at work here."""

    def __init__(self, console: Console, *, sizes: Sequence[int]):
        self._bar = Progress(
            TextColumn("answers"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            console=console,
        )
        self._task = self._bar.add_task("answers", total=sum(sizes))
        self._sizes, self._here = sizes, 0
        self._done: set[str] = set()

    def __enter__(self) -> Self:
        self._bar.__enter__()
        return self

    def __exit__(self, *exc) -> None:
        self._bar.__exit__(*exc)

    def look(self, store: Store) -> None:
        """Sees which groups are done; called at the beginning of one."""
        self._done, self._here = done_shards(store), 0
        self._show()

    def add(self, rows: int) -> None:
        """Counts rows of the group at work."""
        self._here += rows
        self._show()

    def _show(self) -> None:
        done = sum(self._sizes[int(name)] for name in self._done)
        self._bar.update(self._task, completed=done + self._here)
