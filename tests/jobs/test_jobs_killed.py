"""Real processes, killed at random; and the pool that runs them."""

from __future__ import annotations

import importlib
import os
import pathlib
import random
import signal
import subprocess
import sys
import time

import pytest

from sg4v_jax.errors import ConfigError, StorageError, WorkdirError
from sg4v_jax.jobs import LocalStore, begin, merge, run_pool, status
from sg4v_jax.jobs.lease import RELEASED, latest_claims, read_claim
from sg4v_jax.jobs.results import read_done

ROOT = pathlib.Path(__file__).parents[2]
ITEMS = [{"id": f"{i:03d}", "n": i} for i in range(90)]
EXPECTED = [{"id": item["id"], "square": item["n"] ** 2} for item in ITEMS]

# Forks workers in a process without other threads, so that a new one costs no imports.
SUPERVISOR = """
import os, random, signal, sys, time
from sg4v_jax.jobs import LocalStore, work

def do(items):
    for item in items:
        time.sleep(0.01)
        yield {"id": item["id"], "square": item["n"] ** 2}

def start():
    if pid := os.fork():
        return pid
    work(LocalStore(sys.argv[1]), do, lease=0.3, deaths=100)
    os._exit(0)

chance = random.Random(int(sys.argv[2]))
running = [start(), start(), start()]
for kill in range(10):
    time.sleep(chance.uniform(0.0, 0.08))
    victim = running.pop(chance.randrange(3))
    os.kill(victim, signal.SIGKILL)
    assert os.waitpid(victim, 0)[1] == signal.SIGKILL, "it was done before it was killed"
    running.append(start())
for pid in running:
    assert os.waitpid(pid, 0)[1] == 0
"""

POOL_FUNCTIONS = """
import os, time

def square(items):
    return [{"id": item["id"], "square": item["n"] ** 2} for item in items]

def slow(items):
    time.sleep(0.2)
    return square(items)

def dies_once(items):
    mark = os.environ["DIES_ONCE"]
    if not os.path.exists(mark):
        open(mark, "w").close()
        os.kill(os.getpid(), 9)
    return square(items)

def dies(items):
    os._exit(7)

def full(items):
    from sg4v_jax.errors import StorageError
    raise StorageError("cannot write x: disk full", mend="free some space")

if __name__ == "__main__":
    import sys
    from sg4v_jax.jobs import LocalStore, run_pool
    run_pool(LocalStore(sys.argv[1]), slow, workers=2, kind=sys.argv[2])
"""


@pytest.fixture
def job(tmp_path):
    store = LocalStore(str(tmp_path / "job"))
    begin(store, ITEMS, shard_size=3)
    return store


@pytest.fixture
def functions(tmp_path, monkeypatch):
    """A module that spawned processes can import; they get this process's `sys.path`."""
    (tmp_path / "pool_functions.py").write_text(POOL_FUNCTIONS)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.syspath_prepend(str(ROOT))
    yield importlib.import_module("pool_functions")
    sys.modules.pop("pool_functions")


def environment() -> dict[str, str]:
    return os.environ | {"PYTHONPATH": str(ROOT)}


def test_ten_killed_workers_leave_every_item_exactly_once(job):
    seed = str(random.SystemRandom().randrange(10**6))
    done = subprocess.run(
        [sys.executable, "-c", SUPERVISOR, job.root, seed],
        check=False,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, f"seed {seed}: {done.stderr}"
    assert list(merge(job)) == EXPECTED, seed
    claims = [read_done(job, name.removesuffix(".json"))["claim"] for name in job.names("done")]
    assert len(claims) == 30 and max(claims) > 1, f"seed {seed}: no shard was taken over"


@pytest.mark.parametrize("kind", ["threads", "processes"])
def test_a_pool_does_the_job(job, functions, kind):
    report = run_pool(job, functions.square, workers=2, kind=kind)
    assert (report.shards, report.items, report.errors) == (30, 90, 0)
    assert list(merge(job)) == EXPECTED


def test_a_killed_process_is_replaced(job, functions, tmp_path, monkeypatch):
    monkeypatch.setenv("DIES_ONCE", str(tmp_path / "died"))
    report = run_pool(job, functions.dies_once, workers=1, lease=0.5)
    assert report.items == 90 and (tmp_path / "died").exists()
    assert list(merge(job)) == EXPECTED


def test_workers_that_keep_dying_end_the_pool(job, functions):
    with pytest.raises(WorkdirError, match=r"3 workers died, exit codes \[7, 7, 7\]"):
        run_pool(job, functions.dies, workers=1)


@pytest.mark.parametrize("kind", ["threads", "processes"])
def test_a_workers_error_reaches_the_caller(job, functions, kind):
    with pytest.raises(StorageError, match="disk full") as caught:
        run_pool(job, functions.full, workers=2, kind=kind)
    assert caught.value.mend == "free some space"
    assert status(job).shards_done == 0


@pytest.mark.parametrize("kind", ["threads", "processes"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stopped_pool_can_go_on_at_once(job, functions, kind, number):
    pool = subprocess.Popen(
        [sys.executable, functions.__file__, job.root, kind],
        env=environment(),
        stderr=subprocess.PIPE,
        text=True,
    )
    until = time.monotonic() + 60
    while not job.names("done"):
        assert time.monotonic() < until and pool.poll() is None
        time.sleep(0.01)
    pool.send_signal(number)
    _, errors = pool.communicate(timeout=60)
    assert pool.returncode != 0 and "KeyboardInterrupt" in errors
    assert 1 <= status(job).shards_done < 30
    claims = [read_claim(job, s, number=n) for s, n in latest_claims(job).items()]
    assert [claim.expires for claim in claims] == [RELEASED] * len(claims)  # no need to wait
    run_pool(job, functions.square, workers=1, kind="threads")
    assert list(merge(job)) == EXPECTED


@pytest.mark.parametrize("bad", [{"workers": 0}, {"workers": 1, "kind": "fibres"}])
def test_bad_pool(job, functions, bad):
    with pytest.raises(ConfigError, match="pool: workers="):
        run_pool(job, functions.square, **bad)
