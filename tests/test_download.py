"""Downloads from a loopback server that breaks off, resumes, ignores ranges or sends something else."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from rtseg.download import cache_folder, cached, parsed
from rtseg.errors import ConfigError, ModelError

BODY = bytes(range(256)) * 400
SHA256 = hashlib.sha256(BODY).hexdigest()


class Server(ThreadingHTTPServer):
    """Serves BODY at every path but /missing; each answer ends after `limit` bytes."""

    daemon_threads = True
    limit = len(BODY)
    ranges = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.asked: list[str | None] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        asked = self.headers.get("Range")
        self.server.asked.append(asked)
        start = int(asked.removeprefix("bytes=").rstrip("-")) if asked and self.server.ranges else 0
        if self.path == "/missing-12345678.pth":
            self.send_error(404)
            return
        if start >= len(BODY):
            self.send_error(416)
            return
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(BODY) - 1}/{len(BODY)}")
        self.send_header("Content-Length", str(len(BODY) - start))
        self.end_headers()
        self.wfile.write(BODY[start : start + self.server.limit])

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as made:
        thread = threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield made
        made.shutdown()
        thread.join(5)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.name != ".lock")


def test_a_file_is_downloaded_once(server: Server, tmp_path: Path) -> None:
    source = f"{server.url}/a/net.pth#sha256={SHA256.upper()}"
    path = cached(source, tmp_path / "new" / "folder")
    assert path.name == f"net-{SHA256[:8]}.pth"
    assert path.read_bytes() == BODY
    assert cached(source, tmp_path / "new" / "folder") == path
    assert server.asked == [None]
    assert names(path.parent) == [path.name]


def test_the_short_checksum_in_a_name(server: Server, tmp_path: Path) -> None:
    name = f"net-{SHA256[:8]}.pth"
    path = cached(f"{server.url}/{name}", tmp_path)
    assert path == tmp_path / name
    path.write_bytes(b"damaged")
    assert cached(f"{server.url}/{name}", tmp_path).read_bytes() == BODY
    assert len(server.asked) == 2


def test_another_file_is_refused_and_not_kept(server: Server, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=f"has SHA-256 {SHA256[:16]}…, not 0000000000000000…") as error:
        cached(f"{server.url}/net.pth#sha256={'0' * 64}", tmp_path)
    assert "\n" not in str(error.value)
    assert names(tmp_path) == []


def test_a_broken_download_goes_on_where_it_broke(server: Server, tmp_path: Path) -> None:
    server.limit = 40_000
    source = f"{server.url}/net.pth#sha256={SHA256}"
    assert cached(source, tmp_path).read_bytes() == BODY
    assert server.asked == [None, "bytes=40000-", "bytes=80000-"]


def test_a_download_that_keeps_breaking_goes_on_in_the_next_run(server: Server, tmp_path: Path) -> None:
    server.limit = 30_000
    source = f"{server.url}/net.pth#sha256={SHA256}"
    with pytest.raises(ModelError, match=r"broke off 3 times \(at 90000 of 102400 bytes\)"):
        cached(source, tmp_path)
    assert names(tmp_path) == [f"net-{SHA256[:8]}.pth.part"]
    assert cached(source, tmp_path).read_bytes() == BODY
    assert server.asked[-1] == "bytes=90000-"
    assert names(tmp_path) == [f"net-{SHA256[:8]}.pth"]


@pytest.mark.parametrize("ranges", [True, False])
@pytest.mark.parametrize("length", [500, len(BODY), len(BODY) + 7])
def test_the_rest_of_another_file_is_replaced(server: Server, tmp_path: Path, ranges: bool, length: int) -> None:
    server.ranges = ranges
    (tmp_path / f"net-{SHA256[:8]}.pth.part").write_bytes(b"x" * length)
    assert cached(f"{server.url}/net.pth#sha256={SHA256}", tmp_path).read_bytes() == BODY


def test_two_at_once_download_once(server: Server, tmp_path: Path) -> None:
    source = f"{server.url}/net.pth#sha256={SHA256}"
    found: list[bytes] = []
    threads = [threading.Thread(target=lambda: found.append(cached(source, tmp_path).read_bytes())) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert found == [BODY] * 4
    assert len(server.asked) == 1


def test_errors_are_one_line(server: Server, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"/missing-12345678.pth: HTTP 404 Not Found: check the address$"):
        cached(f"{server.url}/missing-12345678.pth", tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(ModelError, match=r"cannot keep http.*in .*file: "):
        cached(f"{server.url}/net-12345678.pth", tmp_path / "file")


def test_no_network(tmp_path: Path) -> None:
    with Server() as closed:
        url = closed.url
    with pytest.raises(ModelError, match=r"cannot be reached: .*refused: check the network, or give a file$"):
        cached(f"{url}/net-12345678.pth", tmp_path)


@pytest.mark.parametrize("end", ["net.pth", "net-1234567.pth", "net.pth#sha256=1234", "#sha256=" + "0" * 64])
def test_an_address_without_checksum_is_refused(end: str) -> None:
    with pytest.raises(ConfigError, match="has no checksum: add #sha256="):
        parsed(f"https://example.org/{end}")


def test_the_name_that_is_kept() -> None:
    full = "f37072fd" + "0" * 56
    assert parsed(f"https://example.org/resnet18-f37072fd.pth#sha256={full}").name == "resnet18-f37072fd.pth"
    assert parsed("https://example.org/a%20b/resnet18-f37072fd.pth?x=1").name == "resnet18-f37072fd.pth"


def test_the_cache_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "rtseg" / "weights"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert cache_folder() == tmp_path / "home" / ".cache" / "rtseg" / "weights"
