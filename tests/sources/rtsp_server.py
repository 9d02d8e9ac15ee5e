"""The smallest RTSP server that FFmpeg will play from: H.264 in RTP, interleaved on the TCP connection."""

from __future__ import annotations

import base64
import re
import socket
import struct
import threading
import time
from types import TracebackType
from typing import TYPE_CHECKING

import av

from tests.media import numbered

if TYPE_CHECKING:
    from typing_extensions import Self

RATE = 50


def encoded(frames: int, size: tuple[int, int]) -> list[list[bytes]]:
    """The NAL units of each numbered frame, every tenth a key frame with its parameter sets."""
    encoder = av.CodecContext.create("libx264", "w")
    encoder.height, encoder.width, encoder.pix_fmt, encoder.framerate = *size, "yuv420p", RATE
    encoder.options = {"tune": "zerolatency", "preset": "ultrafast", "g": "10"}
    units = []
    for index in range(frames):
        frame = av.VideoFrame.from_ndarray(numbered(index, size), "bgr24").reformat(format="yuv420p")
        frame.pts = index
        data = b"".join(bytes(packet) for packet in encoder.encode(frame))
        units.append([unit for unit in re.split(rb"\x00?\x00\x00\x01", data) if unit])
    return units


class RtspServer:
    """Serves numbered frames at `RATE` on rtsp://127.0.0.1:{port}/cam, one client at a time.

    Each connection gets `frames` frames, then `end` happens: "close" hangs up, "stall" keeps silent. Only `connections`
    clients are served, later ones are refused. With `password` set, others get 401. `asked` collects the requests.
    """

    def __init__(
        self,
        frames: int,
        end: str = "close",
        connections: int = 1,
        size: tuple[int, int] = (64, 96),
        password: str = "",
    ) -> None:
        self._units, self._end, self._connections, self._size = encoded(frames, size), end, connections, size
        self._password = password
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.port: int = self._listener.getsockname()[1]
        self.asked: list[str] = []

    @property
    def url(self) -> str:
        return f"rtsp://127.0.0.1:{self.port}/cam"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._listener.close()
        self._thread.join(5)
        assert not self._thread.is_alive()

    def _run(self) -> None:
        self._listener.settimeout(0.1)
        served = 0
        while served < self._connections and not self._stop.is_set():
            try:
                client, _ = self._listener.accept()
            except TimeoutError:
                continue
            except OSError:
                return
            with client:
                client.settimeout(5)
                try:
                    served += self._talk(client)
                except OSError:
                    served += 1  # the client hung up
        self._listener.close()

    def _talk(self, client: socket.socket) -> int:
        """Answer requests until PLAY, then send; whether frames were sent."""
        text = ""
        while not self._stop.is_set():
            while "\r\n\r\n" not in text:
                data = client.recv(4096)
                if not data:
                    return 0
                text += data.decode()
            request, text = text.split("\r\n\r\n", 1)
            self.asked.append(request)
            method, number = request.split()[0], re.search(r"CSeq: (\d+)", request)
            assert number
            head = f"CSeq: {number[1]}\r\nSession: 1\r\n"
            if self._password and "Authorization" not in request and method != "OPTIONS":
                client.sendall(f'RTSP/1.0 401 Unauthorized\r\n{head}WWW-Authenticate: Basic realm="x"\r\n\r\n'.encode())
                continue
            if self._password and method != "OPTIONS":
                given = base64.b64decode(request.split("Authorization: Basic ")[1].split()[0]).decode()
                if given != f"user:{self._password}":
                    client.sendall(f"RTSP/1.0 401 Unauthorized\r\n{head}\r\n".encode())
                    continue
            body = ""
            if method == "DESCRIBE":
                body = self._description()
                head += f"Content-Type: application/sdp\r\nContent-Length: {len(body)}\r\n"
            elif method == "SETUP":
                head += "Transport: RTP/AVP/TCP;unicast;interleaved=0-1\r\n"
            elif method == "OPTIONS":
                head += "Public: DESCRIBE, SETUP, PLAY, TEARDOWN\r\n"
            client.sendall(f"RTSP/1.0 200 OK\r\n{head}\r\n{body}".encode())
            if method == "PLAY":
                self._send(client)
                return 1
        return 0

    def _description(self) -> str:
        sets = ",".join(base64.b64encode(unit).decode() for unit in self._units[0] if unit[0] & 31 in (7, 8))
        return (
            "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=test\r\nc=IN IP4 0.0.0.0\r\nt=0 0\r\nm=video 0 RTP/AVP 96\r\n"
            "a=rtpmap:96 H264/90000\r\na=control:track\r\n"
            f"a=fmtp:96 packetization-mode=1;sprop-parameter-sets={sets}\r\n"
        )

    def _send(self, client: socket.socket) -> None:
        sequence = 0
        for index, units in enumerate(self._units):
            for unit in units:
                marker = 0x80 if unit is units[-1] else 0
                header = struct.pack(
                    ">BBHII", 0x80, 96 | marker, sequence & 0xFFFF, 1_000_000 + index * 90_000 // RATE, 7
                )
                client.sendall(struct.pack(">cBH", b"$", 0, len(unit) + 12) + header + unit)
                sequence += 1
            if self._stop.wait(1 / RATE):
                return
        limit = time.monotonic() + 10
        while self._end == "stall" and time.monotonic() < limit and not self._stop.wait(0.05):
            pass
