"""How processes agree: threads play the processes, a dictionary the coordinator's store."""

from __future__ import annotations

import concurrent.futures
import json
import os
import signal
import threading
import time

import pytest

from sg4v_jax.data.record import Note
from sg4v_jax.data.skips import SkipLog
from sg4v_jax.errors import ConfigError, RecordError
from sg4v_jax.tasks.shared_skips import SharedSkips
from sg4v_jax.train import stopping
from sg4v_jax.train.heartbeat import Judge
from sg4v_jax.train.hosts import HostLostError, Hosts, of_this_run
from sg4v_jax.train.stopping import Stop


class Store:
    """The part of jax's client that is used."""

    def __init__(self):
        self._values, self._lock = {}, threading.Lock()

    def key_value_set(self, key, value, allow_overwrite=False):
        with self._lock:
            self._values[key] = value

    def key_value_dir_get(self, prefix):
        with self._lock:
            return [(k, v) for k, v in self._values.items() if k.startswith(prefix)]

    def key_value_delete(self, key):
        with self._lock:
            self._values.pop(key)


@pytest.fixture
def three():
    store = Store()
    return [Hosts(store, index=k, count=3) for k in range(3)]


def on_all(hosts, do) -> list:
    """`do(host)` in a thread each."""
    with concurrent.futures.ThreadPoolExecutor(len(hosts)) as pool:
        return list(pool.map(do, hosts))


def test_one_process_needs_no_store():
    alone = of_this_run()
    assert (alone.index, alone.count, alone.primary) == (0, 1, True)
    assert alone.gather("x", "a") == {0: "a"} and alone.notes("x") == {}
    alone.agree("x", "a", mend="")


def test_gather_waits_for_all_and_each_time_anew(three):
    for turn in ("a", "b"):
        got = on_all(three, lambda h, turn=turn: h.gather("step", f"{turn}{h.index}"))
        assert got == [{k: f"{turn}{k}" for k in range(3)}] * 3


def test_the_primary_goes_first(three):
    done = []

    def run(host):
        with host.primary_first("index"):
            time.sleep(0.1 * (host.index == 0))
            done.append(host.index)

    on_all(three, run)
    assert done[0] == 0 and sorted(done) == [0, 1, 2]


def test_who_does_not_come_is_named(three):
    with pytest.raises(HostLostError, match="process 1, 2 did not come to 'plan' within 0.1 s"):
        three[0].gather("plan", "x", seconds=0.1)


def test_who_differs_is_named_on_all(three):
    def agree(host):
        with pytest.raises(ConfigError, match="process 1 has plan 7, process 0 has 5") as e:
            host.agree("plan", "7" if host.index == 1 else "5", mend="give all the same files")
        return e.value.mend

    assert on_all(three, agree) == ["give all the same files"] * 3


def test_messages_are_heard_once(three):
    three[1].tell("notes", "a")
    three[2].tell("notes", "b")
    three[1].tell("notes", "c")
    assert three[0].heard("notes") == ["a", "c", "b"]
    assert three[0].heard("notes") == []


def test_what_others_skip_is_written_and_judged_by_the_primary(three, tmp_path):
    log = SkipLog(tmp_path / "skipped.jsonl", total_records=20, max_share=0.1)
    primary = SharedSkips(log, hosts=three[0])
    others = [SharedSkips(None, hosts=h) for h in three[1:]]
    others[0].add([Note("a.json: 1", "skipped", "broken", 1)])
    others[1].add([Note("a.json: 1", "skipped", "broken", 1)])  # has the same rows
    others[1].add([])
    primary.add([Note("a.json: 2", "skipped", "gone", 1)])
    assert log.skipped == {"a.json: 2": "gone", "a.json: 1": "broken"}
    assert len((tmp_path / "skipped.jsonl").read_text().splitlines()) == 2
    others[0].add([Note("a.json: 3", "skipped", "broken", 1)])
    with pytest.raises(RecordError, match="3 of 20 records"):
        primary.collect()


# The heartbeat.


def beat(n: int, step: int, phase: str = "step") -> str:
    return json.dumps({"n": n, "name": f"w-{n % 7}", "phase": phase, "step": step})


@pytest.fixture
def judge():
    return Judge(3, timeout=10, hang=100, now=0.0)


def test_who_beats_lives(judge):
    for now in range(0, 90, 5):
        beats = {k: beat(now, step=now + k) for k in range(3)}
        assert judge.look(beats, now=now) == ""


def test_who_no_longer_beats_is_gone_and_named_with_its_place(judge):
    for now in (0, 5):
        judge.look({k: beat(now, step=4) for k in range(3)}, now=now)
    still = {0: beat(6, 4), 1: beat(5, step=4), 2: beat(6, 4)}
    assert judge.look(still, now=15) == ""
    said = judge.look({**still, 0: beat(7, 4), 2: beat(7, 4)}, now=16)
    assert said == "process 1 (w-5, in step at step 4) is gone: no sign of life for 11 s"


def test_who_never_came_is_gone(judge):
    for now in (0, 5, 10):
        assert judge.look({0: beat(now, 1), 1: beat(now, 1)}, now=now) == ""
    assert judge.look({0: beat(9, 1), 1: beat(9, 1)}, now=11).startswith("process 2 is gone")


def test_who_left_in_good_order_is_not_missed(judge):
    judge.look({k: beat(0, 9) for k in range(3)}, now=0)
    judge.look({**{k: beat(1, 9) for k in range(2)}, 2: beat(1, 9, phase="over")}, now=5)
    for now in range(10, 60, 5):
        assert judge.look({0: beat(now, 9), 1: beat(now, 9), 2: beat(1, 9, "over")}, now=now) == ""


def test_where_nothing_moves_the_hindmost_hangs(judge):
    for now in range(0, 105, 5):
        beats = {0: beat(now, 7), 1: beat(now, 7, phase="input"), 2: beat(now, 7)}
        said = judge.look(beats, now=now)
        assert bool(said) == (now > 100), now
    beats = {0: beat(106, 7), 1: beat(106, 7, phase="input"), 2: beat(106, 7)}
    said = judge.look(beats, now=106)
    assert said.startswith("process 1 (w-1, in input at step 7) is hanging: nothing has moved for")


@pytest.mark.parametrize("phase", ["init", "compile", "evaluation"])
def test_some_things_may_take_long(judge, phase):
    for now in range(0, 500, 5):
        beats = {0: beat(now, 7), 1: beat(now, 7, phase=phase), 2: beat(now, 7)}
        assert judge.look(beats, now=now) == ""


# Stopping.


def loop_until_stopped(host, *, ask_at: int | None, pause: float, steps: int = 400) -> int | None:
    """Steps of one process that all wait for each other in, as in a collective."""
    with Stop(host) as stop:
        for step in range(1, steps + 1):
            host.gather("collective", str(step))
            if step == ask_at:
                stop.request()
            time.sleep(pause)
            if stop.asked(step):
                return step
    return None


@pytest.mark.parametrize("asked", [0, 2])
def test_all_stop_at_the_same_step(three, monkeypatch, asked):
    monkeypatch.setattr(stopping, "INTERVAL", 0.05)
    at = lambda h: 3 if h.index == asked else None
    got = on_all(three, lambda h: loop_until_stopped(h, ask_at=at(h), pause=0.002 * (1 + h.index)))
    assert len(set(got)) == 1 and got[0] is not None and got[0] >= 3, got


def test_asked_before_the_first_step(three, monkeypatch):
    monkeypatch.setattr(stopping, "INTERVAL", 0.05)

    def run(host):
        with Stop(host) as stop:
            if host.index == 1:
                stop.request()
            time.sleep(0.3)  # restoring, compiling
            for step in range(501, 900):
                host.gather("collective", str(step))
                if stop.asked(step):
                    return step
        return None

    got = on_all(three, run)
    assert len(set(got)) == 1 and 501 <= got[0] < 600, got


def test_asked_too_late_the_run_ends_as_it_would(three, monkeypatch):
    monkeypatch.setattr(stopping, "INTERVAL", 0.01)
    got = on_all(three, lambda h: loop_until_stopped(h, ask_at=5, pause=0.0, steps=5))
    assert set(got) in ({None}, {5})


def test_a_signal_asks_and_the_handlers_go_back():
    before = signal.getsignal(signal.SIGTERM)
    with Stop() as stop:
        assert not stop.asked(1)
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop.asked(1)
    assert signal.getsignal(signal.SIGTERM) is before
