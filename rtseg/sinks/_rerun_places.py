"""Where a Rerun recording goes: a file, a viewer's window, a viewer elsewhere, or a page for browsers."""

from __future__ import annotations

import logging
import os
import platform
import subprocess
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from rtseg.errors import ConfigError, SinkError, StopRun
from rtseg.files import create_beside, disk_errors, put_in_place
from rtseg.platforms import FD_FILES
from rtseg.sinks._rerun_viewer import start, stop
from rtseg.sinks._viewers import bracketed, host_and_port, listening

if TYPE_CHECKING:
    from rerun import RecordingStream

__all__ = ["Place", "place_of"]

LOG = logging.getLogger(__name__)
VIEWER_PORT = 9876
PAGE_PORT = 9090
FLUSH_SECONDS = 20.0
CHECK_SECONDS = 1.0
"""How often to ask whether a viewer still listens."""
LOOPBACK = ("127.0.0.1", "localhost", "::1")
WINDOWS: list[subprocess.Popen[bytes]] = []
"""Viewers that were opened and stay open after the run, for the person who looks at them."""


class Place:
    """Takes a stream while it is open; `check` raises what went wrong since, `close` ends it."""

    def __init__(self, stream: RecordingStream) -> None:
        self._stream = stream

    def check(self) -> None:
        """Errors: SinkError for what could not be written; StopRun when the user closed the viewer's window."""

    def close(self) -> None:
        """Send what is pending, then let go. Errors: SinkError."""
        # Rerun (0.41) has a limit for flushing, and waits longer than that for a viewer that hangs.
        ending = threading.Thread(target=self._end, name="rerun-end", daemon=True)
        ending.start()
        ending.join(FLUSH_SECONDS)
        if ending.is_alive():
            raise SinkError(f"{self}: it did not take what was left to send within {FLUSH_SECONDS:.0f} s")

    def _end(self) -> None:
        with suppress(RuntimeError):  # of a viewer that is gone, which `check` says
            self._stream.flush(timeout_sec=FLUSH_SECONDS)
        self._stream.disconnect()


class Viewer(Place):
    """A viewer that somebody else opened at (host, port)."""

    def __init__(self, stream: RecordingStream, host: str, port: int) -> None:
        super().__init__(stream)
        self._address = host, port
        self._checked = time.monotonic()
        stream.connect_grpc(f"rerun+http://{self._place}/proxy")

    def __str__(self) -> str:
        return f"Rerun viewer at {self._place}"

    @property
    def _place(self) -> str:
        return f"{bracketed(self._address[0])}:{self._address[1]}"

    def check(self) -> None:
        if time.monotonic() > self._checked + CHECK_SECONDS:
            if not listening(*self._address):
                raise self._gone()
            self._checked = time.monotonic()

    def _gone(self) -> Exception:
        return SinkError(f"{self}: it was closed, or the network was lost")


class Window(Viewer):
    """A viewer on this machine: closing it ends the run, as closing the `window:` does."""

    def _gone(self) -> Exception:
        return StopRun("the Rerun viewer was closed")


class Page(Viewer):
    """A page for browsers: a program of Rerun's own that serves both page and data, until the run ends."""

    def __init__(self, stream: RecordingStream, host: str, port: int) -> None:
        flags = ["--serve-web", "--web-viewer-port", str(port)]
        if host not in LOOPBACK:  # the page's own origin, which is allowed by itself for localhost only
            flags += ["--cors-allow-origin", f"http://*:{port}"]
        for taken in (port, port + 1):
            if listening(host, taken):
                raise SinkError(
                    f"Rerun page: {bracketed(host)}:{taken} is in use: give another, as rerun:web:{port + 10}"
                )
        self._server = start(host, port + 1, flags)
        seen = platform.node() if host in ("0.0.0.0", "::") else bracketed(host)
        url = f"http://{seen}:{port}?url=rerun%2Bhttp%3A%2F%2F{seen}%3A{port + 1}%2Fproxy"
        LOG.info("Rerun: open %s", url)
        super().__init__(stream, host, port + 1)

    def close(self) -> None:
        try:
            super().close()
        finally:
            stop(self._server)


class File(Place):
    """A recording that gets its name when it is whole.

    Rerun writes into a pipe and this process writes the file: left alone with a full disk, Rerun (0.41) reports nothing
    and never comes back. Where a pipe has no name (Windows) it is left alone all the same.
    """

    def __init__(self, stream: RecordingStream, path: Path) -> None:
        super().__init__(stream)
        self._path, self._temporary = path, create_beside(path)
        self._error: OSError | None = None
        self._thread: threading.Thread | None = None
        if not FD_FILES:
            stream.save(str(self._temporary))
            return
        source, end = os.pipe()
        self._thread = threading.Thread(target=self._copy, args=(source,), name="rerun-file", daemon=True)
        self._thread.start()
        try:
            stream.save(f"/dev/fd/{end}")
        finally:
            os.close(end)

    def __str__(self) -> str:
        return f"cannot write {self._path}"

    def _copy(self, source: int) -> None:
        with open(source, "rb", buffering=0) as pipe:
            try:
                with self._temporary.open("wb") as file:
                    while data := pipe.read(1 << 20):
                        file.write(data)
            except OSError as exc:
                self._error = exc
                while pipe.read(1 << 20):
                    pass

    def check(self) -> None:
        if self._error is not None:
            with disk_errors(self._path):
                raise self._error

    def close(self) -> None:
        try:
            super().close()
            if self._thread is not None:
                self._thread.join(FLUSH_SECONDS)
                if self._thread.is_alive():
                    raise SinkError(f"cannot write {self._path}: Rerun did not finish it within {FLUSH_SECONDS:.0f} s")
            self.check()
            with disk_errors(self._path):
                put_in_place(self._temporary, self._path)
        except BaseException:
            self._temporary.unlink(missing_ok=True)
            raise


def place_of(target: str) -> Callable[[RecordingStream], Place]:
    """What opens the place that a target names. Errors: ConfigError; SinkError when it is opened."""
    what = f"Rerun output 'rerun:{target}'"
    if target.endswith(".rrd"):
        return lambda stream: File(stream, Path(target))
    if target == "web" or target.startswith("web:"):
        host, port = host_and_port(target[4:], PAGE_PORT, what)
        return lambda stream: Page(stream, host, port)
    if not target:
        return window
    try:
        host, port = host_and_port(target, VIEWER_PORT, what)
    except ConfigError as exc:
        raise ConfigError(f"{what}: use a file.rrd, HOST:PORT of a viewer, web, or nothing for a window") from exc
    return lambda stream: elsewhere(stream, host, port)


def window(stream: RecordingStream) -> Place:
    """The viewer on this machine: the one that is open, else a new one, which stays open."""
    if not listening("127.0.0.1", VIEWER_PORT):
        WINDOWS.append(start("127.0.0.1", VIEWER_PORT, ["--hide-welcome-screen", "--expect-data-soon"]))
    return Window(stream, "127.0.0.1", VIEWER_PORT)


def elsewhere(stream: RecordingStream, host: str, port: int) -> Place:
    """A viewer that was started by somebody else."""
    if not listening(host, port):
        place = f"{bracketed(host)}:{port}"
        raise SinkError(f"no Rerun viewer answers at {place}: start one there: rerun --port {port}")
    return Viewer(stream, host, port)
