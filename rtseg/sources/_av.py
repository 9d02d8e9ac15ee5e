"""The one place where sources meet PyAV: opening, decoding, upright BGR pictures, and errors in our words."""

from __future__ import annotations

import math
import re
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import av
import numpy as np
from av.codec.context import ThreadType
from av.container import InputContainer
from av.sidedata.sidedata import Type as SideDataType
from av.stream import Disposition
from av.video.reformatter import VideoReformatter

from rtseg.errors import SourceError
from rtseg.frame import Image

__all__ = ["Decoder", "Timeline", "source_errors", "upright"]


# A title need not be UTF-8. From PyAV 19 on it never stops a file from being opened, and the option is gone.
TITLES: Mapping[str, Any] = {} if int(av.__version__.partition(".")[0]) >= 19 else {"metadata_errors": "replace"}


@contextmanager
def source_errors(shown: str, patience: float | None = None) -> Iterator[None]:
    """Turn PyAV's errors into SourceError about `shown`; `patience` is the timeout in seconds, for the message."""
    begin = time.monotonic()
    try:
        yield
    except av.FFmpegError as exc:
        # Some protocols give the interruption by PyAV's timeout another name.
        late = isinstance(exc, av.error.ExitError) or time.monotonic() - begin >= (patience or math.inf)
        # PyAV keeps the URL with its password as a third argument; a traceback must not print it.
        exc.args = exc.args[:2]
        raise SourceError(f"{shown}: {f'no data for {patience:g} s' if late and patience else reason(exc)}") from exc


def reason(exc: av.FFmpegError) -> str:
    """What went wrong, in a few words."""
    if isinstance(exc, av.error.InvalidDataError):
        return "not a readable video (damaged, cut off at its start, or not a video at all)"
    return (exc.strerror or type(exc).__name__).lower()


class Decoder:
    """The first real video track of one open file or stream.

    `url` goes to FFmpeg, `shown` into messages. `timeouts` are seconds (to open, to read a packet). `low_delay` decodes
    without frame threads, which hold frames back. Setting `stop` ends `pictures` at the next packet. `corrupted` counts
    pictures that could not be decoded. Errors: SourceError.
    """

    def __init__(
        self,
        url: str,
        shown: str,
        stop: threading.Event,
        *,
        options: Mapping[str, str] | None = None,
        timeouts: tuple[float, float] | None = None,
        low_delay: bool = False,
    ) -> None:
        self.shown, self.corrupted = shown, 0
        self._url, self._stop, self._low_delay = url, stop, low_delay
        self._options, self._timeouts = dict(options or {}), timeouts
        self._reformatter = VideoReformatter()
        self._open()

    def _open(self) -> None:
        with source_errors(self.shown, self._timeouts[0] if self._timeouts else None):
            self.container: InputContainer = av.open(
                self._url, "r", options=self._options, timeout=self._timeouts, **TITLES
            )
        try:
            self.stream = self._choose()
        except BaseException:
            self.container.close()
            raise
        codec: Any = self.stream.codec_context
        codec.thread_type = ThreadType.SLICE if self._low_delay else ThreadType.AUTO

    def reopen(self) -> None:
        """Start again from the beginning."""
        self.close()
        self._open()

    def _choose(self) -> av.VideoStream:
        tracks = [track for track in self.container.streams.video if not track.disposition & Disposition.attached_pic]
        if not tracks:
            found = ", ".join(sorted({track.type for track in self.container.streams})) or "nothing"
            raise SourceError(f"{self.shown}: no video track (found: {found})")
        if tracks[0].codec_context is None:
            raise SourceError(f"{self.shown}: this FFmpeg has no decoder for its video")
        return tracks[0]

    def close(self) -> None:
        """Close the file or connection; only from the thread that reads it."""
        self.container.close()

    def pictures(self) -> Iterator[av.VideoFrame]:
        """Decoded pictures in order of presentation, damaged ones left out.

        A failure to read on (a file that is cut off) gives the pictures that are still in the decoder, then raises.
        """
        packets = self.container.demux(self.stream)
        patience, since = sum(self._timeouts or (math.inf,)), time.monotonic()
        failure: SourceError | None = None
        while not self._stop.is_set():
            try:
                packet = self._next(packets)
            except SourceError as exc:
                packet, failure = None, exc
            if packet is None and failure is None:
                return
            for picture in self._decode(packet):
                if picture.is_corrupt:
                    self.corrupted += 1
                else:
                    yield picture
                    since = time.monotonic()
            if failure is not None:
                raise failure
            if time.monotonic() - since > patience:
                raise SourceError(f"{self.shown}: data came, but no picture for {patience:g} s")

    def _next(self, packets: Iterator[av.Packet[av.VideoStream]]) -> av.Packet[av.VideoStream] | None:
        """The next packet, None at the end."""
        patience, begin = self._timeouts[1] if self._timeouts else None, time.monotonic()
        with source_errors(self.shown, patience):
            packet = next(packets, None)
        # HLS calls it the end of the stream when its wait for a new segment is interrupted.
        if patience is not None and (packet is None or not packet.size) and time.monotonic() - begin >= patience:
            raise SourceError(f"{self.shown}: no data for {patience:g} s")
        return packet

    def _decode(self, packet: av.Packet[av.VideoStream] | None) -> list[av.VideoFrame]:
        """The pictures that `packet` completes; None asks for those that the decoder still holds."""
        try:
            return packet.decode() if packet is not None else self.stream.codec_context.decode(None)
        except av.FFmpegError:
            self.corrupted += 1
            return []

    def seconds(self, picture: av.VideoFrame) -> float | None:
        """Presentation time in the stream's own clock."""
        base = self.stream.time_base
        return None if picture.pts is None or base is None else float(picture.pts * base)

    def image(self, picture: av.VideoFrame) -> Image:
        """The picture as upright BGR; matrix and range are those that the stream declares, BT.601 limited if none."""
        converted = self._reformatter.reformat(picture, format="bgr24")
        image = np.ascontiguousarray(converted.to_ndarray(), np.uint8)
        sides: Mapping[Any, Any] = picture.side_data
        matrix = sides.get(SideDataType.DISPLAYMATRIX)
        return image if matrix is None else upright(image, np.frombuffer(matrix, np.int32))

    @property
    def fps(self) -> float | None:
        """The average rate, or FFmpeg's guess."""
        rate = self.stream.average_rate or self.stream.guessed_rate
        return float(rate) if rate else None

    @property
    def start(self) -> float:
        """Seconds in the stream's own clock at which it begins."""
        begin, base = self.stream.start_time, self.stream.time_base
        return float(begin * base) if begin is not None and base else 0.0

    @property
    def track_duration(self) -> float | None:
        """Seconds of the video track, where the container knows them."""
        length, base = self.stream.duration, self.stream.time_base
        if length and base:
            return float(length * base)
        # Matroska keeps a track's length as a tag; that of the container is the longest track's.
        tag = re.fullmatch(r"(\d+):(\d+):(\d+(?:\.\d+)?)", self.stream.metadata.get("DURATION", ""))
        if tag:
            return int(tag[1]) * 3600 + int(tag[2]) * 60 + float(tag[3])
        return self.duration if len(self.container.streams) == 1 else None

    @property
    def duration(self) -> float | None:
        """Seconds of the container, where it knows them."""
        return self.container.duration / 1e6 if self.container.duration else None

    def describe(self) -> dict[str, Any]:
        """Codec, container and pixel format as FFmpeg calls them."""
        codec = self.stream.codec_context
        return {
            "codec": codec.name,
            "container": self.container.format.name.split(",")[0],
            "pixel_format": codec.pix_fmt,
        }


class Timeline:
    """Presentation times that always rise, over loops, reconnections and jumps of the source's clock.

    `step` is seconds per frame, used where the source gives no time and to bridge a jump.
    """

    def __init__(self, step: float) -> None:
        self._step, self._offset, self._resume = step, 0.0, False
        self._last: float | None = None

    def restart(self, gap: float | None = None) -> None:
        """The source's clock restarts; the next frame comes `gap` seconds (default: a step) after the last."""
        self._resume, self._gap = True, self._step if gap is None else gap

    def place(self, seconds: float | None) -> float:
        """The time of the next frame, whose time in the source's clock is `seconds`."""
        last = self._last
        if seconds is None:
            now = 0.0 if last is None else last + (self._gap if self._resume else self._step)
        elif last is None:
            now = seconds
        elif self._resume or seconds + self._offset < last:
            now = last + (self._gap if self._resume else self._step)
            self._offset = now - seconds
        else:
            now = seconds + self._offset
            if now == last:
                now += self._step / 16  # two frames at one time: the second comes a little later
        self._resume, self._last = False, now
        return now


def upright(image: Image, matrix: np.ndarray[Any, np.dtype[np.int32]]) -> Image:
    """`image` turned and mirrored as a display matrix says (nine int32, AV_PKT_DATA_DISPLAYMATRIX).

    The matrix maps a pixel (x, y) to (a x + c y, b x + d y) with a, b = m[0], m[1] and c, d = m[3], m[4]. Only mirrors
    and multiples of 90 degrees are applied; a free angle goes to the nearest.
    """
    a, b, c, d = (int(matrix[i]) for i in (0, 1, 3, 4))
    if abs(a) + abs(d) >= abs(b) + abs(c):
        flip_x, flip_y = a < 0, d < 0
    else:
        image = image.transpose(1, 0, 2)
        flip_x, flip_y = c < 0, b < 0
    return np.ascontiguousarray(image[:: -1 if flip_y else 1, :: -1 if flip_x else 1])
