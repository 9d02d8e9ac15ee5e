"""Whether windows can be opened, checked before OpenCV tries: its Qt aborts the whole process where they cannot.

On Linux the Qt in OpenCV's wheels speaks X11 only, so the question is put to the X server itself: connect, present the
cookie of the user's Xauthority file, and read the screen's size from its answer (X11 protocol, section 8, "Connection
Setup"; the file's format is that of libXau).
"""

from __future__ import annotations

import ctypes
import os
import re
import socket
import struct
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from rtseg.errors import SinkError

__all__ = ["screen"]

INSTEAD = "use --headless, or an output file such as out.mp4"
TIMEOUT = 3.0
COOKIE = b"MIT-MAGIC-COOKIE-1"


@contextmanager
def screen() -> Iterator[tuple[int, int] | None]:
    """The screen's (height, width) in pixels, None where it is not X11 (macOS, Windows) and can be assumed to be there.

    Open the first window inside: the connection is held until then, because an X server without other clients (Xvfb)
    restarts itself when one leaves, and would refuse Qt meanwhile. Errors: SinkError where a window would not open.
    """
    if not sys.platform.startswith("linux") or not _check_plugin(
        os.environ.get("QT_QPA_PLATFORM_PLUGIN_PATH"), os.environ.get("QT_QPA_PLATFORM", "xcb")
    ):
        yield None
        return
    display = os.environ.get("DISPLAY", "")
    if not display:
        why = "OpenCV's windows need X11 (XWayland)" if os.environ.get("WAYLAND_DISPLAY") else "DISPLAY is not set"
        raise SinkError(f"no screen to open a window on: {why}: {INSTEAD}")
    server, size = ask_server(display, os.environ.get("XAUTHORITY") or str(Path.home() / ".Xauthority"))
    with server:
        yield size


def _check_plugin(folder: str | None, platform: str) -> bool:
    """Whether Qt will use X11; SinkError where it will find no plugin, or one that cannot be loaded."""
    name = re.split("[:;]", platform)[0]
    if folder is None:
        return name == "xcb"
    plugin = Path(folder) / "platforms" / f"libq{name}.so"
    if not plugin.is_file():
        raise SinkError(f"OpenCV cannot open windows by QT_QPA_PLATFORM={platform}: unset it, or {INSTEAD}")
    try:
        ctypes.CDLL(str(plugin))
    except OSError as exc:
        raise SinkError(f"OpenCV cannot open windows: {exc}: install that library, or {INSTEAD}") from exc
    return name == "xcb"


def ask_server(display: str, authority: str) -> tuple[socket.socket, tuple[int, int]]:
    """A connection to an X server and its first screen's (height, width). Errors: SinkError where it refuses."""
    match = re.fullmatch(r"(?:(?:[a-z]+/)?([^:]*|\[[^\]]*\]):)(\d+)(?:\.\d+)?", display)
    if match is None:
        raise SinkError(f"no screen to open a window on: DISPLAY={display} is not of the form host:0: {INSTEAD}")
    host, number = match[1], int(match[2])
    answer = "no answer"
    for cookie in [*_cookies(authority, match[2].encode()), b""]:
        try:
            server = _connect(host, number)
        except OSError as exc:
            answer = str(exc)
            continue
        with ExitStack() as stack:
            stack.enter_context(server)
            try:
                accepted, body = _introduce(server, cookie)
            except (OSError, EOFError, struct.error) as exc:
                answer = str(exc) or type(exc).__name__
                continue
            if accepted:
                stack.pop_all()
                return server, _first_screen(body)
            answer = " ".join(body.split(b"\0")[0].decode("latin-1").split()) or "it refused"
    raise SinkError(f"no screen to open a window on: X server {display}: {answer}: {INSTEAD}")


def _connect(host: str, number: int) -> socket.socket:
    if host not in ("", "unix"):
        return socket.create_connection((host.strip("[]"), 6000 + number), TIMEOUT)
    path = f"/tmp/.X11-unix/X{number}"
    unix = getattr(socket, "AF_UNIX")  # noqa: B009 - mypy knows it for Unix alone
    for address in (path, "\0" + path):
        server = socket.socket(unix)
        server.settimeout(TIMEOUT)
        try:
            server.connect(address)
            return server
        except OSError as exc:
            server.close()
            failure = exc
    raise failure


def _introduce(server: socket.socket, cookie: bytes) -> tuple[bool, bytes]:
    """Set the connection up: whether the server accepts it, and the rest of its answer."""
    name = COOKIE if cookie else b""
    request = struct.pack("<cxHHHHxx", b"l", 11, 0, len(name), len(cookie)) + _padded(name)
    server.sendall(request + _padded(cookie))
    status, _, _, words = struct.unpack("<BxHHH", _receive(server, 8))
    return status == 1, _receive(server, 4 * words)


def _first_screen(body: bytes) -> tuple[int, int]:
    vendor, formats = struct.unpack_from("<H", body, 16)[0], body[21]
    start = 32 + len(_padded(b"x" * vendor)) + 8 * formats
    width, height = struct.unpack_from("<HH", body, start + 20)
    return height, width


def _receive(server: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        part = server.recv(count - len(data))
        if not part:
            raise EOFError("it closed the connection")
        data += part
    return data


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 4)


def _cookies(authority: str, number: bytes) -> list[bytes]:
    """The cookies for a display number in an Xauthority file; none where there is no such file."""
    try:
        data = Path(authority).read_bytes()
    except OSError:
        return []
    cookies, at = [], 0
    try:
        while at < len(data):
            at += 2
            fields = []
            for _ in range(4):
                (length,) = struct.unpack_from(">H", data, at)
                fields.append(data[at + 2 : at + 2 + length])
                at += 2 + length
            if fields[1] in (b"", number) and fields[2] == COOKIE:
                cookies.append(fields[3])
    except struct.error:  # a file cut short: use what was whole
        return cookies
    return cookies
