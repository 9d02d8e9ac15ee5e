"""Threads and queues in front of sinks: order, counted drops, errors raised in the loop, files always finished."""

from __future__ import annotations

import threading
import time
import traceback
from types import TracebackType

import numpy as np
import pytest

from rtseg.errors import SinkError
from rtseg.frame import Frame, Result
from rtseg.pipeline.delivery import Delivery

IMAGE = np.zeros((2, 2, 3), np.uint8)


def result(index: int) -> Result:
    return Result(Frame(index, time.monotonic_ns(), None, None, IMAGE), IMAGE[..., 0])


class ListSink:
    """Keeps the indices it was given; may be slow, or fail at one of them."""

    needs = frozenset({"labels"})

    def __init__(self, threaded: bool = True, delay: float = 0.0, fail_at: int | None = None) -> None:
        self.threaded, self.delay, self.fail_at = threaded, delay, fail_at
        self.seen: list[int] = []
        self.threads: set[str] = set()
        self.closed = False

    def __enter__(self) -> ListSink:
        self.threads.add(threading.current_thread().name)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.threads.add(threading.current_thread().name)
        self.closed = True

    def write(self, result: Result) -> None:
        if result.frame.index == self.fail_at:
            raise SinkError(f"no room for frame {result.frame.index}")
        time.sleep(self.delay)
        self.threads.add(threading.current_thread().name)
        self.seen.append(result.frame.index)


def test_every_sink_gets_every_result_in_order_each_in_its_own_thread() -> None:
    slow, quick, direct = ListSink(delay=0.001), ListSink(), ListSink(threaded=False)
    written: list[int] = []
    with Delivery([slow, quick, direct], "wait:4", lambda frame, t: written.append(frame.index)) as delivery:
        for index in range(40):
            delivery.write(result(index))
    assert slow.seen == quick.seen == direct.seen == list(range(40))
    assert slow.closed and quick.closed and direct.closed
    assert direct.threads == {threading.current_thread().name}
    assert len(slow.threads | quick.threads | direct.threads) >= 2
    assert len(slow.threads) == 1  # opened, written and closed by the same thread
    assert sorted(written) == [index for index in range(40) for _ in range(3)]
    assert delivery.drops == 0


def test_a_slow_sink_behind_live_input_drops_and_every_drop_is_counted() -> None:
    sink = ListSink(delay=0.02)
    with Delivery([sink], "drop-oldest:2", lambda frame, t: None) as delivery:
        for index in range(30):
            delivery.write(result(index))
    assert sink.seen[-1] == 29
    assert len(sink.seen) + delivery.drops == 30
    assert delivery.drops > 0


def test_an_error_in_a_sinks_thread_is_raised_in_the_loop_with_its_traceback_and_others_finish() -> None:
    broken, other = ListSink(fail_at=3), ListSink()

    def write_all() -> None:
        with Delivery([broken, other], "wait:2", lambda frame, t: None) as delivery:
            for index in range(1000):
                delivery.write(result(index))
                time.sleep(0.001)

    with pytest.raises(SinkError, match="no room for frame 3") as caught:
        write_all()
    lines = [entry.line or "" for entry in traceback.extract_tb(caught.value.__traceback__)]
    assert any("raise SinkError(f" in line for line in lines)
    assert other.closed
    assert other.seen[:4] == [0, 1, 2, 3]


def test_an_error_after_the_last_result_is_not_lost() -> None:
    sink = ListSink(fail_at=0, delay=0.01)
    with pytest.raises(SinkError, match="no room for frame 0"), Delivery([sink], "wait", lambda frame, t: None) as box:
        box.write(result(0))
    assert sink.closed


def test_a_sink_says_how_long_it_may_take_to_finish() -> None:
    class Endless(ListSink):
        finish_seconds = 0.05

        def __exit__(self, *_: object) -> None:
            leave.wait(30)

    leave = threading.Event()
    with pytest.raises(SinkError, match="Endless did not finish within 0 s"):
        Delivery([Endless()], "wait", lambda frame, t: None).__enter__().__exit__(None, None, None)
    leave.set()


def test_a_sink_that_cannot_be_opened_is_an_error_before_the_first_frame_and_closes_the_others() -> None:
    class Unopenable(ListSink):
        def __enter__(self) -> ListSink:
            raise SinkError("no such folder")

    other = ListSink()
    with pytest.raises(SinkError, match="no such folder"):
        Delivery([other, Unopenable()], "wait", lambda frame, t: None).__enter__()
    assert other.closed


def test_an_error_in_the_loop_still_finishes_the_sinks() -> None:
    sink = ListSink()
    with pytest.raises(KeyboardInterrupt), Delivery([sink], "wait", lambda frame, t: None) as delivery:
        delivery.write(result(0))
        raise KeyboardInterrupt
    assert (sink.seen, sink.closed) == ([0], True)
