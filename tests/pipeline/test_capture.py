"""Capture: exact drops, order, errors with their traceback, and a thread that really ends."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
import threading
import time
import traceback
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

import numpy as np
import pytest

from rtseg.errors import ConfigError, SourceError
from rtseg.frame import Frame, Image, StreamInfo
from rtseg.pipeline import capture as capture_module
from rtseg.pipeline.capture import Capture
from rtseg.sources import open_source
from rtseg.sources.stream import StreamSource
from tests.media import number_of, write_clip
from tests.sources.rtsp_server import RtspServer

if TYPE_CHECKING:
    from typing_extensions import Self


class Scripted:
    """A source of `count` frames; `before(index)` runs in the capture thread before each."""

    def __init__(self, count: int, live: bool = False, before: Callable[[int], object] = lambda index: None) -> None:
        self.info = StreamInfo("scripted", live)
        self.reconnects = 0
        self.stop = threading.Event()
        self.made = 0
        self.threads: list[threading.Thread] = []
        self._images: list[weakref.ref[Image]] = []
        self.most_alive = 0
        self._count, self._before = count, before

    def __enter__(self) -> Self:
        self.threads.append(threading.current_thread())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.threads.append(threading.current_thread())

    def __iter__(self) -> Iterator[Frame]:
        self.threads.append(threading.current_thread())
        for index in range(self._count):
            self._before(index)
            image = np.zeros((2, 2, 3), np.uint8)
            self._images.append(weakref.ref(image))
            self.most_alive = max(self.most_alive, self.alive)
            self.made += 1
            yield Frame(index, time.monotonic_ns(), None, None, image)
            del image

    @property
    def alive(self) -> int:
        return sum(image() is not None for image in self._images)

    def close(self) -> None:
        self.stop.set()


def until(condition: Callable[[], bool], seconds: float = 10) -> None:
    limit = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < limit, "waited in vain"
        time.sleep(0.005)


def test_files_wait_and_lose_nothing() -> None:
    source = Scripted(50)
    with Capture(source) as capture:
        assert capture.policy == "wait"
        time.sleep(0.05)
        assert source.made == 0, "nothing is read before it is wanted"
        frames = iter(capture)
        assert next(frames).index == 0
        until(lambda: source.made == 2)
        time.sleep(0.05)
        assert source.made == 2, "the next is read when the one before is taken, so that it does not grow old"
        assert [frame.index for frame in frames] == list(range(1, 50))
        assert capture.drops == 0
    assert len(set(source.threads)) == 1
    assert source.threads[0] is not threading.current_thread()
    assert len(source.threads) == 3, "entered, iterated and left by the capture thread"


def test_live_keeps_the_newest_and_counts_the_rest() -> None:
    go = threading.Event()
    source = Scripted(11, live=True, before=lambda index: go.wait(10) if index == 10 else None)
    with Capture(source) as capture:
        assert capture.policy == "latest"
        until(lambda: source.made == 10)
        until(lambda: capture.drops == 9)
        frames = iter(capture)
        assert next(frames).index == 9
        go.set()
        assert next(frames).index == 10
        assert next(frames, None) is None
        assert capture.drops == 9


@pytest.mark.parametrize(
    ("policy", "expected"), [("latest", [19]), ("drop-oldest:1", [19]), ("drop-oldest:4", [16, 17, 18, 19])]
)
def test_drops_are_the_gaps_in_the_index(policy: str, expected: list[int]) -> None:
    source = Scripted(20)
    with Capture(source, policy) as capture:
        assert capture.policy == policy
        until(lambda: not source.threads[0].is_alive())
        assert [frame.index for frame in capture] == expected
        assert capture.drops == 20 - len(expected)


def test_drops_equal_gaps_under_load() -> None:
    source = Scripted(400, live=True, before=lambda index: time.sleep(0.0005))
    seen = []
    with Capture(source) as capture:
        for frame in capture:
            seen.append(frame.index)
            time.sleep(0.003)
        assert seen == sorted(set(seen))
        assert seen[-1] == 399
        assert capture.drops == 400 - len(seen)
        assert capture.drops > 0


@pytest.mark.parametrize(("policy", "most"), [("latest", 3), ("drop-oldest:5", 7), ("wait", 3), ("wait:3", 5)])
def test_frames_alive_are_bounded(policy: str, most: int) -> None:
    # Those that wait, one in the thread's hands, one in the consumer's.
    source = Scripted(200)
    with Capture(source, policy) as capture:
        for frame in capture:
            time.sleep(0.0005)
            del frame
    assert 1 <= source.most_alive <= most
    gc.collect()
    assert source.alive == 0


def test_an_error_comes_after_the_frames_before_it_with_its_own_traceback() -> None:
    def break_down(index: int) -> None:
        if index == 3:
            raise SourceError("the disk fell off")

    seen = []
    source = Scripted(10, before=break_down)
    with pytest.raises(SourceError, match="the disk fell off") as caught, Capture(source) as capture:
        for frame in capture:
            seen.append(frame.index)
    assert seen == [0, 1, 2]
    names = [entry.name for entry in traceback.extract_tb(caught.value.__traceback__)]
    assert "break_down" in names
    assert "_run" in names
    assert not source.threads[0].is_alive()


def test_any_exception_is_handed_over() -> None:
    def crash(index: int) -> None:
        raise ZeroDivisionError("not ours")

    with pytest.raises(ZeroDivisionError, match="not ours"), Capture(Scripted(1, before=crash)) as capture:
        list(capture)


def test_an_error_that_nobody_waited_for_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    def break_down(index: int) -> None:
        if index == 1:
            raise SourceError("too late to matter")

    source = Scripted(5, before=break_down)
    with Capture(source) as capture:
        assert next(iter(capture)).index == 0
        until(lambda: not source.threads[0].is_alive())
    assert "too late to matter" in caplog.text


def test_opening_errors_are_raised_on_entering(tmp_path: Path) -> None:
    before = threading.active_count()
    with (
        pytest.raises(SourceError, match=r"none\.mp4 does not exist"),
        Capture(open_source(str(tmp_path / "none.mp4"))),
    ):
        pytest.fail("not reached")
    assert threading.active_count() == before


def test_unknown_policy() -> None:
    for policy in ("newest", "drop-oldest", "drop-oldest:0", "latest:2", ""):
        with pytest.raises(ConfigError, match="unknown policy"):
            Capture(Scripted(1), policy)


def test_closing_while_the_source_waits() -> None:
    stop = threading.Event()
    source = Scripted(10, before=lambda index: stop.wait(30) if index == 2 else None)
    source.stop = stop
    seen = []
    with Capture(source) as capture:
        threading.Timer(0.1, capture.close).start()
        begin = time.monotonic()
        seen += [frame.index for frame in capture]
        assert time.monotonic() - begin < 2
    assert seen == [0, 1]
    assert not source.threads[0].is_alive()
    capture.close()


def test_closing_while_the_thread_waits_for_room() -> None:
    source = Scripted(1000)
    with Capture(source, "wait:2") as capture:
        assert next(iter(capture)).index == 0
        until(lambda: source.made == 3)
    assert not source.threads[0].is_alive()
    assert source.made < 10


def test_a_read_that_cannot_be_interrupted_is_left_behind(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(capture_module, "JOIN_SECONDS", 0.1)
    release, blocked = threading.Event(), threading.Event()
    source = Scripted(10, live=True, before=lambda index: index == 1 and (blocked.set() or release.wait(30)))
    begin = time.monotonic()
    with Capture(source) as capture:
        assert next(iter(capture)).index == 0
        assert blocked.wait(10)
    assert time.monotonic() - begin < 2
    assert "still in a blocked read" in caplog.text
    release.set()
    source.threads[0].join(5)
    assert not source.threads[0].is_alive()


def test_a_file_through_capture(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "clip.mp4", 30)
    with Capture(open_source(str(path))) as capture:
        assert capture.info.size == (64, 96)
        assert capture.info.frames == 30
        assert capture.reconnects == 0
        frames = list(capture)
    assert [number_of(frame.image) for frame in frames] == list(range(30))


def test_lag_of_a_live_stream_is_bounded() -> None:
    # The consumer takes five times as long as a frame lasts; what it gets is never older than one frame and a bit.
    with RtspServer(60) as server, Capture(StreamSource(server.url, reconnect=0)) as capture:
        ages, last = [], -1
        for frame in capture:
            ages.append((time.monotonic_ns() - frame.t_capture) / 1e9)
            assert frame.index > last
            last = frame.index
            time.sleep(0.1)
        assert capture.policy == "latest"
        assert last == 59
        assert capture.drops == 60 - len(ages)
    # The very last frame waits while its predecessor is worked on; all others are replaced by newer ones.
    assert np.median(ages) < 0.05


INTERRUPTED = """
import sys, time
from rtseg.pipeline.capture import Capture
from rtseg.sources.stream import StreamSource
print("ready", flush=True)
try:
    with Capture(StreamSource(sys.argv[1], open_timeout=5)) as capture:
        print("opened", flush=True)
except KeyboardInterrupt:
    print("interrupted", flush=True)
"""


def test_ctrl_c_while_a_stream_is_being_opened() -> None:
    from tests.sources.test_stream import silent_server

    with silent_server() as port:
        child = subprocess.Popen(
            [sys.executable, "-c", INTERRUPTED, f"rtsp://127.0.0.1:{port}/x"], stdout=subprocess.PIPE, text=True
        )
        with child:
            assert child.stdout is not None
            assert child.stdout.readline() == "ready\n"
            time.sleep(0.3)
            begin = time.monotonic()
            os.kill(child.pid, signal.SIGINT)
            assert child.stdout.readline() == "interrupted\n"
            assert time.monotonic() - begin < 4, "two seconds are given to the thread, not the five of the timeout"
            assert child.wait(10) == 0
