"""`work`: one worker, in this thread, until nothing is left to claim."""

from __future__ import annotations

import dataclasses
import os
import socket
import threading
import uuid
import zlib
from collections.abc import Callable

from sg4v_jax.jobs import results
from sg4v_jax.jobs.interrupts import Interrupts
from sg4v_jax.jobs.items import Do, run_items
from sg4v_jax.jobs.lease import Claim, Clock, Lease, RealClock, latest_claims, read_claim, take
from sg4v_jax.jobs.manifest import Manifest, Shard
from sg4v_jax.jobs.store import Store

LEASE = 120.0  # seconds
POLL = 1.0  # seconds between looks when all that is left belongs to others


@dataclasses.dataclass
class Report:
    """What a worker, or a pool of them, did.

    Attributes:
      shards: committed.
      items: in them.
      errors: of those, failed.
      lost: shards that were worked on and then belonged to another worker.
      deadly: shards left alone because too many workers died over them.
    """

    shards: int = 0
    items: int = 0
    errors: int = 0
    lost: int = 0
    deadly: set[str] = dataclasses.field(default_factory=set)

    def add(self, other: Report) -> None:
        """Adds what another worker did."""
        self.shards += other.shards
        self.items += other.items
        self.errors += other.errors
        self.lost += other.lost
        self.deadly |= other.deadly


class _StopWork(Exception):
    """The lease is lost, or the caller wants to stop."""


def work(
    store: Store,
    do: Do,
    *,
    attempts: int = 3,
    batch: int | None = None,
    lease: float = LEASE,
    deaths: int = 5,
    clock: Clock | None = None,
    stop: threading.Event | None = None,
    owner: str = "",
) -> Report:
    """Claims shards, runs `do` over their items, commits the rows, until all shards are done.

    A worker that finds only shards of others waits: should one die, its claim expires and the
    shard is taken up here. Ctrl-C and SIGTERM (in the main thread) give the shard back and raise
    KeyboardInterrupt; what was committed stays.

    Args:
      store: where `begin` put the job.
      do: takes some items, gives a row `{"id": ..., ...}` for each; see `items.run_items`.
      attempts: tries for each item.
      batch: items in a call of `do`; a whole shard by default.
      lease: seconds after which a silent worker's shard is free; more than clocks may differ.
      deaths: a shard that so many workers died over is left alone.
      clock: the time; the system's by default.
      stop: when set, the worker ends before its next call of `do`.
      owner: a name for this worker, unlike any other; made up by default.

    Raises:
      RecordError: there is no job, a shard file was changed, or `do` gave wrong ids.
      StorageError, ConfigError and the other `items.FATAL`: as `do` or the store raised them.
    """
    clock, stop = clock or RealClock(), stop or threading.Event()
    interrupts = Interrupts()
    owner = owner or f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:8]}"

    def run(items: list[dict], held: Lease) -> list[dict]:
        def check() -> None:
            if stop.is_set() or held.lost:
                raise _StopWork

        with interrupts.here():
            return run_items(items, do, attempts=attempts, batch=batch, check=check)

    worker = _Worker(store, Manifest.load(store), run, owner, lease, deaths, clock)
    with interrupts:
        while not stop.is_set():
            free, soonest = worker.look()
            if not free and soonest is None:
                break
            if not free:
                with interrupts.here():
                    clock.wait(stop, min(max(soonest - clock.now(), 0.01), POLL))
            for shard, old in free:
                if stop.is_set():
                    break
                worker.try_shard(shard, after=old)
    return worker.report


@dataclasses.dataclass
class _Worker:
    store: Store
    manifest: Manifest
    run: Callable[[list[dict], Lease], list[dict]]
    owner: str
    lease: float
    deaths: int
    clock: Clock
    report: Report = dataclasses.field(default_factory=Report)

    def look(self) -> tuple[list[tuple[Shard, Claim | None]], float | None]:
        """The shards that are free, with the claims to follow, and when another may become so."""
        # Claims are listed first: a shard that gets done in between is then seen as done.
        known, done = latest_claims(self.store), results.done_shards(self.store)
        left = [shard for shard in self.manifest.shards if shard.name not in done]
        # Every worker starts at its own place, so that they rarely want the same shard.
        place = zlib.crc32(self.owner.encode()) % max(1, len(left))
        free, soonest, self.report.deadly = [], None, set()
        for shard in left[place:] + left[:place]:
            old = read_claim(self.store, shard.name, number=known.get(shard.name, 0))
            if old and old.expires > self.clock.now():
                soonest = min(soonest or old.expires, old.expires)
            elif old and old.deaths_by_now >= self.deaths:
                self.report.deadly.add(shard.name)
            else:
                free.append((shard, old))
        return free, soonest

    def try_shard(self, shard: Shard, *, after: Claim | None) -> None:
        held = take(
            self.store,
            shard.name,
            after=after,
            owner=self.owner,
            seconds=self.lease,
            clock=self.clock,
        )
        if held is None:
            return
        with held:
            # The mark of a former owner comes before its release, so this look misses none.
            if results.read_done(self.store, shard.name):
                return
            items = self.manifest.read_items(self.store, shard)
            try:
                rows = self._rows(shard, items, held)
            except _StopWork:
                self.report.lost += held.lost
                return
            self._commit(held, rows)

    def _rows(self, shard: Shard, items: list[dict], held: Lease) -> list[dict]:
        rows = results.kept_rows(self.store, shard.name)
        todo = [item for item in items if item["id"] not in rows]
        rows |= {row["id"]: row for row in self.run(todo, held)}
        return [rows[item["id"]] for item in items]

    def _commit(self, held: Lease, rows: list[dict]) -> None:
        if held.lost or not results.commit(self.store, held.claim, rows):
            self.report.lost += 1
            return
        self.report.shards += 1
        self.report.items += len(rows)
        self.report.errors += sum(row.get("error") is not None for row in rows)
