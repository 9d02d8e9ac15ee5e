"""CameraSource: real errors of a machine without a camera, and the reading path over OpenCV's own file reader."""

from __future__ import annotations

import os
import re
import threading
import time
from pathlib import Path
from typing import Any

import cv2
import pytest

from rtseg.errors import ConfigError, SourceError
from rtseg.frame import Frame
from rtseg.sources import camera, open_source
from rtseg.sources.camera import CameraSource
from tests.media import number_of, write_clip

MISSING = 9173


def test_camera_that_is_not_there(capfd: pytest.CaptureFixture[str]) -> None:
    words = rf"camera /dev/video{MISSING} is not there \(cameras on this machine: "
    for uri in (f"camera:{MISSING}", f"/dev/video{MISSING}"):
        with pytest.raises(SourceError, match=words), open_source(uri):
            pass
    assert capfd.readouterr().err == ""


def test_devices_that_are_no_cameras(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SourceError, match="camera /dev/null cannot be opened"), CameraSource("/dev/null"):
        pass
    with pytest.raises(SourceError, match="camera /dev/shm is not a camera device"), CameraSource("/dev/shm"):
        pass
    assert capfd.readouterr().err == ""


def test_permission_denied(monkeypatch: pytest.MonkeyPatch) -> None:
    # The tests may run as root, who may read everything.
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    group = Path("/dev/null").group()
    with pytest.raises(SourceError, match=f"permission denied; add the user to the group {group}"):
        camera.check_device("/dev/null", "camera /dev/null")


@pytest.mark.parametrize(
    ("target", "options", "words"),
    [
        ("front", {}, "neither a number nor a device file"),
        ("-1", {}, "neither a number nor a device file"),
        ("0", {"size": "big"}, "not HEIGHTxWIDTH"),
        ("0", {"size": (0, 640)}, "height of camera size is 0"),
        ("0", {"rate": 0}, "rate is 0"),
        ("0", {"pixel_format": "MJPEG"}, "not a FourCC"),
        ("0", {"read_timeout": 0}, "read_timeout is 0"),
        ("0", {"reconnect": "never"}, "reconnect is 'never'"),
        ("0", {"loop": 2}, "option 'loop' does not apply to camera input"),
    ],
)
def test_options_out_of_range(target: str, options: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        open_source(f"camera:{target}", options)
    assert words in str(caught.value)


@pytest.fixture
def plugged_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A clip of 12 frames takes the device's place: OpenCV really opens and decodes it. Returns what was opened."""
    clip = write_clip(tmp_path / "clip.avi", 12, codec="mjpeg", pix_fmt="yuvj420p")
    opened: list[str] = []

    def open_file(device: str) -> Any:
        opened.append(device)
        return cv2.VideoCapture(str(clip), cv2.CAP_FFMPEG)

    monkeypatch.setattr(camera, "open_device", open_file)
    monkeypatch.setattr(camera, "check_device", lambda device, shown: None)
    return opened


def test_frames_and_what_was_really_given(plugged_in: list[str], caplog: pytest.LogCaptureFixture) -> None:
    source = CameraSource("0", size="720x1280", rate=30, pixel_format="YUYV")
    frames: list[Frame] = []
    with source, pytest.raises(SourceError, match="camera /dev/video0 stopped giving frames"):
        for frame in source:
            frames.append(frame)
    assert plugged_in == ["/dev/video0"]
    assert [number_of(frame.image) for frame in frames] == list(range(12))
    assert [frame.index for frame in frames] == list(range(12))
    assert all(abs((frame.stamp or 0) - time.time()) < 30 for frame in frames)
    pts = [frame.pts or 0.0 for frame in frames]
    assert pts == sorted(pts)
    info = source.info
    assert (info.source, info.live, info.size, info.fps) == ("camera /dev/video0", True, (64, 96), 30)
    assert info.details["pixel_format"] == "MJPG"
    assert info.details["requested_size"] == (720, 1280)
    assert info.details["requested_pixel_format"] == "YUYV"
    assert "requested_rate" not in info.details
    assert re.search(r"gives size \(64, 96\), not \(720, 1280\) as requested", caplog.text)


def test_reconnects_are_counted_and_limited(plugged_in: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(camera, "BACKOFF_LIMIT", 0.01)
    source = CameraSource("/dev/video3", reconnect=2)
    frames: list[Frame] = []
    with source:
        for frame in source:
            frames.append(frame)
            if len(frames) == 30:
                source.close()
    assert plugged_in == ["/dev/video3"] * 3
    assert source.reconnects == 2
    assert [frame.index for frame in frames] == list(range(30))
    assert [number_of(frame.image) for frame in frames] == [*range(12), *range(12), *range(6)]


def test_a_camera_that_does_not_come_back(plugged_in: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(camera, "BACKOFF_LIMIT", 0.01)
    source = CameraSource("0", reconnect=2)
    with source, pytest.raises(SourceError, match="is not there"):
        for frame in source:
            if frame.index == 5:
                monkeypatch.setattr(camera, "check_device", _gone)
    assert source.reconnects == 0


def _gone(device: str, shown: str) -> None:
    raise SourceError(f"{shown} is not there")


class NeverReady:
    """Stands for a camera whose frames do not come; only the wait is replaced."""

    def __init__(self, frames: int) -> None:
        self.left = frames

    def __call__(self, capture: Any, seconds: float) -> bool:
        self.left -= 1
        if self.left < 0:
            time.sleep(min(seconds, 0.02))
        return self.left >= 0


def test_no_frame_within_the_read_timeout(plugged_in: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(camera, "ready", NeverReady(3))
    begin = time.monotonic()
    seen = 0
    with CameraSource("0", read_timeout=0.2) as source, pytest.raises(SourceError, match=r"no frame for 0\.2 s"):
        for _ in source:
            seen += 1
    assert seen == 3
    assert 0.15 < time.monotonic() - begin < 3


def test_close_interrupts_the_wait(plugged_in: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(camera, "ready", NeverReady(3))
    with CameraSource("0", read_timeout=60) as source:
        threading.Timer(0.1, source.close).start()
        begin = time.monotonic()
        assert len(list(source)) == 3
        assert time.monotonic() - begin < 2


@pytest.mark.camera
@pytest.mark.skipif(not Path("/dev/video0").exists(), reason="needs a camera at /dev/video0")
def test_a_real_camera() -> None:
    with open_source("camera:0") as source:
        frames = [frame for frame, _ in zip(source, range(10), strict=False)]
    assert len({frame.t_capture for frame in frames}) == 10
