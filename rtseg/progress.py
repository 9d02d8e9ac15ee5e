"""How far things are that are done one after another: a bar on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

from rich.console import Console
from rich.progress import track

__all__ = ["LINE_SECONDS", "Every", "print_line", "shown"]

T = TypeVar("T")

LINE_SECONDS = 10.0
"""Between two lines where no terminal shows a bar: often enough to see that it goes on, seldom enough for a log."""


class Every:
    """Says when the next line is due: `seconds` after the last one, or after the start."""

    def __init__(self, seconds: float | None = None) -> None:
        self._seconds = LINE_SECONDS if seconds is None else seconds
        self._last = time.monotonic()

    def due(self) -> bool:
        """Whether a line is due; if so, the next is due a period from now."""
        now = time.monotonic()
        if now - self._last < self._seconds:
            return False
        self._last = now
        return True


def print_line(console: Console, line: str) -> None:
    """Print a line as it stands, unwrapped, and flush it: a log is followed while it is written."""
    console.print(line, highlight=False, markup=False, soft_wrap=True)
    console.file.flush()


def shown(items: Iterable[T], total: int, what: str, console: Console | None) -> Iterator[T]:
    """`items` under a bar that says `what` is done, which goes away at the end.

    Where `console` is no terminal, a line every ten seconds says how many of `total` are done; None shows nothing.
    """
    if console is None:
        yield from items
    elif console.is_terminal:
        yield from track(items, what, total, console=console, transient=True)
    else:
        every = Every()
        for done, item in enumerate(items):
            if every.due():
                print_line(console, f"{what}: {done} of {total}")
            yield item
