"""A bar under things that are done one after another."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TypeVar

from rich.console import Console
from rich.progress import track

__all__ = ["shown"]

T = TypeVar("T")


def shown(items: Iterable[T], total: int, what: str, console: Console | None) -> Iterator[T]:
    """`items` under a bar that says `what` is done, which goes away at the end; no bar without a terminal."""
    if console is None or not console.is_terminal:
        yield from items
    else:
        yield from track(items, what, total, console=console, transient=True)
