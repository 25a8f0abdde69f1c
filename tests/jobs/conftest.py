"""A clock that tests set, and an object store that judges by generation numbers."""

from __future__ import annotations

import itertools
import threading
from typing import ClassVar

import fsspec
import pytest
from fsspec.spec import AbstractFileSystem

from sg4v_jax.jobs import FsspecStore, LocalStore


class FakeClock:
    """Time that moves when told, or when the main thread waits; other threads wait for it."""

    def __init__(self, now: float = 1000.0):
        self._now = now
        self.waiting = 0  # threads, the main one apart

    def now(self) -> float:
        return self._now

    def advance(self, seconds: float) -> None:
        self._now += seconds

    def wait(self, event: threading.Event, seconds: float) -> bool:
        if threading.current_thread() is threading.main_thread():
            if not event.is_set():
                self.advance(seconds)
            return event.is_set()
        due = self._now + seconds
        self.waiting += 1
        while not event.is_set() and self._now < due:
            event.wait(0.002)
        self.waiting -= 1
        return event.is_set()


class Generations(AbstractFileSystem):
    """Objects with generation numbers, in memory, shared by all instances.

    A put with the precondition that the generation be 0 is refused, under a lock, if the object
    exists. `exists` always says no, as a stale look would: whoever relies on it fails the tests.
    """

    protocol = "generations"
    cachable = False
    objects: ClassVar[dict[str, tuple[int, bytes]]] = {}
    lock = threading.Lock()
    counter = itertools.count(1)
    lose_answers = 0  # so many puts take effect, but are tried twice by the client

    def pipe_file(self, path, value, mode="overwrite", **kwargs):
        self._put(path, value, if_generation_match=0 if mode == "create" else None)
        if type(self).lose_answers:
            type(self).lose_answers -= 1
            self._put(path, value, if_generation_match=0 if mode == "create" else None)

    def _put(self, path, value, *, if_generation_match):
        path = self._strip_protocol(path)
        with self.lock:
            generation = self.objects.get(path, (0, b""))[0]
            if if_generation_match not in (None, generation):
                raise FileExistsError(path)
            self.objects[path] = (next(self.counter), bytes(value))

    def cat_file(self, path, start=None, end=None, **kwargs):
        try:
            return self.objects[self._strip_protocol(path)][1]
        except KeyError as e:
            raise FileNotFoundError(path) from e

    def exists(self, path, **kwargs):
        return False

    def ls(self, path, detail=True, **kwargs):
        folder = self._strip_protocol(path).rstrip("/") + "/"
        return sorted(
            {
                folder + p.removeprefix(folder).split("/")[0]
                for p in self.objects
                if p.startswith(folder)
            }
        )

    def rm_file(self, path):
        if self.objects.pop(self._strip_protocol(path), None) is None:
            raise FileNotFoundError(path)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def generations():
    fsspec.register_implementation("generations", Generations, clobber=True)
    Generations.objects.clear()
    Generations.lose_answers = 0
    return Generations


@pytest.fixture(params=["local", "objects"])
def store(request, tmp_path, generations):
    """Each kind of store, empty."""
    if request.param == "local":
        return LocalStore(str(tmp_path / "job"))
    return FsspecStore("generations://bucket/job")
