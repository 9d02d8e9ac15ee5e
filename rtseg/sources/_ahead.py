"""A source's frames, the first of which is made on entering: only it shows what the source really delivers."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Generator, Iterator

from rtseg.errors import SourceError
from rtseg.frame import Frame

__all__ = ["Ahead"]

NOT_OPEN = "this source is not open: use it as `with rtseg.open_source(…) as source`, or loop over rtseg.stream(…)"


class Ahead:
    """Frames of a generator; `start` makes the first, iterating gives it back before the others.

    `restamp` gives the first frame the time at which it is taken, for recordings: there it waited for us. Used by the
    thread that reads the source.
    """

    def __init__(self, frames: Generator[Frame, None, None], *, restamp: bool = False) -> None:
        self._frames, self._restamp = frames, restamp
        self._first: Frame | None = None
        self._started = False

    def start(self) -> bool:
        """Make the first frame; whether there is one."""
        self._started = True
        self._first = next(self._frames, None)
        return self._first is not None

    def __iter__(self) -> Iterator[Frame]:
        first, self._first = self._first, None
        if first is None:
            if not self._started:
                raise SourceError(NOT_OPEN)
            return
        yield dataclasses.replace(first, t_capture=time.monotonic_ns()) if self._restamp else first
        del first  # the consumer alone holds it from here on
        yield from self._frames

    def close(self) -> None:
        """Let go of the first frame and end the generator."""
        self._first = None
        self._frames.close()
