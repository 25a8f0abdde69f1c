from __future__ import annotations

import threading
import time

from sg4v_jax.jobs.lease import latest_claims, read_claim, take


def claim(store, clock, *, owner, after=None, shard="00000"):
    return take(store, shard, after=after, owner=owner, seconds=30.0, clock=clock)


def test_of_all_who_claim_at_once_one_gets_the_shard(store, clock):
    barrier, got = threading.Barrier(8), []

    def race(name: str) -> None:
        barrier.wait()
        got.append(claim(store, clock, owner=name))

    threads = [threading.Thread(target=race, args=(f"w{i}",)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    (lease,) = [lease for lease in got if lease]
    assert read_claim(store, "00000", number=1).owner == lease.claim.owner


def test_an_expired_claim_is_followed_by_one_and_its_owner_finds_out(store, clock):
    first = claim(store, clock, owner="slow")
    assert not first.lost
    clock.advance(31)
    assert first.lost
    second = claim(store, clock, owner="quick", after=first.claim)
    assert (second.claim.number, second.claim.deaths) == (2, 1)
    assert claim(store, clock, owner="late", after=first.claim) is None
    assert latest_claims(store) == {"00000": 2}
    assert first.renew() is False and first.lost
    assert second.renew() and not second.lost


def test_renewal_puts_the_expiry_off(store, clock):
    lease = claim(store, clock, owner="w")
    for _ in range(5):
        clock.advance(20)
        assert lease.renew()
    assert read_claim(store, "00000", number=1).expires == clock.now() + 30
    assert not lease.lost


def test_a_thread_renews_while_the_work_goes_on(store, clock):
    lease = claim(store, clock, owner="w")
    with lease:
        for _ in range(12):  # 96 s, more than three leases, in steps shorter than a third of one
            until = time.monotonic() + 5
            while not clock.waiting:
                assert time.monotonic() < until, "nobody renews"
                time.sleep(0.001)
            clock.advance(8)
            while read_claim(store, "00000", number=1).expires < clock.now() + 30 - 8:
                assert time.monotonic() < until, "the claim was not renewed"
                time.sleep(0.001)
            assert not lease.lost


def test_leaving_gives_the_shard_back_without_a_death(store, clock):
    with claim(store, clock, owner="w"):
        assert read_claim(store, "00000", number=1).expires > clock.now()
    old = read_claim(store, "00000", number=1)
    assert old.expires <= clock.now() and old.deaths_by_now == 0
    assert claim(store, clock, owner="v", after=old).claim.deaths == 0


def test_a_lost_lease_is_not_given_back(store, clock):
    first = claim(store, clock, owner="slow")
    clock.advance(31)
    with first:
        second = claim(store, clock, owner="quick", after=first.claim)
        first.renew()
    assert read_claim(store, "00000", number=2) == second.claim
    assert read_claim(store, "00000", number=1).expires != 0
