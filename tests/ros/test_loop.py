"""The loop in its thread: opening, ending, and what it says of failures."""

from __future__ import annotations

import threading
from types import TracebackType

import pytest

from rtseg.config import RunConfig
from rtseg.drawing.view import View
from rtseg.errors import BackendError, ConfigError
from rtseg.frame import Result
from rtseg.ros import loop as module
from rtseg.ros.loop import Loop
from rtseg.ros.subscriber import Subscriber
from rtseg.segmenter.contract import Stages
from tests.ros.segmenting import frame_message

CONFIG = RunConfig(input="ros:image", output=("null:",), backend="null")


class Collected:
    """A sink that keeps the stamps of results, says when one came, and fails at the stamp `fail_at`."""

    needs = frozenset({"labels"})
    threaded = False

    def __init__(self, fail_at: int | None = None) -> None:
        self.stamps: list[int] = []
        self.came, self.closed = threading.Semaphore(0), False
        self._fail_at = fail_at

    def __enter__(self) -> Collected:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.closed = True

    def write(self, result: Result) -> None:
        assert result.frame.header is not None
        if result.frame.header.stamp_ns == self._fail_at:
            raise BackendError("the sink broke")
        self.stamps.append(result.frame.header.stamp_ns)
        self.came.release()


def loop_of(sink: Collected, config: RunConfig = CONFIG) -> tuple[Loop, Subscriber, list[str]]:
    intake, lines = Subscriber("/camera/image"), list[str]()
    return Loop(config, intake, lambda stages, view: sink, lines.append), intake, lines


def test_it_runs_from_start_to_end() -> None:
    sink = Collected()
    loop, intake, lines = loop_of(sink)
    assert not loop.running
    pipeline = loop.start()
    assert loop.running and pipeline.capture.policy == "latest"
    assert loop.spec.name == "unet-fast0-camvid"
    for index in range(3):
        intake.put(frame_message(index))
        assert sink.came.acquire(timeout=20)
    assert sink.stamps == [0, 1, 2] and not sink.closed
    assert loop.end() and loop.end(), "a second time does nothing"
    assert (loop.running, loop.error, sink.closed) == (False, None, True)
    assert any("ros:/camera/image" in line for line in lines)


def test_what_keeps_it_from_opening_is_raised_by_start() -> None:
    loop, _, _ = loop_of(Collected(), RunConfig(input="ros:image", output=("null:",), backend="nul"))
    with pytest.raises(ConfigError, match="unknown backend 'nul': did you mean 'null'"):
        loop.start()
    assert not loop.running and loop.end()


def test_the_sink_is_made_for_the_model_and_the_settings_view() -> None:
    seen: list[tuple[str, float]] = []
    sink = Collected()

    def make(stages: Stages, view: View) -> Collected:
        seen.append((stages.spec.name, view.alpha))
        return sink

    config = RunConfig(input="ros:image", output=("null:",), backend="null", alpha=0.25)
    loop = Loop(config, Subscriber("/camera/image"), make, lambda line: None)
    loop.start()
    assert loop.end()
    assert seen == [("unet-fast0-camvid", 0.25)]


def test_what_ends_it_later_is_its_error() -> None:
    sink = Collected(fail_at=5)
    loop, intake, _ = loop_of(sink)
    loop.start()
    intake.put(frame_message(5))
    loop._thread.join(20)
    assert not loop.running and sink.closed
    assert isinstance(loop.error, BackendError) and str(loop.error) == "the sink broke"
    assert loop.end()


def test_a_loop_that_does_not_end_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LOADING_SECONDS", 0.05)
    stuck = threading.Event()

    def make(stages: Stages, view: View) -> Collected:
        stuck.wait(20)
        return Collected()

    loop = Loop(CONFIG, Subscriber("/camera/image"), make, lambda line: None)
    starting = threading.Thread(target=loop.start)
    starting.start()
    while not loop.running:
        starting.join(0.01)
    assert not loop.end(), "it is still being opened"
    stuck.set()
    starting.join(20)
    assert loop.end()
