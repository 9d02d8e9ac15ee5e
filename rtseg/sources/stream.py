"""Network streams: RTSP, HTTP, HLS, UDP and whatever else FFmpeg's protocols reach."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Generator, Iterator
from contextlib import closing
from types import TracebackType
from typing import TYPE_CHECKING, Literal

from rtseg.errors import ConfigError, SourceError, nearest
from rtseg.frame import Frame, StreamInfo
from rtseg.sources._ahead import Ahead
from rtseg.sources._av import Decoder, Timeline
from rtseg.sources._options import at_least, retries
from rtseg.sources._reconnect import Backoff, redact

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["StreamSource"]

log = logging.getLogger("rtseg")

TRANSPORTS = ("tcp", "udp", "http", "udp_multicast")
SCHEMES = ("rtsp", "rtsps", "rtmp", "rtmps", "http", "https", "udp", "rtp", "tcp", "srt", "mms", "hls")
FINITE_SCHEMES = ("http", "https", "hls")
"""Schemes behind which a finished recording may lie; the others are live by nature."""


class StreamSource:
    """Frames of a network stream.

    `transport` carries RTSP. `open_timeout` and `read_timeout` are seconds without an answer and without a picture;
    `low_latency` keeps FFmpeg from buffering. When a live stream fails or ends it is opened again up to `reconnect`
    times in a row ("forever" for ever, then also when it is not there at the start), after waits that double up to
    `backoff_limit` seconds; `reconnects` counts the successes, numbering goes on and `pts` keep rising. An HTTP
    recording with a known length ends where it ends. User names, passwords and keys in the URL are shown nowhere.
    Errors: ConfigError for options, SourceError for the rest.
    """

    def __init__(
        self,
        url: str,
        *,
        transport: str = "tcp",
        open_timeout: float = 10.0,
        read_timeout: float = 5.0,
        low_latency: bool = True,
        reconnect: int | Literal["forever"] = 10,
        backoff_limit: float = 30.0,
    ) -> None:
        self._url, self._shown = url, redact(url)
        self._scheme = url.partition("://")[0].lower()
        if self._scheme not in SCHEMES:
            raise ConfigError(f"cannot read '{self._scheme}://' streams: {nearest(self._scheme, SCHEMES)}")
        if transport not in TRANSPORTS:
            raise ConfigError(f"unknown transport '{transport}': {nearest(str(transport), TRANSPORTS)}")
        self._transport, self._low_latency = transport, low_latency
        self._timeouts = (
            at_least("open_timeout", open_timeout, 0, above=True),
            at_least("read_timeout", read_timeout, 0, above=True),
        )
        self._retries = retries(reconnect)
        self._backoff = Backoff(self._retries, at_least("backoff_limit", backoff_limit, 0))
        self._stop = threading.Event()
        self._info: StreamInfo | None = None
        self._frames = Ahead(self._play())
        self.reconnects = 0
        self.corrupted = 0

    @property
    def info(self) -> StreamInfo:
        assert self._info is not None, "info is valid once the source is entered"
        return self._info

    def __enter__(self) -> Self:
        if not self._frames.start():
            raise SourceError(f"{self._shown}: the stream ended before its first picture")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._frames.close()

    def close(self) -> None:
        """End the iteration: at the next packet, or when the timeout of the read that is under way runs out."""
        self._stop.set()

    def __iter__(self) -> Iterator[Frame]:
        return iter(self._frames)

    def _play(self) -> Generator[Frame, None, None]:
        timeline = Timeline(1 / 25)
        index = 0
        last_seen: int | None = None
        while not self._stop.is_set():
            failure: SourceError | None = None
            try:
                with closing(self._connect()) as decoder:
                    corrupted, opening = self.corrupted, True
                    for picture in decoder.pictures():
                        image = decoder.image(picture)
                        now = time.monotonic_ns()
                        if self._info is None:
                            self._info = self._describe(decoder, image.shape[:2])
                        elif opening and last_seen is not None:
                            timeline.restart((now - last_seen) / 1e9)
                            self.reconnects += 1
                            log.warning("%s is back", self._shown)
                        opening, last_seen = False, now
                        self._backoff.succeeded()
                        self.corrupted = corrupted + decoder.corrupted
                        yield Frame(index, now, timeline.place(decoder.seconds(picture)), time.time(), image)
                        index += 1
                        del image
            except SourceError as exc:
                failure = exc
            if self._stop.is_set() or not self._again(failure):
                return

    def _again(self, failure: SourceError | None) -> bool:
        """Whether to open the stream once more, after the wait that is due; `failure` is None where it just ended."""
        if self._info is None:
            if failure is not None and self._retries is not None:
                raise failure
        elif not self._info.live:
            if failure is not None:
                raise failure
            return False
        elif self._retries == 0 and failure is None:
            return False
        if self._backoff.exhausted:
            count = self._backoff.failures
            text = str(failure) if failure else f"{self._shown}: the stream ended"
            tried = f" (gave up after {count} attempt{'s' * (count != 1)} to reconnect)" if count else ""
            raise SourceError(f"{text}{tried}") from failure
        wait = self._backoff.next_wait()
        log.warning("%s; trying again in %.1f s", failure or f"{self._shown}: the stream ended", wait)
        return not self._stop.wait(wait)

    def _connect(self) -> Decoder:
        live = self._scheme not in FINITE_SCHEMES
        low_delay = self._low_latency and live
        return Decoder(
            self._url, self._shown, self._stop, options=self._options(), timeouts=self._timeouts, low_delay=low_delay
        )

    def _options(self) -> dict[str, str]:
        """The options for FFmpeg; those that a protocol does not have are ignored by it."""
        options = {}
        if self._scheme in ("rtsp", "rtsps"):
            options["rtsp_transport"] = self._transport
        if self._scheme in ("udp", "rtp"):
            # A burst larger than the receive buffer loses packets, but must not end the stream.
            options.update(overrun_nonfatal="1", fifo_size="50000")
        if self._low_latency and self._scheme in FINITE_SCHEMES:
            options["live_start_index"] = "-1"
        elif self._low_latency:
            # Not fflags=nobuffer: it throws away what was read while probing, the first key frame included. Those few
            # frames are decoded faster than they came, so no lag stays.
            options.update(flags="low_delay", max_delay="100000", probesize="500000", analyzeduration="500000")
        return options

    def _describe(self, decoder: Decoder, size: tuple[int, int]) -> StreamInfo:
        length = decoder.track_duration or decoder.duration
        live = self._scheme not in FINITE_SCHEMES or length is None
        fps = decoder.fps
        details = {**decoder.describe(), "duration": length}
        if self._scheme in ("rtsp", "rtsps"):
            details["transport"] = self._transport
        return StreamInfo(
            source=self._shown,
            live=live,
            fps=fps,
            size=size,
            frames=None if live or not fps or not length else decoder.stream.frames or round(length * fps),
            time_base=decoder.stream.time_base,
            details=details,
        )
