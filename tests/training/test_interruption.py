"""Signals are noted during a step and act after it."""

from __future__ import annotations

import signal

import pytest

from rtseg.training.interruption import Interruption


def test_the_first_signal_is_noted_and_acts_later() -> None:
    handler = signal.getsignal(signal.SIGINT)
    with Interruption() as interruption:
        assert not interruption.asked
        signal.raise_signal(signal.SIGINT)
        assert interruption.asked
    assert signal.getsignal(signal.SIGINT) is handler
    with pytest.raises(KeyboardInterrupt):
        interruption.pass_on()


def test_a_second_signal_acts_at_once() -> None:
    with Interruption():
        signal.raise_signal(signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)


def test_without_a_signal_nothing_happens() -> None:
    with Interruption() as interruption:
        pass
    interruption.pass_on()
