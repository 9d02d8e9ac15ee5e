"""Asking an X server whether it lets us in, before Qt does and aborts."""

from __future__ import annotations

import os
import shutil
import socket
import struct
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from rtseg.errors import SinkError
from rtseg.sinks import _display
from rtseg.sinks._display import screen

COOKIE = bytes(range(16))


def ask(display: str, file: str) -> tuple[int, int]:
    connection, size = _display.ask_server(display, file)
    connection.close()
    return size


def authority(path: Path, *entries: tuple[bytes, bytes]) -> str:
    """An Xauthority file with (display number, cookie) entries."""
    data = b""
    for number, cookie in entries:
        data += struct.pack(">H", 256)
        for field in (b"host", number, b"MIT-MAGIC-COOKIE-1", cookie):
            data += struct.pack(">H", len(field)) + field
    path.write_bytes(data)
    return str(path)


@contextmanager
def server(answer: bytes) -> Iterator[tuple[str, list[bytes]]]:
    """Something on a TCP port that reads a request, answers, and hangs up: (DISPLAY, requests)."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(0.5)
        requests: list[bytes] = []

        def serve() -> None:
            try:
                while True:
                    with listener.accept()[0] as client:
                        requests.append(client.recv(4096))
                        client.sendall(answer)
            except OSError:
                return

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"127.0.0.1:{listener.getsockname()[1] - 6000}", requests
    thread.join(6)


def accepted(width: int, height: int) -> bytes:
    body = bytearray(32 + 8 + 16 + 40)
    struct.pack_into("<H", body, 16, 5)  # a vendor of five letters, padded to eight
    body[21] = 2  # two pixmap formats of eight bytes
    struct.pack_into("<HH", body, 32 + 8 + 16 + 20, width, height)
    return struct.pack("<BxHHH", 1, 11, 0, len(body) // 4) + bytes(body)


def test_the_screens_size_is_read_and_the_cookie_of_this_display_presented(tmp_path: Path) -> None:
    with server(accepted(2560, 1440)) as (display, requests):
        number = display.split(":")[1].encode()
        file = authority(tmp_path / "auth", (b"9", b"x" * 16), (number, COOKIE))
        assert ask(display, file) == (1440, 2560)
    assert requests[0].endswith(b"MIT-MAGIC-COOKIE-1\0\0" + COOKIE)


def test_a_refusal_is_told(tmp_path: Path) -> None:
    reason = b"Authorization required\n\0"
    with (
        server(struct.pack("<BBHHH", 0, 22, 11, 0, len(reason) // 4) + reason) as (display, _),
        pytest.raises(SinkError, match=r"X server .*: Authorization required: use --headless") as caught,
    ):
        ask(display, str(tmp_path / "none"))
    assert "\n" not in str(caught.value)


def test_a_server_that_hangs_up_and_one_that_says_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with server(b"") as (display, _), pytest.raises(SinkError, match=r"closed the connection|reset"):
        ask(display, str(tmp_path / "none"))
    monkeypatch.setattr(_display, "TIMEOUT", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as listener, pytest.raises(SinkError, match="timed out"):
        ask(f"127.0.0.1:{listener.getsockname()[1] - 6000}", str(tmp_path / "none"))


@pytest.mark.parametrize("text", ["nonsense", "host:", ":x", ":0.0.0"])
def test_a_malformed_display(text: str) -> None:
    with pytest.raises(SinkError, match="is not of the form host:0"):
        ask(text, "none")


def test_wayland_alone_is_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_display, "_check_plugin", lambda *_: True)
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.setenv("WAYLAND_DISPLAY", "wayland-0")
    with pytest.raises(SinkError, match=r"OpenCV's windows need X11 \(XWayland\)"):
        screen().__enter__()


def test_elsewhere_than_linux_nothing_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.platform", "darwin")
    with screen() as size:
        assert size is None


def test_a_qt_platform_that_opencv_does_not_carry_and_one_that_does_not_load(tmp_path: Path) -> None:
    (tmp_path / "platforms").mkdir()
    with pytest.raises(SinkError, match="cannot open windows by QT_QPA_PLATFORM=offscreen: unset it"):
        _display._check_plugin(str(tmp_path), "offscreen")
    (tmp_path / "platforms" / "libqxcb.so").write_bytes(b"not a library")
    with pytest.raises(SinkError, match=r"OpenCV cannot open windows: .*libqxcb.so.*: install that library"):
        _display._check_plugin(str(tmp_path), "xcb")


def test_a_truncated_authority_file_gives_its_whole_cookies(tmp_path: Path) -> None:
    file = Path(authority(tmp_path / "auth", (b"0", COOKIE), (b"0", b"y" * 16)))
    file.write_bytes(file.read_bytes()[:-30])
    assert _display._cookies(str(file), b"0") == [COOKIE]


@pytest.mark.skipif(shutil.which("Xvfb") is None, reason="needs Xvfb: apt install xvfb")
def test_a_real_server_with_a_cookie(tmp_path: Path) -> None:
    reader, writer = os.pipe()
    secret = authority(tmp_path / "server", (b"", COOKIE))
    command = ["Xvfb", "-displayfd", str(writer), "-auth", secret, "-screen", "0", "800x600x24", "-nolisten", "tcp"]
    with subprocess.Popen(command, pass_fds=[writer], stderr=subprocess.DEVNULL) as process:
        os.close(writer)
        try:
            with os.fdopen(reader) as answer:
                number = answer.readline().strip()
            assert ask(f":{number}.0", authority(tmp_path / "a", (number.encode(), COOKIE))) == (600, 800)
            with pytest.raises(SinkError, match=r"X server :.*: .*: use --headless"):
                ask(f":{number}", authority(tmp_path / "b", (number.encode(), b"z" * 16)))
        finally:
            process.terminate()
