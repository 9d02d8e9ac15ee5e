"""Frames of a program's own: arrays in memory, played again and again, and any iterable of images."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from fractions import Fraction
from types import TracebackType
from typing import TYPE_CHECKING, Any

from rtseg.errors import ConfigError, SourceError
from rtseg.frame import Frame, Image, StreamInfo, checked_image
from rtseg.sources._ahead import NOT_OPEN

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["IterableSource", "MemorySource"]


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


class IterableSource:
    """The images of any iterable (HWC uint8 BGR; sizes may change), each taken when the pipeline has room for it.

    `rate` in frames per second makes the pts; without one a frame has none. Iterated once, by the capture thread: an
    iterator that blocks holds the end of the run up until it returns.

    Raises:
        SourceError: on iterating, for an item that is not an image, with its number and what it is.
    """

    reconnects = 0

    def __init__(self, images: Iterable[Any], *, rate: float | None = None) -> None:
        self._images, self._rate = iter(images), rate
        self._closed = threading.Event()
        self._first: Image | None = None
        self._info = StreamInfo("images", False, rate)

    @property
    def info(self) -> StreamInfo:
        return self._info

    def __enter__(self) -> Self:
        self._first = next(self._checked(0), None)
        if self._first is None:
            raise SourceError("the iterable of images is empty: give one image at least")
        height, width = self._first.shape[:2]
        self._info = StreamInfo("images", False, self._rate, (height, width))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __iter__(self) -> Iterator[Frame]:
        if self._first is None:
            raise SourceError(NOT_OPEN)
        image: Image | None = self._first
        self._first = None
        index, following = 0, self._checked(1)
        while image is not None and not self._closed.is_set():
            yield Frame(index, time.monotonic_ns(), None if self._rate is None else index / self._rate, None, image)
            index += 1
            image = next(following, None)

    def close(self) -> None:
        """End the iteration at the next image; from any thread."""
        self._closed.set()

    def _checked(self, start: int) -> Iterator[Image]:
        for index, image in enumerate(self._images, start):
            try:
                yield checked_image(image)
            except ConfigError as exc:
                raise SourceError(f"image {index} of the iterable: {exc}") from exc
