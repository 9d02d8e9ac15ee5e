"""StreamSource against real servers on the loopback: RTSP, HTTP, HLS, UDP, and servers that do not behave."""

from __future__ import annotations

import logging
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from rtseg.errors import ConfigError, SourceError
from rtseg.frame import Frame
from rtseg.sources import open_source, source_kind
from rtseg.sources._reconnect import Backoff, redact
from rtseg.sources.stream import StreamSource
from tests.media import number_of, numbered, write_clip
from tests.sources.rtsp_server import RATE, RtspServer

pytestmark = pytest.mark.servers


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *args: Any) -> None:
        pass


@contextmanager
def http_server(folder: Path) -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder)))
    thread = threading.Thread(target=partial(server.serve_forever, 0.05))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)


@contextmanager
def silent_server() -> Iterator[int]:
    """Accepts connections and never says a word."""
    listener = socket.create_server(("127.0.0.1", 0))
    listener.settimeout(0.05)
    stop, clients = threading.Event(), []

    def accept() -> None:
        while not stop.is_set():
            try:
                clients.append(listener.accept()[0])
            except TimeoutError:
                continue

    thread = threading.Thread(target=accept)
    thread.start()
    try:
        yield listener.getsockname()[1]
    finally:
        stop.set()
        thread.join(5)
        for client in clients:
            client.close()
        listener.close()


def free_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def numbers(frames: list[Frame]) -> list[int]:
    return [number_of(frame.image) for frame in frames]


def test_rtsp_over_tcp() -> None:
    begin = time.monotonic_ns()
    with RtspServer(40) as server:
        source = StreamSource(server.url, reconnect=0)
        with source:
            frames = list(source)
        setup = next(request for request in server.asked if request.startswith("SETUP"))
    assert numbers(frames) == list(range(40))
    assert [frame.index for frame in frames] == list(range(40))
    # RTP gives the second frame its time relative to the first.
    assert [frame.pts for frame in frames] == pytest.approx([i / RATE for i in range(40)], abs=1e-6)
    assert "RTP/AVP/TCP" in setup
    info = source.info
    assert (info.live, info.size, info.frames) == (True, (64, 96), None)
    assert info.fps == pytest.approx(RATE, rel=0.1)
    assert info.details["transport"] == "tcp"
    assert info.details["codec"] == "h264"
    captured = [frame.t_capture for frame in frames]
    assert captured == sorted(captured)
    assert begin < captured[0] < captured[-1] < time.monotonic_ns()
    assert all(abs((frame.stamp or 0) - time.time()) < 30 for frame in frames)


def test_rtsp_that_hangs_up_is_opened_again() -> None:
    with RtspServer(12, connections=2) as server:
        source = StreamSource(server.url, reconnect=2, backoff_limit=0.05)
        frames: list[Frame] = []
        with source, pytest.raises(SourceError) as caught:
            for frame in source:
                frames.append(frame)
    assert numbers(frames) == [*range(12), *range(12)]
    assert [frame.index for frame in frames] == list(range(24))
    assert source.reconnects == 1
    times = np.diff([frame.pts or 0.0 for frame in frames])
    assert times.min() > 0
    assert times[11] > 0.04, "the time without a connection passes in pts too"
    assert str(caught.value).endswith("connection refused (gave up after 2 attempts to reconnect)")


def test_rtsp_that_stalls_is_a_failure_after_the_read_timeout() -> None:
    with RtspServer(40, end="stall") as server:
        source = StreamSource(server.url, reconnect=0, read_timeout=0.5)
        frames: list[Frame] = []
        with source, pytest.raises(SourceError, match=r"no data for 0\.5 s"):
            for frame in source:
                frames.append(frame)
                last = time.monotonic()
        assert 0.3 < time.monotonic() - last < 3
    assert numbers(frames) == list(range(40))


def test_credentials_are_used_and_never_shown(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    with RtspServer(10, password="geheim") as server:
        url = server.url.replace("//", "//user:geheim@")
        with StreamSource(url, reconnect=0) as source:
            assert len(list(source)) == 10
            assert source.info.source == f"rtsp://***@127.0.0.1:{server.port}/cam"
    with RtspServer(10, password="other") as server:
        url = server.url.replace("//", "//user:geheim@")
        with pytest.raises(SourceError) as caught, StreamSource(url, reconnect=0):
            pass
    shown = "".join(map(repr, (caught.value, caught.value.__cause__, source.info))) + str(caught.value) + caplog.text
    assert "geheim" not in shown
    assert "unauthorized" in str(caught.value)


@pytest.mark.parametrize("scheme", ["rtsp", "http"])
def test_server_that_never_answers(scheme: str) -> None:
    with silent_server() as port:
        begin = time.monotonic()
        with (
            pytest.raises(SourceError, match=rf"{scheme}://127\.0\.0\.1:{port}/x: no data for 0\.4 s"),
            StreamSource(f"{scheme}://127.0.0.1:{port}/x", open_timeout=0.4),
        ):
            pass
        assert 0.2 < time.monotonic() - begin < 3


def test_server_that_is_not_there() -> None:
    begin = time.monotonic()
    with (
        pytest.raises(SourceError, match=r"rtsp://127\.0\.0\.1:\d+/x: connection refused$"),
        StreamSource(f"rtsp://127.0.0.1:{free_port()}/x"),
    ):
        pass
    assert time.monotonic() - begin < 3, "a stream that was never there is not waited for"


def test_forever_waits_for_a_stream_that_is_not_there_yet() -> None:
    port = free_port()
    source = StreamSource(f"rtsp://127.0.0.1:{port}/x", reconnect="forever", backoff_limit=0.05)
    threading.Timer(0.5, source.close).start()
    begin = time.monotonic()
    with pytest.raises(SourceError, match="ended before its first picture"), source:
        pass
    assert 0.3 < time.monotonic() - begin < 3
    assert source.reconnects == 0


def test_http_recording_ends_at_its_end(tmp_path: Path) -> None:
    write_clip(tmp_path / "clip.mp4", 20, container_options={"movflags": "faststart"})
    with http_server(tmp_path) as base, open_source(f"{base}/clip.mp4") as source:
        frames = list(source)
    assert numbers(frames) == list(range(20))
    assert not source.info.live
    assert source.info.frames == 20
    assert source.reconnects == 0
    assert [frame.pts for frame in frames] == pytest.approx([i / 30 for i in range(20)], abs=1e-3)


def test_http_errors(tmp_path: Path) -> None:
    (tmp_path / "text.mp4").write_text("not a video\n" * 50)
    with http_server(tmp_path) as base:
        with pytest.raises(SourceError, match=r"/missing\.mp4\?token=\*\*\*: .*404"):
            StreamSource(f"{base}/missing.mp4?token=abc").__enter__()
        with pytest.raises(SourceError, match="not a readable video"):
            StreamSource(f"{base}/text.mp4").__enter__()


def test_hls(tmp_path: Path) -> None:
    segments = [write_clip(tmp_path / f"{n}.ts", [numbered(10 * n + i) for i in range(10)]) for n in range(3)]
    lines = "".join(f"#EXTINF:0.333,\n{path.name}\n#EXT-X-DISCONTINUITY\n" for path in segments)
    head = "#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-TARGETDURATION:1\n#EXT-X-MEDIA-SEQUENCE:0\n"
    (tmp_path / "list.m3u8").write_text(f"{head}{lines}#EXT-X-ENDLIST\n")
    with http_server(tmp_path) as base, StreamSource(f"{base}/list.m3u8") as source:
        frames = list(source)
    assert numbers(frames) == list(range(30))
    assert not source.info.live
    assert np.diff([frame.pts or 0.0 for frame in frames]).min() > 0


def test_live_hls_starts_at_its_newest_segment_and_fails_when_it_stops(tmp_path: Path) -> None:
    segments = [write_clip(tmp_path / f"{n}.ts", [numbered(30 * n + i) for i in range(30)]) for n in range(3)]
    lines = "".join(f"#EXTINF:1.0,\n{path.name}\n#EXT-X-DISCONTINUITY\n" for path in segments)
    head = "#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-TARGETDURATION:1\n#EXT-X-MEDIA-SEQUENCE:0\n"
    (tmp_path / "list.m3u8").write_text(head + lines)
    frames: list[Frame] = []
    with http_server(tmp_path) as base:
        source = StreamSource(f"{base}/list.m3u8", reconnect=0, read_timeout=0.5)
        with source, pytest.raises(SourceError, match=r"no data for 0\.5 s"):
            for frame in source:
                frames.append(frame)
    assert source.info.live
    assert numbers(frames)[0] == 60


def test_udp() -> None:
    port, stop = free_port(), threading.Event()

    def send() -> None:
        with av.open(f"udp://127.0.0.1:{port}?pkt_size=1316", "w", format="mpegts") as container:
            stream: Any = container.add_stream("libx264", rate=50, options={"tune": "zerolatency", "g": "5"})
            stream.height, stream.width, stream.pix_fmt = 64, 96, "yuv420p"
            index = 0
            while not stop.wait(1 / 50) and index < 1000:
                frame = av.VideoFrame.from_ndarray(numbered(index % 256), "bgr24").reformat(format="yuv420p")
                frame.pts = index
                container.mux(stream.encode(frame))
                index += 1

    sender = threading.Thread(target=send)
    sender.start()
    source = StreamSource(f"udp://127.0.0.1:{port}", reconnect=0, read_timeout=0.5)
    frames: list[Frame] = []
    try:
        with source, pytest.raises(SourceError, match=r"no data for 0\.5 s"):
            for frame in source:
                frames.append(frame)
                if len(frames) == 45:
                    stop.set()
    finally:
        stop.set()
        sender.join(10)
    assert source.info.live
    assert len(frames) >= 45
    seen = numbers(frames)
    assert seen == list(range(seen[0], seen[0] + len(frames)))


def test_udp_without_a_sender() -> None:
    with (
        pytest.raises(SourceError, match=r"udp://127\.0\.0\.1:\d+: no data for 0\.4 s"),
        StreamSource(f"udp://127.0.0.1:{free_port()}", open_timeout=0.4),
    ):
        pass


def test_close_from_another_thread_ends_the_iteration() -> None:
    with RtspServer(250) as server, StreamSource(server.url) as source:
        threading.Timer(0.2, source.close).start()
        begin = time.monotonic()
        count = sum(1 for _ in source)
        assert time.monotonic() - begin < 2
        assert 0 < count < 200


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"transport": "tpc"}, "did you mean 'tcp'?"),
        ({"open_timeout": 0}, "open_timeout is 0, expected more than 0"),
        ({"read_timeout": -1}, "read_timeout is -1"),
        ({"reconnect": -1}, "reconnect is -1"),
        ({"reconnect": "always"}, "reconnect is 'always'"),
        ({"backoff_limit": "x"}, "backoff_limit is 'x'"),
        ({"stride": 2}, "option 'stride' does not apply to stream input"),
    ],
)
def test_options_out_of_range(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        open_source("rtsp://127.0.0.1/x", options)
    assert words in str(caught.value)


def test_unknown_scheme_names_the_nearest() -> None:
    assert source_kind("rstp://host/x") == ("stream", "rstp://host/x")
    with pytest.raises(ConfigError, match=r"cannot read 'rstp://' streams: did you mean .*rtsp"):
        open_source("rstp://host/x")


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("rtsp://host/cam", "rtsp://host/cam"),
        ("rtsp://user:pw@host:554/cam", "rtsp://***@host:554/cam"),
        ("rtsp://user:p@w@host/cam", "rtsp://***@host/cam"),
        ("rtsp://user:p/w@host/cam", "rtsp://***@host/cam"),
        ("rtsp://token@host/cam", "rtsp://***@host/cam"),
        ("http://host/a?user=me&password=pw&x=1", "http://host/a?user=***&password=***&x=1"),
        ("rtsp://host/user=admin&password=pw&channel=1", "rtsp://host/user=***&password=***&channel=1"),
        ("http://[::1]:80/a@b", "http://[::1]:80/a@b"),
        ("https://host:8443/@me/live", "https://host:8443/@me/live"),
    ],
)
def test_redaction(url: str, shown: str) -> None:
    assert redact(url) == shown


def test_backoff_doubles_up_to_its_limit_and_starts_again_after_success() -> None:
    backoff = Backoff(5, 3.0)
    assert [backoff.next_wait() for _ in range(5)] == [0.5, 1.0, 2.0, 3.0, 3.0]
    assert backoff.exhausted
    backoff.succeeded()
    assert not backoff.exhausted
    assert backoff.next_wait() == 0.5
    endless = Backoff(None, 30.0)
    assert [endless.next_wait() for _ in range(2000)][-1] == 30.0
    assert not endless.exhausted
