"""Video files: anything FFmpeg opens, in order, with true timestamps."""

from __future__ import annotations

import itertools
import logging
import stat
import threading
import time
from collections.abc import Generator, Iterator
from contextlib import closing
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

import av

from rtseg.errors import ConfigError, SourceError
from rtseg.frame import Frame, StreamInfo
from rtseg.sources._ahead import Ahead
from rtseg.sources._av import Decoder, Timeline
from rtseg.sources._options import at_least, whole

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["FileSource"]

log = logging.getLogger("rtseg")

ROUNDING = 0.0005
"""Seconds by which a container that counts milliseconds may be early."""


class FileSource:
    """Frames of a video file.

    `start` and `end` are seconds from the file's beginning, `end` exclusive; `loop` is how often to play it, 0 forever;
    `stride` N takes every N-th frame. Frames are numbered without gaps, turned as the file's rotation says, and keep
    the file's own timestamps, which go on rising from loop to loop. A file that ends early, or is shorter than its
    header says, ends with `warning` set, also in `info.details`; pictures that cannot be decoded are left out and
    counted in `corrupted`. Errors: ConfigError for options, SourceError on entering when there is nothing to decode.
    """

    reconnects = 0

    def __init__(
        self, path: str, *, start: float | None = None, end: float | None = None, loop: int = 1, stride: int = 1
    ) -> None:
        self._path, self._stop = path, threading.Event()
        self._start = None if start is None else at_least("start", start, 0)
        self._end = None if end is None else at_least("end", end, 0, above=True)
        if self._end is not None and self._end <= (self._start or 0):
            raise ConfigError(f"end ({self._end:g} s) is not after start ({self._start or 0:g} s)")
        self._loop, self._stride = whole("loop", loop, 0), whole("stride", stride, 1)
        self._info: StreamInfo | None = None
        self._frames = Ahead(self._play(), restamp=True)
        self.corrupted = 0
        self.warning: str | None = None

    @property
    def info(self) -> StreamInfo:
        assert self._info is not None, "info is valid once the source is entered"
        return self._info

    def __enter__(self) -> Self:
        check_file(self._path)
        self._frames.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._frames.close()

    def close(self) -> None:
        """End the iteration at the next frame; from any thread."""
        self._stop.set()

    def __iter__(self) -> Iterator[Frame]:
        return iter(self._frames)

    def _play(self) -> Generator[Frame, None, None]:
        timeline: Timeline | None = None
        index = played = 0
        while (self._loop == 0 or played < self._loop) and not self._stop.is_set():
            with closing(Decoder(self._path, self._path, self._stop)) as decoder:
                if timeline is None:
                    timeline = Timeline(self._stride / (decoder.fps or 25.0))
                before = index
                for seconds, picture in self._chosen(decoder):
                    image = decoder.image(picture)
                    if self._info is None:
                        self._info = self._describe(decoder, image.shape[:2])
                    pts = timeline.place(seconds)
                    yield Frame(index, time.monotonic_ns(), pts, None, image)
                    index += 1
                    del image
                if index == before and not self._stop.is_set():
                    raise SourceError(f"{self._path}: no frame could be decoded")
            timeline.restart()
            played += 1

    def _chosen(self, decoder: Decoder) -> Iterator[tuple[float, av.VideoFrame]]:
        """The pictures between start and end, every stride-th, with their time in the file's own clock."""
        step = 1 / (decoder.fps or 25.0)
        # The first picture is the beginning: what a container declares may be a frame off.
        begin, pictures = self._seek(decoder)
        last, count = -step, 0
        corrupted = self.corrupted
        try:
            for picture in pictures:
                self.corrupted = corrupted + decoder.corrupted
                seconds = decoder.seconds(picture)
                if begin is None:
                    begin = decoder.start if seconds is None else seconds
                last = last + step if seconds is None else seconds - begin
                if self._start is not None and last < self._start - ROUNDING:
                    continue
                if self._end is not None and last >= self._end - ROUNDING:
                    return
                if count % self._stride == 0:
                    yield (begin + last if seconds is None else seconds), picture
                count += 1
        except SourceError as exc:
            if not count:
                raise
            self._warn(f"{self._path} ends early, after {last:.2f} s: {str(exc).removeprefix(f'{self._path}: ')}")
            return
        finally:
            self.corrupted = corrupted + decoder.corrupted
        length = decoder.track_duration
        if not count and self._start:
            known = f" ({length:.2f} s)" if length else ""
            raise ConfigError(f"start {self._start:g} s is past the end of {self._path}{known}")
        if not count and decoder.corrupted:
            raise SourceError(f"{self._path}: no frame could be decoded ({decoder.corrupted} damaged)")
        if length and count and last + 0.5 < length - 2 * step and not self._stop.is_set():
            self._warn(f"{self._path} ends after {last:.2f} s of {length:.2f} s: it is cut off or damaged")

    def _seek(self, decoder: Decoder) -> tuple[float | None, Iterator[av.VideoFrame]]:
        """When the file begins, None if that is still to be read, and its pictures from at or before `start`."""
        base = decoder.stream.time_base
        if not self._start or base is None:
            return None, decoder.pictures()
        first = next(decoder.pictures(), None)
        begin = None if first is None else decoder.seconds(first)
        if begin is not None:
            try:
                decoder.container.seek(round((begin + self._start) / base), stream=decoder.stream)
            except av.FFmpegError:
                log.debug("%s cannot be sought: decoding from its beginning", self._path)
            else:
                pictures = decoder.pictures()
                first = next(pictures, None)
                landed = None if first is None else decoder.seconds(first)
                if first is not None and landed is not None and landed <= begin + self._start + ROUNDING:
                    return begin, itertools.chain([first], pictures)
        # Raw streams land anywhere or lose their clock.
        decoder.reopen()
        return begin, decoder.pictures()

    def _warn(self, text: str) -> None:
        if self.warning is None:
            self.warning = text
            self.info.details["warning"] = text
            log.debug("%s", text)  # whoever runs the source reports it

    def _describe(self, decoder: Decoder, size: tuple[int, int]) -> StreamInfo:
        fps, length = decoder.fps, decoder.track_duration or decoder.duration
        frames: int | None = None
        if self._start is None and self._end is None and decoder.stream.frames:
            frames = decoder.stream.frames
        elif fps and length:
            frames = max(0, round((min(self._end or length, length) - (self._start or 0)) * fps))
        return StreamInfo(
            source=self._path,
            live=False,
            fps=fps / self._stride if fps else None,
            size=size,
            frames=None if frames is None or not self._loop else -(-frames // self._stride) * self._loop,
            time_base=decoder.stream.time_base,
            details={**decoder.describe(), "duration": length},
        )


def check_file(name: str) -> None:
    """SourceError for everything that is not a readable, regular, non-empty file."""
    path = Path(name)
    try:
        status = path.stat()
        if stat.S_ISDIR(status.st_mode):
            raise SourceError(
                f"{name} is a folder, expected a video file (a folder of images is given as images:{name})"
            )
        if not stat.S_ISREG(status.st_mode):
            raise SourceError(f"{name} is not a regular file, expected a video file")
        if status.st_size == 0:
            raise SourceError(f"{name} is empty (0 bytes)")
        with path.open("rb"):
            pass
    except FileNotFoundError as exc:
        raise SourceError(f"{name} does not exist") from exc
    except SourceError:
        raise
    except (OSError, ValueError) as exc:
        text = exc.strerror.lower() if isinstance(exc, OSError) and exc.strerror else str(exc)
        raise SourceError(f"{name} cannot be read: {text}") from exc
