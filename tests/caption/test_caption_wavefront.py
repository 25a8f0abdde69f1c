from __future__ import annotations

import random
import threading
from concurrent import futures

import numpy as np
import pytest

from sg4v_jax.caption.presets import PRESETS
from sg4v_jax.caption.sliding import KeyFrames, run, sliding
from sg4v_jax.caption.wavefront import run_wavefront
from sg4v_jax.errors import ConfigError, RecordError, StorageError


def video(number: int, *, frames: int, side: int = 8) -> KeyFrames:
    pictures = [np.full((side, side, 3), (number + i) % 256, np.uint8) for i in range(frames)]
    return KeyFrames(f"v{number}", pictures, range(frames))


class Echo:
    """Answers out of the request alone, and keeps the shapes of its batches."""

    name = "echo"

    def __init__(self):
        self.batches = []

    def describe(self, requests):
        assert len({r.bucket for r in requests}) == 1, "shapes differ within a batch"
        self.batches.append(len(requests))
        return [f"{r.id} {[int(i[0, 0, 0]) for i in r.images]} {len(r.prompt)}" for r in requests]


def programs(videos):
    return ((v.id, sliding(v, preset=PRESETS["paper"])) for v in videos)


def test_the_captions_are_those_of_one_video_at_a_time():
    chance = random.Random(0)
    videos = [video(i, frames=chance.randint(1, 9), side=chance.choice([4, 8])) for i in range(60)]
    captioner = Echo()
    outcomes = list(run_wavefront(programs(videos), captioner, batch=4))
    expected = {v.id: run(sliding(v, preset=PRESETS["paper"]), Echo()) for v in videos}
    assert {o.id: o.caption for o in outcomes} == expected and len(outcomes) == 60
    assert max(captioner.batches) == 4 and np.mean(captioner.batches) > 3.5


def test_programs_are_started_only_as_the_pool_has_room():
    started, captioner = [], Echo()

    def lazily():
        for i in range(50):
            started.append(i)
            yield from programs([video(i, frames=3)])

    outcomes = run_wavefront(lazily(), captioner, batch=2, pool=6)
    next(outcomes)
    assert len(started) < 20
    assert len(list(outcomes)) == 49


class SimulatedTime:
    """A host and a device side by side; the device takes `latency` a batch, full or not."""

    def __init__(self, *, latency: float, host: float):
        self.latency, self.host, self.now, self.free, self.busy = latency, host, 0.0, 0.0, 0.0

    def host_works(self):
        self.now += self.host

    def submit(self, function, *arguments):
        self.free = max(self.now, self.free) + self.latency
        self.busy += self.latency
        future, clock, done = futures.Future(), self, self.free
        future.set_result(function(*arguments))
        plain = future.result

        def result(timeout=None):
            clock.now = max(clock.now, done)
            return plain()

        future.result = result
        return future


def busy_share(
    *, pool: int, host: float = 0.1, batch: int = 8, videos: int = 600
) -> tuple[float, float]:
    """Shares of time in which the device runs, and of its slots that are filled."""
    time, captioner, chance = SimulatedTime(latency=1.0, host=host), Echo(), random.Random(1)

    def working(program):
        text = None
        while True:
            time.host_works()
            try:
                text = yield program.send(text)
            except StopIteration as e:
                return e.value

    several = [video(i, frames=chance.randint(1, 12)) for i in range(videos)]
    work = ((v.id, working(sliding(v, preset=PRESETS["paper"]))) for v in several)
    done = list(run_wavefront(work, captioner, batch=batch, pool=pool, device=time))
    assert len(done) == videos and all(o.caption for o in done)
    return time.busy / time.now, sum(captioner.batches) / (batch * len(captioner.batches))


def test_the_device_is_busy_over_95_percent_with_a_pool_of_four_batches():
    busy, filled = busy_share(pool=32)
    assert busy > 0.95 and filled > 0.95
    busy, filled = busy_share(pool=8)
    assert busy * filled < 0.75  # what one batch's worth of videos would give


def test_the_host_goes_on_with_one_batch_while_the_next_runs():
    answered = threading.Event()

    class Slow(Echo):
        def describe(self, requests):
            if len(self.batches) == 1:
                assert answered.wait(20), "the first batch's answers lay idle"
            return super().describe(requests)

    def watched(program):
        text = None
        while True:
            try:
                text = yield program.send(text)
            except StopIteration as e:
                return e.value
            answered.set()

    videos = [video(i, frames=2) for i in range(8)]
    work = ((name, watched(program)) for name, program in programs(videos))
    outcomes = list(run_wavefront(work, Slow(), batch=2, pool=8))
    assert [o.error for o in outcomes] == [None] * 8


def test_a_faulty_video_or_answer_ends_its_own_program_alone():
    class Picky(Echo):
        def describe(self, requests):
            if any(r.id == "v3#2" for r in requests):
                raise RecordError("v3#2: refused")
            return super().describe(requests)

    def broken():
        raise RecordError("v99: cannot be read")
        yield

    videos = [video(i, frames=4) for i in range(10)]
    work = [*programs(videos), ("v99", broken())]
    outcomes = {o.id: o for o in run_wavefront(work, Picky(), batch=5)}
    assert len(outcomes) == 11
    errors = {name: str(o.error) for name, o in outcomes.items() if o.error}
    assert errors == {"v3": "v3#2: refused", "v99": "v99: cannot be read"}
    assert all(o.caption for name, o in outcomes.items() if name not in errors)


def test_a_captioner_that_miscounts_and_one_whose_disk_is_full():
    class Short(Echo):
        def describe(self, requests):
            return []

    (outcome,) = run_wavefront(programs([video(0, frames=2)]), Short(), batch=2)
    assert "0 texts for 1 requests" in str(outcome.error)

    class Full(Echo):
        def describe(self, requests):
            raise StorageError("disk full")

    with pytest.raises(StorageError):
        list(run_wavefront(programs([video(0, frames=2)]), Full(), batch=2))


def test_nothing_to_do_and_bad_sizes():
    assert list(run_wavefront([], Echo(), batch=2)) == []
    for sizes in ({"batch": 0}, {"batch": 4, "pool": 3}):
        with pytest.raises(ConfigError, match="wavefront: batch="):
            list(run_wavefront([], Echo(), **sizes))
