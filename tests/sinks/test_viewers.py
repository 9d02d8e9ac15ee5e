"""What the viewers' outputs share, and that the commands of their page are understood."""

from __future__ import annotations

import re
import shlex
import time
from pathlib import Path

import numpy as np
import pytest

from rtseg.cli.main import main, make_parser
from rtseg.errors import ConfigError, SinkError
from rtseg.frame import Frame, Header
from rtseg.sinks import sink_kind
from rtseg.sinks._viewers import bracketed, host_and_port, jpeg, name_of, time_of
from tests.sinks.results import free_port

PAGE = (Path(__file__).resolve().parents[2] / "docs/viewers.md").read_text(encoding="utf-8")
COMMANDS = [shlex.split(line, comments=True) for line in PAGE.splitlines() if line.startswith("rtseg ")]
IMAGE = np.zeros((2, 3, 3), np.uint8)


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("", ("127.0.0.1", 8765)),
        ("0.0.0.0:9000", ("0.0.0.0", 9000)),
        ("9000", ("127.0.0.1", 9000)),
        ("192.0.2.7", ("192.0.2.7", 8765)),
        ("my-robot.local", ("my-robot.local", 8765)),
        ("[::1]:9000", ("::1", 9000)),
        ("[::]", ("::", 8765)),
    ],
)
def test_addresses(text: str, address: tuple[str, int]) -> None:
    assert host_and_port(text, 8765, "output") == address


@pytest.mark.parametrize("text", ["::1", "a:b", "http://a:1", "a:", ":1", "a b", "[x]:1"])
def test_what_is_no_address(text: str) -> None:
    with pytest.raises(ConfigError, match=r"^output 'x:': write the address as HOST:PORT, HOST or PORT$"):
        host_and_port(text, 8765, "output 'x:'")


def test_ports() -> None:
    with pytest.raises(ConfigError, match="output: port 65536 is not between 1 and 65535"):
        host_and_port("a:65536", 8765, "output")


def test_brackets() -> None:
    assert [bracketed(host) for host in ("::1", "127.0.0.1")] == ["[::1]", "127.0.0.1"]


def test_the_time_of_a_frame() -> None:
    header = Header("/front", 5, "optical", 7)
    assert time_of(Frame(0, 0, None, 9.0, IMAGE, header)) == 7
    assert time_of(Frame(0, 0, None, 9.25, IMAGE)) == 9_250_000_000
    second_ago = Frame(0, time.monotonic_ns() - 1_000_000_000, None, None, IMAGE)
    assert 1e9 <= time.time_ns() - time_of(second_ago) < 2e9


@pytest.mark.parametrize(("topic", "name"), [("/front/image", "/front/image"), ("rear", "/rear"), ("/a/", "/a")])
def test_the_name_of_a_frames_camera(topic: str, name: str) -> None:
    assert name_of(Frame(0, 0, None, None, IMAGE, Header(topic, 5, "optical", 7))) == name
    assert name_of(Frame(0, 0, None, None, IMAGE)) == "/camera"


def test_a_picture_larger_than_jpeg_has() -> None:
    with pytest.raises(SinkError, match="cannot send a picture of 70000x1 as jpg: it is too large"):
        jpeg(np.zeros((1, 70_000, 3), np.uint8), 80)


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_the_pages_commands(words: list[str]) -> None:
    args = make_parser().parse_args(words[1:])
    assert [sink_kind(output)[0] for output in args.output] == [re.split(":", words[-1])[0]]
    assert len(COMMANDS) == 6


def test_a_run_with_both(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """What was only shown is not called written, and a recording is; the second run finds the port free."""
    words = ["run", "synthetic:shapes", f"foxglove:{free_port()}", f"rerun:{tmp_path}/out.rrd", "--input-size", "64x96"]
    for _ in range(2):
        assert main([*words, "--short-side", "64", "--limit", "3"]) == 0
        said = capfd.readouterr().err.splitlines()
        assert [line for line in said if line.startswith("wrote ")] == [f"wrote {tmp_path}/out.rrd"]
        assert not [line for line in said if "ERROR" in line or "WARN" in line]
    assert (tmp_path / "out.rrd").stat().st_size > 10_000
