from __future__ import annotations

import os
import signal

import pytest

from sg4v_jax.jobs.interrupts import Interrupts


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_waits_for_a_place_where_it_may_come(number):
    passed = []
    with pytest.raises(KeyboardInterrupt), Interrupts() as interrupts:
        with interrupts.here():
            passed.append("first")
        os.kill(os.getpid(), number)
        passed.append("second")
        with interrupts.here():
            passed.append("third")
    assert passed == ["first", "second"]


def test_a_second_signal_does_not_wait():
    with pytest.raises(KeyboardInterrupt), Interrupts():
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGTERM)
        pytest.fail("the second signal raised nothing")


def test_a_signal_raises_at_once_where_it_may_come_and_handlers_return():
    old = signal.getsignal(signal.SIGTERM)
    with pytest.raises(KeyboardInterrupt), Interrupts() as interrupts, interrupts.here():
        os.kill(os.getpid(), signal.SIGTERM)
        pytest.fail("the signal raised nothing")
    assert signal.getsignal(signal.SIGTERM) is old


def test_a_signal_that_meets_no_such_place_raises_at_the_end():
    passed = []
    with pytest.raises(KeyboardInterrupt), Interrupts():
        os.kill(os.getpid(), signal.SIGINT)
        passed.append("end")
    assert passed == ["end"]
