"""The load generator: frames in memory, due at a fixed rate (open loop) or whenever one is wanted (closed loop)."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from types import TracebackType
from typing import TYPE_CHECKING, Any

from rtseg.config import RunConfig
from rtseg.errors import ConfigError, SourceError
from rtseg.frame import Frame, Image, StreamInfo
from rtseg.pipeline.mailbox import POLL_SECONDS
from rtseg.sources import open_source
from rtseg.timing import Samples, percentiles

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["Clip", "Replay", "hold"]

HELD_FRAMES = 300
"""Most frames that are held: the same ten seconds again and again are as good a load as an hour."""
DEFAULT_RATE = 30.0
LATE_NS = 1_000_000
"""From here on the generator itself counts as late."""
MIB = 1 << 20


@dataclass(frozen=True, slots=True, eq=False)
class Clip:
    """Frames in memory, and how long it took to read them; `fps` is None where the source has no rate."""

    source: str
    images: list[Image]
    fps: float | None
    decode: dict[str, Any]

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of the first frame."""
        height, width = self.images[0].shape[:2]
        return height, width

    @property
    def held_mb(self) -> float:
        """MiB that the frames take."""
        return sum(image.nbytes for image in self.images) / MIB


def hold(config: RunConfig, memory_mb: float, frames: int = HELD_FRAMES) -> Clip:
    """The first `frames` frames of the configured input, fewer where they would take more than `memory_mb` MiB.

    Errors: ConfigError for live input, which cannot be played twice, or a limit that holds no frame; SourceError.
    """
    images: list[Image] = []
    took, held = Samples(), 0
    with open_source(config.input, config.source) as source:
        info = source.info
        if info.live:
            raise ConfigError(
                f"{config.input} is live: a benchmark plays the same frames several times: give a file, images or "
                "synthetic:drive"
            )
        reader = iter(source)
        begin = start = time.monotonic_ns()
        while len(images) < frames and (frame := next(reader, None)) is not None:
            now = time.monotonic_ns()
            held += frame.image.nbytes
            if held > memory_mb * MIB:
                break
            took.add(now - start)
            images.append(frame.image)
            start = now
        seconds = (start - begin) / 1e9
    if held and not images:
        raise ConfigError(f"a frame of {config.input} takes {held / MIB:.1f} MiB: raise --memory above {memory_mb:g}")
    if not images:
        raise SourceError(f"{config.input} has no frames")
    rate = round(len(images) / seconds, 1) if seconds > 0 else None
    return Clip(info.source, images, info.fps, {"frames": len(images), "fps": rate, "ms": percentiles(took)})


class Replay:
    """Plays a clip in turn, as a source of the ordinary Capture. Nothing is played before `begin`.

    With a `rate`, frame i is due i / rate seconds after the beginning, whatever became of the others, and `t_capture`
    is when it was due: a latency counts from then, also where the generator was late. It then counts as live, so that
    the newest frame wins unless a policy says otherwise, and ends after `warm_up` frames and `seconds`. Without a rate
    a frame is due when the pipeline has room for it, and the last is the first to come `seconds` after the warm-up.
    `late` counts frames after the warm-up that were handed over more than 1 ms after they were due, `late_worst_ns` is
    the longest of these delays.
    """

    def __init__(self, clip: Clip, *, rate: float | None, seconds: float, warm_up: int = 0) -> None:
        self.clip, self.rate, self.warm_up, self._seconds = clip, rate, warm_up, seconds
        self.count = None if rate is None else warm_up + max(1, round(rate * seconds))
        self.late, self.late_worst_ns = 0, 0
        self.reconnects = 0
        self.t_begin = 0
        self._begun, self._closed = threading.Event(), threading.Event()

    @property
    def info(self) -> StreamInfo:
        fps = self.rate or self.clip.fps or DEFAULT_RATE
        tick = 1 / (Fraction(fps).limit_denominator(1001) or Fraction(1, 1001))
        return StreamInfo(self.clip.source, self.rate is not None, fps, self.clip.size, self.count, tick)

    def begin(self) -> None:
        """Let frame 0 be due now."""
        self.t_begin = time.monotonic_ns()
        self._begun.set()

    def due(self, index: int) -> int:
        """When frame `index` of an open loop is due, monotonic nanoseconds."""
        assert self.rate is not None, "in a closed loop a frame is due when it is wanted"
        return self.t_begin + round(index * 1e9 / self.rate)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __iter__(self) -> Iterator[Frame]:
        while not self._begun.wait(POLL_SECONDS):
            if self._closed.is_set():
                return
        times = self._wanted() if self.rate is None else self._scheduled()
        images, fps = self.clip.images, self.info.fps or DEFAULT_RATE
        for index, due in enumerate(times):
            yield Frame(index, due, index / fps, None, images[index % len(images)])

    def _scheduled(self) -> Iterator[int]:
        for index in range(self.count or 0):
            due = self.due(index)
            late = self.wait_until(due) - due
            if self._closed.is_set():
                return
            if index >= self.warm_up and late > LATE_NS:
                self.late += 1
                self.late_worst_ns = max(self.late_worst_ns, late)
            yield due

    def _wanted(self) -> Iterator[int]:
        index, end = 0, None
        while not self._closed.is_set():
            now = time.monotonic_ns()
            if index > self.warm_up and end is not None and now >= end:
                return
            if index == self.warm_up:
                end = now + round(self._seconds * 1e9)
            yield now
            index += 1

    def wait_until(self, due: int) -> int:
        """Wait for a monotonic time in nanoseconds, or until closed; the time it then is."""
        while (left := due - time.monotonic_ns()) > 0 and not self._closed.wait(left / 1e9):
            pass
        return time.monotonic_ns()

    def close(self) -> None:
        """End the iteration, also while it waits; from any thread."""
        self._closed.set()
