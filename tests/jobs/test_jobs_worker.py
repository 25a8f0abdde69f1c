from __future__ import annotations

import json
import threading

import pytest

from sg4v_jax.errors import RecordError, StorageError, WorkdirError
from sg4v_jax.jobs import begin, merge, reopen, status, work
from sg4v_jax.jobs.lease import latest_claims, read_claim, take
from sg4v_jax.jobs.results import commit, read_done

ITEMS = [{"id": f"clip-{i:02d}", "n": i} for i in range(10)]


def square(items):
    return [{"id": item["id"], "square": item["n"] ** 2} for item in items]


EXPECTED = [{"id": item["id"], "square": item["n"] ** 2} for item in ITEMS]


@pytest.fixture
def job(store):
    begin(store, ITEMS, shard_size=3)
    return store


def test_one_worker_does_it_all(job, clock):
    report = work(job, square, clock=clock)
    assert (report.shards, report.items, report.errors, report.lost) == (4, 10, 0, 0)
    assert list(merge(job)) == EXPECTED
    now = status(job)
    assert (now.shards_done, now.items_done, now.items) == (4, 10, 10)
    assert work(job, lambda items: 1 / 0, clock=clock).shards == 0  # nothing is left to do


def test_merge_names_the_shards_that_are_missing(job, clock):
    stop = threading.Event()

    def one_shard(items):
        stop.set()
        return square(items)

    assert work(job, one_shard, clock=clock, stop=stop, owner="w").shards == 1
    done = job.names("done")[0].removesuffix(".json")
    missing = [name for name in ("00000", "00001", "00002", "00003") if name != done]
    with pytest.raises(WorkdirError, match=f"3 of 4 shards are not done: {', '.join(missing)}"):
        merge(job)
    work(job, square, clock=clock)
    assert list(merge(job)) == EXPECTED


def test_a_dead_workers_shard_is_taken_up_when_its_claim_expires(job, clock):
    dead = take(job, "00001", after=None, owner="dead", seconds=50, clock=clock)
    began = clock.now()
    assert work(job, square, clock=clock, lease=30).shards == 4
    assert clock.now() >= began + 50  # waited for the claim, on the fake clock
    assert list(merge(job)) == EXPECTED
    assert read_done(job, "00001")["claim"] == 2
    # The dead one was only asleep: it has lost the shard, and committing is refused.
    assert dead.lost
    assert not commit(job, dead.claim, square(ITEMS[3:6]))
    assert job.names("parts").count("00001.0001.jsonl") == 0
    assert list(merge(job)) == EXPECTED


def test_two_owners_of_a_shard_never_both_commit(job, clock):
    first = take(job, "00000", after=None, owner="a", seconds=10, clock=clock)
    clock.advance(11)
    second = take(job, "00000", after=first.claim, owner="b", seconds=10, clock=clock)
    results = [commit(job, lease.claim, square(ITEMS[:3])) for lease in (first, second)]
    assert results == [True, False]
    assert work(job, square, clock=clock).shards == 3
    assert list(merge(job)) == EXPECTED


def test_a_worker_that_loses_its_lease_throws_its_rows_away(job, clock):
    def slow(items):
        held = read_claim(job, "00000", number=1)
        if items[0]["id"] == "clip-00" and latest_claims(job)["00000"] == 1:
            take(job, "00000", after=held, owner="quick", seconds=5, clock=clock)
            clock.advance(1000)
        return square(items)

    report = work(job, slow, clock=clock, lease=30, owner="slow")
    assert report.lost == 1
    assert report.shards == 4  # "quick" dies too, and its claim expires
    assert list(merge(job)) == EXPECTED


def test_a_shard_that_kills_its_workers_is_left_alone_and_named(job, clock):
    claim = None
    for number in range(3):
        claim = take(job, "00002", after=claim, owner=f"w{number}", seconds=5, clock=clock).claim
        clock.advance(6)
    report = work(job, square, clock=clock, deaths=3)
    assert report.deadly == {"00002"} and report.shards == 3
    with pytest.raises(WorkdirError, match="1 of 4 shards are not done: 00002"):
        merge(job)
    assert work(job, square, clock=clock, deaths=4).shards == 1
    assert list(merge(job)) == EXPECTED


def test_an_interrupted_worker_gives_its_shard_back(job, clock):
    def interrupted(items):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        work(job, interrupted, clock=clock)
    ((shard, number),) = latest_claims(job).items()
    assert read_claim(job, shard, number=number).expires == 0
    began = clock.now()
    work(job, square, clock=clock)
    assert clock.now() == began  # nothing to wait for
    assert list(merge(job)) == EXPECTED


def test_errors_are_rows_and_are_counted(job, clock):
    def do(items):
        if any(item["n"] == 4 for item in items):
            raise ValueError("four")
        return square(items)

    report = work(job, do, clock=clock, attempts=2)
    assert (report.items, report.errors) == (10, 1)
    rows = list(merge(job))
    assert rows[4] == {"id": "clip-04", "error": "ValueError: four", "attempts": 2}
    assert [r for r in rows if r != rows[4]] == EXPECTED[:4] + EXPECTED[5:]
    assert status(job).errors == 1


def test_reopened_shards_keep_their_good_rows(job, clock):
    test_errors_are_rows_and_are_counted(job, clock)
    asked = []

    def do(items):
        asked.extend(item["id"] for item in items)
        return square(items)

    assert reopen(job) == ["00001"]
    assert work(job, do, clock=clock).errors == 0
    assert asked == ["clip-04"]
    assert list(merge(job)) == EXPECTED
    assert reopen(job) == []


def test_a_full_disk_ends_the_worker_and_the_job_can_go_on(job, clock):
    def full(items):
        raise StorageError("cannot write x: No space left on device")

    with pytest.raises(StorageError):
        work(job, full, clock=clock)
    assert work(job, square, clock=clock).errors == 0
    assert list(merge(job)) == EXPECTED


@pytest.mark.parametrize(
    "damage", [lambda b: b[:-9], lambda b: b.replace(b"9", b"8"), lambda b: b + b"{}\n", None]
)
def test_a_damaged_part_is_named_not_read(job, clock, damage):
    work(job, square, clock=clock)
    part = json.loads(job.read("done/00001.json"))["part"]
    if damage:
        job.write(part, damage(job.read(part)))
    else:
        job.delete(part)
    with pytest.raises(RecordError, match=part):
        list(merge(job))
    job.delete("done/00001.json")
    assert work(job, square, clock=clock).shards == 1
    assert list(merge(job)) == EXPECTED


def test_text_with_odd_line_ends_survives(store, clock):
    begin(store, [{"id": "a"}], shard_size=1)
    text = "one\u2028two\x85three\r\nfour \U0001f98a"
    work(store, lambda items: [{"id": "a", "text": text}], clock=clock)
    assert list(merge(store)) == [{"id": "a", "text": text}]
