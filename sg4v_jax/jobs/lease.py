"""Who works on a shard: numbered claims that expire.

    claims/00007.0001.json    the first claim on shard 00007: owner, expiry, deaths before it
    claims/00007.0002.json    made when the first had expired

A claim is made with `Store.create`, so of those who see that claim 1 has expired one gets claim 2.
Only its owner rewrites a claim, to renew or release it; an owner that finds a higher claim has
lost the shard. An owner that slept through its own expiry and works on does no harm either: the
done mark, created once, decides whose result counts (`results.commit`).
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import threading
import time
from typing import Protocol

from sg4v_jax.errors import StorageError
from sg4v_jax.jobs.store import Store


class Clock(Protocol):
    """Time, so that tests need not sleep."""

    def now(self) -> float:
        """Seconds since the epoch, about the same on all machines of a job."""

    def wait(self, event: threading.Event, seconds: float) -> bool:
        """Waits until `event` is set or the seconds have passed; whether it is set."""


class RealClock:
    """The system's time."""

    def now(self) -> float:
        return time.time()

    def wait(self, event: threading.Event, seconds: float) -> bool:
        return event.wait(seconds)


RELEASED = 0.0  # the expiry of a claim that its owner gave back


@dataclasses.dataclass(frozen=True)
class Claim:
    """One claim as written. `deaths` counts earlier owners that let theirs expire."""

    shard: str
    number: int
    owner: str
    expires: float
    deaths: int

    @property
    def name(self) -> str:
        """The file that holds the claim."""
        return f"claims/{self.shard}.{self.number:04d}.json"

    @property
    def deaths_by_now(self) -> int:
        """Owners that let a claim expire, this claim's owner included if it has."""
        return self.deaths + (self.expires != RELEASED)


def latest_claims(store: Store) -> dict[str, int]:
    """The highest claim number of each shard that was ever claimed, from one listing."""
    numbers: dict[str, int] = {}
    for name in store.names("claims"):
        shard, number, _ = name.rsplit(".", 2)
        numbers[shard] = max(numbers.get(shard, 0), int(number))
    return numbers


def read_claim(store: Store, shard: str, *, number: int) -> Claim | None:
    """Claim `number` on `shard`, None if there is none."""
    name = Claim(shard, number, "", 0, 0).name
    try:
        return Claim(**json.loads(store.read(name)))
    except FileNotFoundError:
        return None


class Lease:
    """A claim that this worker holds; inside `with lease:` a thread renews it."""

    def __init__(self, store: Store, claim: Claim, *, seconds: float, clock: Clock):
        self.claim = claim
        self._store, self._seconds, self._clock = store, seconds, clock
        self._lost = False
        self._over = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def lost(self) -> bool:
        """Whether the shard may be another worker's by now."""
        return self._lost or self._clock.now() >= self.claim.expires

    def renew(self) -> bool:
        """Puts the expiry off by the lease's length; False if another worker has the shard."""
        next_number = self.claim.number + 1
        if self._lost or read_claim(self._store, self.claim.shard, number=next_number):
            self._lost = True
            return False
        expires = self._clock.now() + self._seconds
        self.claim = dataclasses.replace(self.claim, expires=expires)
        self._store.write(self.claim.name, _content(self.claim))
        return True

    def __enter__(self) -> None:
        name = f"lease-{self.claim.shard}"
        self._thread = threading.Thread(target=self._beat, name=name, daemon=True)
        self._thread.start()

    def __exit__(self, *exc) -> None:
        self._over.set()
        self._thread.join()
        if not self._lost:  # lets the next worker in at once; does not count as a death
            self.claim = dataclasses.replace(self.claim, expires=RELEASED)
            with contextlib.suppress(OSError, StorageError):  # then it is free when it expires
                self._store.write(self.claim.name, _content(self.claim))

    def _beat(self) -> None:
        # A third of the lease: two beats may fail before the claim expires.
        while not self._clock.wait(self._over, self._seconds / 3):
            try:
                if not self.renew():
                    return
            except (OSError, StorageError):
                continue


def take(
    store: Store, shard: str, *, after: Claim | None, owner: str, seconds: float, clock: Clock
) -> Lease | None:
    """Claims `shard` with the number that follows; None if another worker was quicker.

    Args:
      store: where the job lives.
      shard: its name.
      after: the claim to follow, which has expired; None for the first.
      owner: this worker, unlike any other.
      seconds: how long the claim holds without being renewed.
      clock: the time.
    """
    number, deaths = (after.number + 1, after.deaths_by_now) if after else (1, 0)
    claim = Claim(shard, number, owner, clock.now() + seconds, deaths)
    lease = Lease(store, claim, seconds=seconds, clock=clock)
    return lease if store.create(claim.name, _content(claim)) else None


def _content(claim: Claim) -> bytes:
    return json.dumps(dataclasses.asdict(claim)).encode()
