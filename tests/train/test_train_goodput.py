"""Every second of a run is of one kind, over all its starts."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from sg4v_jax.errors import RecordError
from sg4v_jax.train import goodput
from sg4v_jax.train.goodput import Clock, Ledger, summary


class Time:
    """Seconds that pass when they are told to."""

    def __init__(self, at: float = 0.0):
        self.at = at

    def __call__(self) -> float:
        return self.at

    def passes(self, seconds: float) -> None:
        self.at += seconds


def test_a_clock_is_always_in_one_phase():
    now = Time()
    clock = Clock(now)
    now.passes(5)
    clock.to("input")
    now.passes(1)
    clock.to("step")
    now.passes(10)
    with clock.within("save"):
        assert clock.phase == "save"
        now.passes(2)
    now.passes(3)
    assert clock.phase == "step"
    got = clock.seconds()
    assert got == dict(init=5, input=1, compile=0, step=13, save=2, evaluation=0)
    assert sum(got.values()) == now()


def test_an_error_within_a_phase_gives_the_phase_back():
    clock = Clock(Time())
    clock.to("step")
    with pytest.raises(ValueError, match="x"), clock.within("save"):
        raise ValueError("x")
    assert clock.phase == "step"


def train(folder, now: Time, *, first: int, last: int, save_every: int, killed=False) -> None:
    """A start on its own clock: 4 s of init, 2 s a step of which 0.5 s wait, 1 s a save."""
    clock = Clock(now)
    now.passes(4)
    ledger = Ledger(folder, clock=clock, first=first, now=now)
    for step in range(first + 1, last + 1):
        clock.to("input")
        now.passes(0.5)
        clock.to("step")
        now.passes(1.5)
        ledger.tick(step, tokens=100)
        if step % save_every == 0:
            with clock.within("save"):
                now.passes(1)
            ledger.saved(step)
    ledger.write(outcome="running" if killed else "ended")


def test_what_is_done_again_is_lost_and_the_gap_is_down(tmp_path):
    now = Time(1000.0)
    train(tmp_path, now, first=0, last=9, save_every=4, killed=True)  # 8 is saved
    now.passes(7)
    train(tmp_path, now, first=8, last=12, save_every=4)
    found = summary(goodput.read(tmp_path))
    assert (found.starts, found.steps) == (2, 12)
    assert found.total == pytest.approx(now() - 1000)
    want = dict(init=8, input=6, step=18, save=3, evaluation=0, compile=0, lost=2, down=7)
    assert found.seconds == pytest.approx(want)
    assert found.goodput == pytest.approx(18 / 44)


def test_nothing_was_saved_so_all_steps_are_lost(tmp_path):
    now = Time()
    train(tmp_path, now, first=0, last=3, save_every=4, killed=True)
    train(tmp_path, now, first=0, last=4, save_every=4)
    found = summary(goodput.read(tmp_path))
    assert found.seconds["lost"] == pytest.approx(6)
    assert found.seconds["step"] == pytest.approx(6)


def test_a_stop_that_saved_loses_nothing(tmp_path):
    now = Time()
    train(tmp_path, now, first=0, last=4, save_every=4)
    train(tmp_path, now, first=4, last=8, save_every=4)
    assert summary(goodput.read(tmp_path)).seconds["lost"] == 0


def test_it_is_written_now_and_then_and_on_the_primary_alone(tmp_path):
    now = Time()
    clock = Clock(now)
    ledger = Ledger(tmp_path, clock=clock, first=0, now=now)
    assert [s["outcome"] for s in goodput.read(tmp_path)] == ["running"]  # also if killed at once
    ledger.tick(1)
    assert goodput.read(tmp_path)[0]["last"] == 0
    now.passes(goodput.EVERY + 1)
    ledger.tick(2)
    assert goodput.read(tmp_path)[0]["last"] == 2
    Ledger(None, clock=clock, first=0, now=now).write(outcome="ended")


def test_a_full_disk_is_left_to_the_save_to_tell(tmp_path, small_disk):
    with small_disk(10):
        ledger = Ledger(tmp_path, clock=Clock(), first=0)
        ledger.write(outcome="ended")
    assert goodput.read(tmp_path) == []


def test_it_shows_each_start_and_their_sum(tmp_path):
    now = Time()
    train(tmp_path, now, first=0, last=9, save_every=4, killed=True)
    train(tmp_path, now, first=8, last=12, save_every=4)
    out = io.StringIO()
    goodput.show(tmp_path, console=Console(file=out, width=200))
    said = out.getvalue()
    assert "0 to 9" in said and "8 to 12" in said and "running" in said
    assert "goodput 48.6 % of 37 s" in said and "12 steps, 2 starts" in said


@pytest.mark.parametrize("text", ["[]", "{}", '{"starts": [{"began": 1}]}'])
def test_a_damaged_ledger_is_named(tmp_path, text):
    (tmp_path / "goodput.json").write_text(text)
    with pytest.raises(RecordError, match=r"goodput\.json: not a ledger"):
        goodput.read(tmp_path)


def test_no_run(tmp_path):
    with pytest.raises(RecordError, match=r"no goodput\.json"):
        goodput.show(tmp_path, console=Console(quiet=True))
