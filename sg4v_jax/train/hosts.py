"""The processes of a run, and how they agree: by notes in the store of jax's coordinator.

What must be one decision is made on all or by the primary: which checkpoint to go on from, which
rows there are, when to stop. Only the primary writes files, but for Orbax's, which all write.
"""

from __future__ import annotations

import collections
import contextlib
import functools
import itertools
import time
from collections.abc import Iterator
from typing import Any

import jax
from jax._src import distributed  # jax has no public way to its key-value store

from sg4v_jax.errors import ConfigError, Sg4vError

ROOT = "sg4v"
POLL = 0.05  # seconds between two looks at the store


class HostLostError(Sg4vError):
    """A process of the run is gone or hangs; names it. All must be started again."""


class Hosts:
    """The processes of a run; one alone needs no store.

    Args:
      client: of the key-value store; None for one process.
      index, count: this process, of how many.

    Attributes:
      primary: whether this one writes what one process writes.
    """

    def __init__(self, client: Any = None, *, index: int = 0, count: int = 1):
        self.index, self.count, self.primary = index, count, index == 0
        self._client, self._told = client, itertools.count()
        self._rounds: collections.Counter[str] = collections.Counter()

    def fresh(self, name: str) -> str:
        """`name` with a number of its own, the same on all that ask equally often."""
        self._rounds[name] += 1
        return f"{name}.{self._rounds[name]}"

    def put(self, key: str, value: str) -> None:
        """Writes a note for all to read."""
        if self._client is not None:
            self._client.key_value_set(f"{ROOT}/{key}", value, allow_overwrite=True)

    def notes(self, folder: str) -> dict[str, str]:
        """All notes below `folder`, by the rest of their names."""
        if self._client is None:
            return {}
        prefix = f"{ROOT}/{folder}/"
        found = self._client.key_value_dir_get(prefix)
        return {key.split(prefix, 1)[-1]: value for key, value in found}

    def gather(self, name: str, value: str, *, seconds: float | None = None) -> dict[int, str]:
        """What each process says under `name`; waits until all have said it.

        Args:
          seconds: how long to wait; None leaves it to the heartbeat to end a wait for the dead.

        Raises:
          HostLostError: time is over; names who is missing.
        """
        if self._client is None:
            return {0: value}
        here = self.fresh(name)
        self.put(f"{here}/{self.index}", value)
        began = time.monotonic()
        while True:
            said = {int(k): v for k, v in self.notes(here).items()}
            if len(said) == self.count:
                return said
            if seconds is not None and time.monotonic() - began > seconds:
                missing = [str(k) for k in range(self.count) if k not in said]
                raise HostLostError(
                    f"process {', '.join(missing)} did not come to {name!r} within {seconds:g} s",
                    mend="see its log; start all processes again",
                )
            time.sleep(POLL)

    @contextlib.contextmanager
    def primary_first(self, name: str) -> Iterator[None]:
        """The primary runs what is within, then the others, which find the files that it left."""
        if not self.primary:
            self.gather(name, "yes")
        yield
        if self.primary:
            self.gather(name, "yes")

    def agree(self, name: str, value: str, *, mend: str, seconds: float | None = None) -> None:
        """Checks that all processes say the same under `name`.

        Raises:
          ConfigError: they do not; names the first that differs from process 0.
          HostLostError: as `gather`.
        """
        said = self.gather(name, value, seconds=seconds)
        for number, theirs in sorted(said.items()):
            if theirs != said[0]:
                raise ConfigError(
                    f"process {number} has {name} {theirs}, process 0 has {said[0]}", mend=mend
                )

    def tell(self, topic: str, text: str) -> None:
        """Leaves a message for the primary; each is heard once."""
        self.put(f"{topic}/{self.index}.{next(self._told)}", text)

    def heard(self, topic: str) -> list[str]:
        """The messages of the others since the last call, in the order of their names."""
        found = sorted(self.notes(topic).items())
        for key, _ in found:
            self._client.key_value_delete(f"{ROOT}/{topic}/{key}")
        return [text for _, text in found]


def of_this_run() -> Hosts:
    """The processes that `distributed.start` joined; one alone otherwise."""
    return _of(distributed.global_state.client)


@functools.cache  # one to a process: it counts its rounds
def _of(client: Any) -> Hosts:
    if client is None:
        return Hosts()
    return Hosts(client, index=jax.process_index(), count=jax.process_count())
