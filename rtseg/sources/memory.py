"""Frames that are already in memory, played again and again: for benchmarks and for arrays of one's own."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from fractions import Fraction
from types import TracebackType
from typing import TYPE_CHECKING

from rtseg.errors import SourceError
from rtseg.frame import Frame, Image, StreamInfo

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["MemorySource"]


class MemorySource:
    """Yields `count` frames from `images` (HWC uint8 BGR), in turn, as fast as they are taken.

    `rate` sets the pts only. Errors: SourceError for an empty sequence.
    """

    def __init__(self, images: Sequence[Image], *, count: int | None = None, rate: float = 30.0) -> None:
        if not images:
            raise SourceError("no images were given: pass at least one HWC uint8 BGR array")
        self._images = images
        self._count = len(images) if count is None else count
        self._rate = rate
        self._closed = threading.Event()
        self.reconnects = 0

    @property
    def info(self) -> StreamInfo:
        height, width = self._images[0].shape[:2]
        tick = Fraction(1) / Fraction(self._rate).limit_denominator(1001)
        return StreamInfo("memory", False, self._rate, (height, width), self._count, tick)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __iter__(self) -> Iterator[Frame]:
        for index in range(self._count):
            if self._closed.is_set():
                return
            image = self._images[index % len(self._images)]
            yield Frame(index, time.monotonic_ns(), index / self._rate, None, image)

    def close(self) -> None:
        """End the iteration."""
        self._closed.set()
