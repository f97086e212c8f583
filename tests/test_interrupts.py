"""Ctrl-C and SIGTERM end what they should, and the caller's handlers are there again."""

from __future__ import annotations

import os
import signal
import sys
import threading

import pytest

from jamie._interrupts import InterruptedBy, Requests, interruptible, signal_of

BOTH = (signal.SIGINT, signal.SIGTERM)
pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals are of POSIX")


@pytest.fixture(autouse=True)
def handlers():
    """As in a script, and the same at the end of the test as at its beginning."""
    before = [signal.getsignal(number) for number in BOTH]
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    yield
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert signal.getsignal(signal.SIGTERM) in (signal.SIG_DFL, print)
    for number, handler in zip(BOTH, before, strict=True):
        signal.signal(number, handler)


@pytest.mark.parametrize("number", BOTH)
def test_a_request_is_heeded_when_it_suits_and_a_second_one_at_once(number):
    with Requests() as requests:
        requests.heed()
        os.kill(os.getpid(), number)
        with pytest.raises(KeyboardInterrupt) as caught:
            requests.heed()
        assert signal_of(caught.value) == number.name
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), number)


def test_sigterm_raises_where_it_would_have_killed():
    with interruptible():
        with pytest.raises(InterruptedBy) as caught:
            os.kill(os.getpid(), signal.SIGTERM)
        assert signal_of(caught.value) == "SIGTERM"
        with Requests() as requests:  # a training inside
            os.kill(os.getpid(), signal.SIGTERM)
            with pytest.raises(InterruptedBy, match="SIGTERM"):
                requests.heed()
        with pytest.raises(InterruptedBy):
            os.kill(os.getpid(), signal.SIGTERM)


def test_a_handler_of_the_caller_is_left_alone():
    signal.signal(signal.SIGTERM, print)
    with interruptible(), Requests() as requests:
        assert signal.getsignal(signal.SIGTERM) is print
        os.kill(os.getpid(), signal.SIGTERM)
        requests.heed()


def test_another_thread_sets_up_nothing():
    found = []

    def inside():
        with Requests() as requests, interruptible():
            found.extend(signal.getsignal(number) for number in BOTH)
            requests.heed()

    thread = threading.Thread(target=inside)
    thread.start()
    thread.join()
    assert found == [signal.default_int_handler, signal.SIG_DFL]


def test_an_interrupt_that_somebody_raises_is_ctrl_c():
    assert signal_of(KeyboardInterrupt()) == "SIGINT"


def test_a_command_in_the_background_of_a_script_is_interrupted_too():
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with Requests() as requests:
        os.kill(os.getpid(), signal.SIGINT)
        requests.heed()  # a training by itself leaves it ignored
    with interruptible():
        with pytest.raises(InterruptedBy, match="SIGINT"):
            os.kill(os.getpid(), signal.SIGINT)
        with Requests() as requests:
            os.kill(os.getpid(), signal.SIGINT)
            with pytest.raises(InterruptedBy, match="SIGINT"):
                requests.heed()
    assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    signal.signal(signal.SIGINT, signal.default_int_handler)
