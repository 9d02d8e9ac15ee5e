"""The window, on a real X server (Xvfb), driven by real key events (xdotool)."""

from __future__ import annotations

import ctypes
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from queue import Empty, Queue

import cv2
import pytest

from rtseg.errors import SinkError
from tests.sinks.results import open_to

MISSING = [name for name in ("Xvfb", "xdotool") if shutil.which(name) is None]
needs_x = pytest.mark.skipif(bool(MISSING), reason=f"needs {' and '.join(MISSING)}: apt install xvfb xdotool")
PATIENCE = 20.0
ROOT = Path(__file__).resolve().parents[2]


@contextmanager
def x_server(*options: str) -> Iterator[str]:
    """A virtual screen of 1280x800; its name."""
    reader, writer = os.pipe()
    command = ["Xvfb", "-displayfd", str(writer), "-screen", "0", "1280x800x24", "-nolisten", "tcp", *options]
    with subprocess.Popen(command, pass_fds=[writer], stderr=subprocess.DEVNULL) as server:
        os.close(writer)
        try:
            with os.fdopen(reader) as answer:
                yield f":{answer.readline().strip()}"
        finally:
            server.terminate()


@pytest.fixture(scope="module")
def display() -> Iterator[str]:
    """A screen that several runs may share, one after the other."""
    with x_server("-noreset") as name:
        yield name


class Run:
    """A run with a window in a process of its own (Qt ends the process when its display goes away)."""

    def __init__(self, display: str, folder: Path, size: tuple[int, int] = (120, 160)) -> None:
        self._environment = {**os.environ, "DISPLAY": display, "PYTHONPATH": str(ROOT)}
        self._lines: Queue[list[str]] = Queue()
        command = [sys.executable, "-m", "tests.sinks.window_child", *map(str, size)]
        self.process = subprocess.Popen(
            command, cwd=folder, env=self._environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        try:
            self.wait("frame", lambda _: True)
            self.window = self._xdotool("search", "--name", "^rtseg: memory$").split()[0]
            self._xdotool("windowfocus", self.window)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        assert self.process.stdout is not None
        self.process.kill()
        self.process.wait(PATIENCE)
        self._reader.join(PATIENCE)
        self.process.stdout.close()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._lines.put(line.split())

    def _xdotool(self, *words: str) -> str:
        return subprocess.run(
            ["xdotool", *words], env=self._environment, check=True, capture_output=True, text=True, timeout=PATIENCE
        ).stdout

    def press(self, key: str) -> None:
        """Press and release a key, by its X name, as the X server's XTEST extension does it: a real event."""
        self._xdotool("key", key)

    def wait(self, word: str, good: Callable[[list[str]], bool]) -> list[str]:
        """The rest of the next line that starts with `word` and satisfies `good`."""
        seen = []
        until = time.monotonic() + PATIENCE
        while time.monotonic() < until:
            try:
                line = self._lines.get(timeout=0.1)
            except Empty:
                continue
            if line[:1] == [word] and good(line[1:]):
                return line[1:]
            seen.append(" ".join(line))
        raise AssertionError(f"no '{word}' came; the last lines were {seen[-5:]}")

    def silent(self) -> bool:
        """Whether no frame comes for a while."""
        time.sleep(0.15)
        while not self._lines.empty():
            self._lines.get()
        time.sleep(0.3)
        return self._lines.empty()

    def state(self, good: Callable[[list[str]], bool]) -> list[str]:
        """The state (view, alpha, legend, hud) of the first frame where it satisfies `good`."""
        return self.wait("frame", lambda line: good(line[1:]))[1:]


@pytest.fixture
def run(display: str, tmp_path: Path) -> Iterator[Run]:
    run = Run(display, tmp_path)
    try:
        yield run
    finally:
        run.close()


@needs_x
def test_keys_change_the_view_of_the_frames_to_come(run: Run) -> None:
    assert run.state(lambda _: True)[:4] == ["overlay", "0.5", "False", "False"]
    run.press("plus")
    run.state(lambda state: state[1] == "0.6")
    run.press("equal")
    run.state(lambda state: state[1] == "0.7")
    for _ in range(9):
        run.press("minus")
    run.state(lambda state: state[1] == "0.0")
    run.press("l")
    run.state(lambda state: state[2] == "True")
    run.press("h")
    run.state(lambda state: state[3] == "True")
    run.press("l")
    run.state(lambda state: state[2] == "False")
    for view in ("mask", "split", "contour", "overlay,contour", "overlay"):
        run.press("v")
        run.state(lambda state, view=view: state[0] == view)  # type: ignore[misc]


@needs_x
def test_space_pauses_and_goes_on_and_n_and_period_step(run: Run) -> None:
    run.press("space")
    assert run.silent()
    run.press("n")
    first = int(run.wait("frame", lambda _: True)[0])
    assert run.silent()
    run.press("period")
    assert int(run.wait("frame", lambda _: True)[0]) == first + 1
    assert run.silent()
    run.press("space")
    run.wait("frame", lambda line: int(line[0]) > first + 5)
    run.press("n")  # a step while running pauses
    assert run.silent()


@needs_x
def test_changes_show_while_paused(run: Run) -> None:
    assert run.wait("picture", lambda _: True) == ["120x160", "50,50,150"]
    run.press("space")
    assert run.silent()
    run.press("minus")
    assert run.wait("picture", lambda _: True) == ["120x160", "60,60,140"]
    run.press("v")
    assert run.wait("picture", lambda _: True) == ["120x160", "0,0,200"]
    run.press("v")
    assert run.wait("picture", lambda _: True) == ["120x320", "60,60,140"]
    assert run.silent()


@needs_x
def test_s_saves_the_picture(run: Run, tmp_path: Path) -> None:
    run.press("v")
    run.state(lambda state: state[0] == "mask")
    run.wait("picture", lambda line: line[1] == "0,0,200")
    run.press("s")
    logged = run.wait("log", lambda line: line[0] == "screenshot:")
    (file,) = tmp_path.glob("rtseg-*.png")
    assert logged[1] == str(file)
    picture = cv2.imread(str(file))
    assert picture.shape == (120, 160, 3)
    assert (picture == (0, 0, 200)).all()


@needs_x
@pytest.mark.parametrize("key", ["q", "Escape"])
def test_q_and_escape_quit_also_while_paused(run: Run, key: str) -> None:
    if key == "q":
        run.press("space")
        assert run.silent()
    run.press(key)
    assert run.wait("end", lambda _: True) == ["StopRun", "the", "user", "quit"]
    assert run.process.wait(PATIENCE) == 0


@needs_x
def test_closing_the_window_quits(run: Run, display: str) -> None:
    ask_to_close(display, int(run.window))
    assert run.wait("end", lambda _: True) == ["StopRun", "the", "window", "was", "closed"]
    assert run.process.wait(PATIENCE) == 0


@needs_x
def test_ctrl_c_works_while_paused(run: Run) -> None:
    run.press("space")
    assert run.silent()
    run.process.send_signal(signal.SIGINT)
    assert run.wait("end", lambda _: True) == ["KeyboardInterrupt"]
    assert run.process.wait(PATIENCE) == 0


@needs_x
def test_a_large_frame_is_shown_within_the_screen(tmp_path: Path) -> None:
    with x_server() as display:  # one that restarts itself whenever its last client leaves
        run = Run(display, tmp_path, (2160, 3840))
        try:
            width, height = map(int, run.state(lambda state: int(state[4]) > 1000)[4:])
            assert abs(width - 1152) <= 2  # nine tenths of 1280
            assert abs(height - 648) <= 2
        finally:
            run.close()


@pytest.mark.parametrize("display", ["", ":4711"])
def test_no_screen_is_an_error_and_not_the_end_of_the_process(monkeypatch: pytest.MonkeyPatch, display: str) -> None:
    if not sys.platform.startswith("linux"):
        pytest.skip("DISPLAY means something on Linux only")
    monkeypatch.setenv("DISPLAY", display)
    with pytest.raises(
        SinkError, match=r"no screen to open a window on: .*: use --headless, or an output file"
    ) as caught:
        open_to("window:").__enter__()
    assert "\n" not in str(caught.value)


def test_it_runs_in_the_loops_thread_and_hides_passwords_in_its_title() -> None:
    from rtseg.frame import StreamInfo
    from rtseg.sinks.window import WindowSink

    sink = open_to("window:", StreamInfo("rtsp://me:secret@camera/1", True))
    assert isinstance(sink, WindowSink)
    assert not sink.threaded
    assert sink._title == "rtsp://camera/1"


class ClientMessage(ctypes.Structure):
    """XClientMessageEvent, padded to the size of XEvent."""

    _fields_ = (
        ("type", ctypes.c_int),
        ("serial", ctypes.c_ulong),
        ("send_event", ctypes.c_int),
        ("display", ctypes.c_void_p),
        ("window", ctypes.c_ulong),
        ("message_type", ctypes.c_ulong),
        ("format", ctypes.c_int),
        ("data", ctypes.c_long * 5),
        ("padding", ctypes.c_long * 24),
    )


def ask_to_close(display: str, window: int) -> None:
    """Send what a window manager sends when its close button is pressed: WM_DELETE_WINDOW."""
    x11 = ctypes.CDLL("libX11.so.6")
    x11.XOpenDisplay.restype = ctypes.c_void_p
    x11.XInternAtom.restype = ctypes.c_ulong
    connection = ctypes.c_void_p(x11.XOpenDisplay(display.encode()))
    protocols, delete = (x11.XInternAtom(connection, name, 0) for name in (b"WM_PROTOCOLS", b"WM_DELETE_WINDOW"))
    event = ClientMessage(type=33, window=window, message_type=protocols, format=32)
    event.data[0] = delete
    assert x11.XSendEvent(connection, ctypes.c_ulong(window), 0, ctypes.c_long(0), ctypes.byref(event))
    x11.XCloseDisplay(connection)
