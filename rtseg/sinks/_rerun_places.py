"""Where a Rerun recording goes: a file, a viewer's window, a viewer elsewhere, or a page for browsers."""

from __future__ import annotations

import logging
import os
import platform
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import rerun as rr
import rerun_cli

from rtseg.errors import ConfigError, SinkError
from rtseg.sinks._files import create_beside, disk_errors
from rtseg.sinks._viewers import bracketed, host_and_port

__all__ = ["Place", "place_of"]

LOG = logging.getLogger(__name__)
VIEWER_PORT = 9876
PAGE_PORT = 9090
START_SECONDS = 30.0
"""How long a viewer may take to open: its program has 290 MB, which a slow disk reads once."""
SETTLE_SECONDS = 0.5
"""A viewer listens before it asks for the screen; within this time it has ended if there is none."""
STOP_SECONDS = 5.0
FLUSH_SECONDS = 20.0
LOOPBACK = ("127.0.0.1", "localhost", "::1")
WINDOWS: list[subprocess.Popen[bytes]] = []
"""Viewers that were opened and stay open after the run, for the person who looks at them."""


class Place:
    """Takes a stream while it is open; `check` raises what went wrong since, `close` ends it."""

    def __init__(self, stream: rr.RecordingStream) -> None:
        self._stream = stream

    def check(self) -> None:
        """Errors: SinkError for what could not be written."""

    def close(self) -> None:
        """Send what is pending, then let go. Errors: SinkError."""
        try:
            self._stream.flush(timeout_sec=FLUSH_SECONDS)
        except RuntimeError as exc:
            raise SinkError(f"the Rerun viewer no longer takes what is sent: {' '.join(str(exc).split())}") from exc
        finally:
            self._stream.disconnect()


class Viewer(Place):
    """A viewer that listens at (host, port)."""

    def __init__(self, stream: rr.RecordingStream, host: str, port: int) -> None:
        super().__init__(stream)
        self._address = host, port
        stream.connect_grpc(f"rerun+http://{bracketed(host)}:{port}/proxy")

    def close(self) -> None:
        if not listening(*self._address):  # Rerun would try for many seconds, and complain in its own way
            raise SinkError("the Rerun viewer was closed before the run ended")
        super().close()


class Page(Viewer):
    """A page for browsers: a program of Rerun's own that serves both page and data, until the run ends."""

    def __init__(self, stream: rr.RecordingStream, host: str, port: int) -> None:
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
    and never comes back.
    """

    def __init__(self, stream: rr.RecordingStream, path: Path) -> None:
        super().__init__(stream)
        self._path, self._temporary = path, create_beside(path)
        self._error: OSError | None = None
        source, end = os.pipe()
        self._thread = threading.Thread(target=self._copy, args=(source,), name="rerun-file", daemon=True)
        self._thread.start()
        try:
            stream.save(f"/dev/fd/{end}")
        finally:
            os.close(end)

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
            self._thread.join(FLUSH_SECONDS)
            if self._thread.is_alive():
                raise SinkError(f"cannot write {self._path}: Rerun did not finish it within {FLUSH_SECONDS:.0f} s")
            self.check()
            with disk_errors(self._path):
                os.replace(self._temporary, self._path)
        except BaseException:
            self._temporary.unlink(missing_ok=True)
            raise


def place_of(target: str) -> Callable[[rr.RecordingStream], Place]:
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


def window(stream: rr.RecordingStream) -> Place:
    """The viewer on this machine: the one that is open, else a new one, which stays open."""
    if not listening("127.0.0.1", VIEWER_PORT):
        WINDOWS.append(start("127.0.0.1", VIEWER_PORT, ["--hide-welcome-screen", "--expect-data-soon"]))
    return Viewer(stream, "127.0.0.1", VIEWER_PORT)


def elsewhere(stream: rr.RecordingStream, host: str, port: int) -> Place:
    """A viewer that was started by somebody else."""
    if not listening(host, port):
        place = f"{bracketed(host)}:{port}"
        raise SinkError(f"no Rerun viewer answers at {place}: start one there: rerun --port {port}")
    return Viewer(stream, host, port)


def listening(host: str, port: int) -> bool:
    """Whether something accepts connections there."""
    try:
        socket.create_connection((host, port), 3.0).close()
    except OSError:
        return False
    return True


def start(host: str, port: int, flags: list[str]) -> subprocess.Popen[bytes]:
    """Start Rerun's viewer or server and wait until it listens. Errors: SinkError with the reason that it gives."""
    program = Path(rerun_cli.__file__).with_name("rerun")
    command = [str(program), "--bind", host, "--port", str(port), *flags]
    environment = {**os.environ, "RERUN_APP_ONLY": "true"}  # no questions: it is not at a terminal
    with tempfile.TemporaryFile() as said:
        try:
            process = subprocess.Popen(
                command,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=said,
                start_new_session=True,  # Ctrl-C is for the run, not for the viewer
            )
        except OSError as exc:
            raise SinkError(f"cannot start Rerun's viewer {program}: {exc.strerror}: reinstall rerun-sdk") from exc
        with stopping(process):
            end = time.monotonic() + START_SECONDS
            settled: float | None = None
            while settled is None or time.monotonic() < settled:
                if process.poll() is not None:
                    said.seek(0)
                    raise SinkError(refusal(said.read().decode(errors="replace")))
                if time.monotonic() > end:
                    raise SinkError(f"Rerun's viewer did not open within {START_SECONDS:.0f} s")
                if settled is None and listening(host, port):
                    settled = time.monotonic() + SETTLE_SECONDS
                time.sleep(0.05)
    return process


@contextmanager
def stopping(process: subprocess.Popen[bytes]) -> Iterator[None]:
    """Stop the process if what follows fails."""
    try:
        yield
    except BaseException:
        stop(process)
        raise


def stop(process: subprocess.Popen[bytes]) -> None:
    """End a process and wait for it."""
    process.terminate()
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(STOP_SECONDS)


def refusal(said: str) -> str:
    """One line about a viewer that ended at once."""
    if "DISPLAY" in said or "winit" in said:
        return "Rerun's viewer did not open: there is no screen here: use rerun:out.rrd or rerun:web"
    lines = [line for line in said.splitlines() if line.strip()]
    return f"Rerun's viewer did not open: {lines[-1].strip() if lines else 'it said nothing'}"
