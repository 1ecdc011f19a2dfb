"""Signals that are noted, and those that act as ever."""

import os
import signal

import pytest

from stepax.signals import stoppable


def test_a_second_signal_acts_as_ever_and_the_handlers_come_back():
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    with stoppable() as noted:
        assert noted() == 0
        os.kill(os.getpid(), signal.SIGINT)
        assert noted() == signal.SIGINT
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


def test_two_by_turns_leave_the_first_handlers():
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    first, second = stoppable(), stoppable()
    noted = first.__enter__(), second.__enter__()
    first.__exit__(None, None, None)
    os.kill(os.getpid(), signal.SIGTERM)
    assert [told() for told in noted] == [0, signal.SIGTERM]
    second.__exit__(None, None, None)
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before
