"""Overlays into a video file: H.264 that browsers play, with the source's own time stamps."""

from __future__ import annotations

import errno
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import av
import av.error
import cv2
import numpy as np
from av.container import OutputContainer
from av.video.frame import VideoFrame
from av.video.reformatter import ColorRange, Colorspace, VideoReformatter
from av.video.stream import VideoStream

from rtseg.drawing.view import View
from rtseg.errors import ConfigError, SinkError, nearest
from rtseg.files import create_beside, disk_error, disk_errors, put_in_place
from rtseg.frame import Image, Result, StreamInfo
from rtseg.packages.spec import ModelSpec
from rtseg.sinks._codecs import FORMATS, choose_encoder, encoder_options, parse_bitrate
from rtseg.sinks._timeline import Timeline

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["VideoSink"]

LOG = logging.getLogger(__name__)
BT709 = 1
DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS, errno.EACCES, errno.ENOENT, errno.EFBIG)
FINE_CLOCK = Fraction(1, 90_000)


@contextmanager
def _foreign(path: Path, encoder: str) -> Iterator[None]:
    """FFmpeg's errors as SinkErrors of one line."""
    try:
        yield
    except (av.error.FFmpegError, OSError, ValueError) as exc:  # ValueError: a codec that the container cannot hold
        if isinstance(exc, OSError) and exc.errno in DISK_ERRORS:
            raise disk_error(path, exc.errno, exc.strerror or str(exc)) from exc
        # An FFmpeg error's own text carries the call that failed, options and all.
        text = (exc.strerror or "").lower() if isinstance(exc, av.error.FFmpegError) else " ".join(str(exc).split())
        raise SinkError(f"cannot write {path} with encoder {encoder}: {text}: try another codec or suffix") from exc


class VideoSink:
    """Encodes overlays into a file whose suffix decides the container: .mp4 .m4v .mov .mkv .webm .avi .ts.

    Time stamps are the source's (see Timeline); .avi has no time stamps and gets the nearest frame numbers instead.
    yuv420p needs even sizes, so an odd side is extended by one pixel, a copy of the border. A frame of another size
    than the first is scaled into it with black bars; several cameras of a bag are refused. Colours are BT.709, limited
    range, and tagged so; in .avi, which has no tag, BT.601.

    The file is written under a hidden name beside `target` and renamed when it is complete; a run that ends early
    leaves what was encoded, playable, and a run without a frame no file. An existing file is replaced.
    `codec` is h264, hevc, vp9, av1, mpeg4, mjpeg, ffv1 or the name of an FFmpeg encoder; `crf` or `bitrate` (bits per
    second, `4M`) sets the quality, `preset` the encoder's effort; `rate` replaces the time stamps by a fixed rate.
    Errors: ConfigError for options that do not fit; SinkError for a missing encoder or folder, or a full disk.
    """

    needs = frozenset({"overlay"})
    threaded = True

    def __init__(
        self,
        target: str,
        info: StreamInfo,
        spec: ModelSpec,
        view: View,
        *,
        codec: str | None = None,
        crf: float | None = None,
        bitrate: str | int | None = None,
        preset: str | None = None,
        rate: float | None = None,
    ) -> None:
        self._path, self._info = Path(target), info
        suffix = self._path.suffix.lower()
        if suffix not in FORMATS:
            raise ConfigError(f"no video format has the suffix of '{target}': {nearest(suffix, FORMATS)}")
        cameras = info.details.get("topics", "").split(",")
        if len(cameras) > 1:
            raise ConfigError(
                f"a video shows one camera, and {info.source} gives {len(cameras)} ({', '.join(cameras)}): "
                "name one topic, or write a bag or pictures"
            )
        if rate is not None and not 0 < rate <= 1000:
            raise ConfigError(f"a video's rate of {rate} frames per second is not between 0 and 1000")
        self._format, usual = FORMATS[suffix]
        self._encoder = choose_encoder(codec or usual)
        self._options = encoder_options(self._encoder, crf, None if bitrate is None else parse_bitrate(bitrate), preset)
        fps = rate or info.fps or 25.0
        self._fps = Fraction(fps).limit_denominator(1001)
        self._time_base = self._choose_time_base(rate)
        self._timeline = Timeline(info, self._time_base, rate)
        self._duration = max(1, round(1 / self._fps / self._time_base))
        self._reformat = VideoReformatter()
        self._matrix, self._range = Colorspace.ITU709, ColorRange.MPEG
        self._temporary: Path | None = None
        self._container: OutputContainer | None = None
        self._stream: VideoStream | None = None
        self._size = (0, 0)
        self._frames = 0

    def _choose_time_base(self, rate: float | None) -> Fraction:
        """The source's own clock tick where the file can keep it, so that time stamps come out equal."""
        if self._format == "avi" or rate is not None:
            return 1 / self._fps
        base = self._info.time_base or FINE_CLOCK
        if self._encoder.name == "mpeg4" and base.denominator > 65_535:
            return Fraction(1, 60_000)
        return base if Fraction(1, 1_000_000) <= base <= Fraction(1, 100) else FINE_CLOCK

    def __enter__(self) -> Self:
        source = Path(self._info.source)
        if self._path.is_file() and source.is_file() and self._path.samefile(source):
            raise SinkError(f"cannot write {self._path}: it is the input: choose another name")
        self._temporary = create_beside(self._path)
        return self

    def write(self, result: Result) -> None:
        """Encode one overlay. Errors: SinkError; what was written so far is then removed."""
        assert result.overlay is not None
        try:
            if self._stream is None:
                self._open(result.overlay)
            self._encode(self._picture(result.overlay), self._timeline.tick(result.frame))
        except SinkError:
            self._discard()
            raise

    def _open(self, image: Image) -> None:
        height, width = image.shape[:2]
        self._size = height, width
        odd = (height % 2, width % 2)
        if any(odd):
            LOG.info("%s: %dx%d extended to even sides, as yuv420p needs", self._path, height, width)
        with _foreign(self._path, self._encoder.name):
            movie = self._format in ("mp4", "mov")
            options = {"movflags": "+faststart"} if movie else {}
            self._container = av.open(str(self._temporary), "w", format=self._format, options=options)
            stream: VideoStream = self._container.add_stream(self._encoder.name, rate=self._fps)  # type: ignore[assignment]
            context = stream.codec_context
            context.height, context.width = height + odd[0], width + odd[1]
            context.pix_fmt = self._encoder.pixels
            context.time_base = stream.time_base = self._time_base
            # Frames that refer to later ones would delay the first time stamp in containers without edit lists.
            reorder = {"bf": "0"} if self._format in ("mpegts", "avi") else {}
            context.options = reorder | self._options
            context.thread_count = 0
            if self._encoder.name == "libx265" and movie:
                context.codec_tag = "hvc1"
            self._matrix, self._range = Colorspace.ITU709, ColorRange.MPEG
            if self._format == "avi" or self._encoder.pixels == "yuvj420p":
                # There is no tag, and readers then take BT.601 (JFIF's for mjpeg).
                self._matrix = Colorspace.ITU601
            if self._encoder.pixels != "yuv420p":
                self._range = ColorRange.JPEG
            if self._encoder.pixels == "yuv420p" and self._matrix == Colorspace.ITU709:
                context.color_range = ColorRange.MPEG
                context.color_primaries = context.color_trc = context.colorspace = BT709
            context.open()
            self._stream = stream

    def _picture(self, image: Image) -> Image:
        """The image in the size of the first one, with even sides."""
        height, width = self._size
        if image.shape[:2] != self._size:
            scale = min(height / image.shape[0], width / image.shape[1])
            inner_h, inner_w = max(1, round(image.shape[0] * scale)), max(1, round(image.shape[1] * scale))
            top, left = (height - inner_h) // 2, (width - inner_w) // 2
            method = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
            canvas = np.zeros((height, width, 3), np.uint8)
            canvas[top : top + inner_h, left : left + inner_w] = cv2.resize(
                image, (inner_w, inner_h), interpolation=method
            )
            image = canvas
        if height % 2 or width % 2:
            image = cv2.copyMakeBorder(image, 0, height % 2, 0, width % 2, cv2.BORDER_REPLICATE)
        return image

    def _encode(self, image: Image, tick: int) -> None:
        assert self._stream is not None
        with _foreign(self._path, self._encoder.name):
            picture = self._reformat.reformat(
                VideoFrame.from_numpy_buffer(image, "bgr24"),
                format=self._encoder.pixels,
                src_colorspace=Colorspace.ITU709,
                dst_colorspace=self._matrix,
                src_color_range=ColorRange.JPEG,
                dst_color_range=self._range,
            )
            picture.pts, picture.time_base, picture.duration = tick, self._time_base, self._duration
            self._mux(self._stream.encode(picture))
        self._frames += 1

    def _mux(self, packets: Any) -> None:
        assert self._container is not None
        for packet in packets:
            self._container.mux(packet)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._temporary is None:
            return
        if not self._frames:
            self._discard()
            LOG.warning("%s was not written: there was no frame", self._path)
            return
        try:
            self._finish()
        except SinkError as failure:
            self._discard()
            if kind is None:
                raise
            LOG.error("%s", failure)  # the error that ended the run is the one to report

    def _finish(self) -> None:
        assert self._stream is not None
        assert self._container is not None
        assert self._temporary is not None
        with _foreign(self._path, self._encoder.name):
            self._mux(self._stream.encode(None))
            self._container.close()
        with disk_errors(self._path):
            put_in_place(self._temporary, self._path)
        self._temporary = None

    def _discard(self) -> None:
        """Close what is open and remove the temporary file."""
        container, self._container, self._stream = self._container, None, None
        if container is not None:
            try:
                container.close()
            except (av.error.FFmpegError, OSError) as exc:
                LOG.debug("%s: %s while giving the file up", self._path, exc)
        if self._temporary is not None:
            self._temporary.unlink(missing_ok=True)
            self._temporary = None
        self._frames = 0
