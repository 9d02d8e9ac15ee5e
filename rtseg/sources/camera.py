"""Cameras on this machine, through V4L2."""

from __future__ import annotations

import logging
import os
import re
import stat
import threading
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal

import cv2

from rtseg import platforms
from rtseg.errors import ConfigError, SourceError
from rtseg.frame import Frame, StreamInfo
from rtseg.image_file import quiet
from rtseg.sources._ahead import Ahead
from rtseg.sources._av import Timeline
from rtseg.sources._options import at_least, retries, size_of
from rtseg.sources._reconnect import Backoff

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["CameraSource"]

log = logging.getLogger("rtseg")

SLICE_SECONDS = 0.2
"""A wait for a frame is cut into pieces of this length, so that `close` is answered soon."""
BACKOFF_LIMIT = 30.0


class CameraSource:
    """Frames of a V4L2 camera, `target` being its number or its device file.

    `size` (height, width), `rate` (frames per second) and `pixel_format` (a FourCC such as MJPG or YUYV) are requests:
    the driver takes the nearest it has, and `info.details` has the requested and the actual values. No frame for
    `read_timeout` seconds is a failure (the first frame may take OpenCV's own 10 s); after a failure the camera is
    opened again up to `reconnect` times in a row ("forever" for ever), with growing waits. `pts` are the driver's
    monotonic seconds. Errors: ConfigError for options, SourceError for a camera that is not there, may not be read, is
    in use, or stops.
    """

    def __init__(
        self,
        target: str,
        *,
        size: tuple[int, int] | str | None = None,
        rate: float | None = None,
        pixel_format: str | None = None,
        read_timeout: float = 5.0,
        reconnect: int | Literal["forever"] = 0,
    ) -> None:
        self._device = f"/dev/video{int(target)}" if re.fullmatch(r"\d{1,4}", target) else target
        if not self._device.startswith("/dev/"):
            raise ConfigError(f"camera '{target}' is neither a number nor a device file such as /dev/video0")
        self._shown = f"camera {self._device}"
        self._size = None if size is None else size_of("camera size", size)
        self._rate = None if rate is None else at_least("rate", rate, 0, above=True)
        if pixel_format is not None and not re.fullmatch(r"[A-Za-z0-9 ]{4}", pixel_format):
            raise ConfigError(f"pixel format '{pixel_format}' is not a FourCC such as MJPG or YUYV")
        self._fourcc = pixel_format
        self._patience = at_least("read_timeout", read_timeout, 0, above=True)
        self._backoff = Backoff(retries(reconnect), BACKOFF_LIMIT)
        self._stop = threading.Event()
        self._info: StreamInfo | None = None
        self._frames = Ahead(self._play())
        self.reconnects = 0

    @property
    def info(self) -> StreamInfo:
        assert self._info is not None, "info is valid once the source is entered"
        return self._info

    def __enter__(self) -> Self:
        self._frames.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._frames.close()

    def close(self) -> None:
        """End the iteration within a fraction of a second; from any thread."""
        self._stop.set()

    def __iter__(self) -> Iterator[Frame]:
        return iter(self._frames)

    def _play(self) -> Generator[Frame, None, None]:
        timeline, index = Timeline(1 / 30), 0
        last_seen: int | None = None
        while not self._stop.is_set():
            try:
                with opened(self._device, self._shown) as capture:
                    self._request(capture)
                    opening = True
                    while (image := self._read(capture)) is not None:
                        now = time.monotonic_ns()
                        if self._info is None:
                            self._info = self._describe(capture, image.shape[:2])
                        elif opening and last_seen is not None:
                            timeline.restart((now - last_seen) / 1e9)
                            self.reconnects += 1
                            log.warning("%s is back", self._shown)
                        opening, last_seen = False, now
                        self._backoff.succeeded()
                        driver_ms = capture.get(cv2.CAP_PROP_POS_MSEC)
                        pts = timeline.place(driver_ms / 1e3 if driver_ms > 0 else now / 1e9)
                        yield Frame(index, now, pts, time.time(), image)
                        index += 1
                        del image
            except SourceError as exc:
                if self._info is None or self._backoff.exhausted:
                    raise
                wait = self._backoff.next_wait()
                log.warning("%s; trying again in %.1f s", exc, wait)
                self._stop.wait(wait)

    def _request(self, capture: Any) -> None:
        # The format first: which sizes and rates a camera has depends on it.
        if self._fourcc is not None:
            capture.set(cv2.CAP_PROP_FOURCC, cv2.VideoWriter.fourcc(*self._fourcc))
        if self._size is not None:
            capture.set(cv2.CAP_PROP_FRAME_HEIGHT, self._size[0])
            capture.set(cv2.CAP_PROP_FRAME_WIDTH, self._size[1])
        if self._rate is not None:
            capture.set(cv2.CAP_PROP_FPS, self._rate)

    def _read(self, capture: Any) -> Any:
        """The next image, None once closed; SourceError when none comes in time."""
        deadline = time.monotonic() + self._patience
        while not self._stop.is_set():
            try:
                if ready(capture, SLICE_SECONDS):
                    good, image = capture.read()
                    if not good:
                        raise SourceError(f"{self._shown} stopped giving frames: is it still plugged in?")
                    return image
            except cv2.error as exc:
                raise SourceError(
                    f"{self._shown} failed: {exc.err or 'no frame'}; is another program using it?"
                ) from exc
            if time.monotonic() > deadline:
                raise SourceError(f"{self._shown}: no frame for {self._patience:g} s")
        return None

    def _describe(self, capture: Any, size: tuple[int, int]) -> StreamInfo:
        fps = float(capture.get(cv2.CAP_PROP_FPS))
        code = int(capture.get(cv2.CAP_PROP_FOURCC)) & 0xFFFFFFFF
        details: dict[str, Any] = {"device": self._device, "backend": capture.getBackendName()}
        details["pixel_format"] = code.to_bytes(4, "little").decode("ascii", "replace").strip("\0 ")
        asked = {"size": self._size, "rate": self._rate, "pixel_format": self._fourcc}
        given = {"size": size, "rate": fps, "pixel_format": details["pixel_format"]}
        for name, value in asked.items():
            if value is not None and value != given[name]:
                details[f"requested_{name}"] = value
                log.warning("%s gives %s %s, not %s as requested", self._shown, name, given[name], value)
        return StreamInfo(self._shown, True, fps if fps > 0 else None, size, details=details)


@contextmanager
def opened(device: str, shown: str) -> Iterator[Any]:
    """The device as a cv2.VideoCapture; SourceError that says why not."""
    check_device(device, shown)
    capture = open_device(device)
    try:
        if not capture.isOpened():
            raise SourceError(f"{shown} cannot be opened: it gives no video, or another program is using it")
        yield capture
    finally:
        capture.release()


def open_device(device: str) -> Any:
    """OpenCV's V4L2 reader, without its remarks on standard error."""
    with quiet():
        return cv2.VideoCapture(device, cv2.CAP_V4L2)


def ready(capture: Any, seconds: float) -> bool:
    """Whether a frame can be read now; waits for it up to `seconds` (the first time up to OpenCV's own 10 s).

    Only V4L2 can be polled; other readers count as ready and wait in `read`.
    """
    if capture.getBackendName() != "V4L2":
        return True
    return bool(cv2.VideoCapture.waitAny([capture], int(seconds * 1e9))[0])


def check_device(device: str, shown: str) -> None:
    """SourceError for a device that is not there, is not one, or may not be used."""
    if not platforms.CAMERAS:
        raise SourceError(f"{shown}: cameras are read on Linux alone: give a file or a stream, such as rtsp://…")
    path = Path(device)
    try:
        mode = path.stat().st_mode
    except OSError as exc:
        others = ", ".join(platforms.camera_files()) or "none"
        raise SourceError(f"{shown} is not there (cameras on this machine: {others})") from exc
    if not stat.S_ISCHR(mode):
        raise SourceError(f"{shown} is not a camera device")
    if not os.access(path, os.R_OK | os.W_OK):
        raise SourceError(f"{shown}: permission denied; add the user to the group {platforms.group_of(path)}")
