"""What processes could not read: told to the primary, which counts and writes for all."""

from __future__ import annotations

import json
from collections.abc import Iterable

from sg4v_jax.data.record import Note
from sg4v_jax.data.skips import SkipLog
from sg4v_jax.train.hosts import Hosts

TOPIC = "notes"


class SharedSkips:
    """The `SkipLog` of a run of several processes: one file, one count, one judgement.

    Each process reads its own rows and leaves its notes; the primary takes them with its own. When it
    asks for a step's sums, all have read that step's rows, so that a checkpoint leaves out none.

    Args:
      log: the primary's; None on the others.
      hosts: of this run.
    """

    def __init__(self, log: SkipLog | None, *, hosts: Hosts):
        self._log, self._hosts = log, hosts

    def add(self, notes: Iterable[Note]) -> None:
        """Notes of this process; on the primary also those that others have left.

        Raises: on the primary, as `SkipLog.add`.
        """
        notes = list(notes)
        if self._log is not None:
            self._log.add([*notes, *self._heard()])
        elif notes:
            self._hosts.tell(TOPIC, json.dumps(notes))

    def collect(self) -> None:
        """Takes what others have left; before a checkpoint."""
        if self._log is not None:
            self._log.add(self._heard())

    def _heard(self) -> list[Note]:
        if self._hosts.count == 1:
            return []
        return [Note(*row) for text in self._hosts.heard(TOPIC) for row in json.loads(text)]
