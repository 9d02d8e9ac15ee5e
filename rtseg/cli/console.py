"""What commands print: text for people on standard error, the log, errors in one line, and the exit codes of runs."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["OUTCOMES", "print_error", "printer", "shown_log", "stderr_console"]

OUTCOMES = {"interrupted": 130, "terminated": 143, "source cut off": 1, "source failed": 1}
"""Exit codes of runs that did not end with outcome `done`."""


def stderr_console() -> Console:
    """Where text for people goes."""
    from rich.console import Console

    return Console(stderr=True)


def printer(console: Console, quiet: bool = False) -> Callable[[str], None]:
    """A function that prints a line on `console` as it stands, unwrapped; nothing where `quiet`."""

    def say(line: str) -> None:
        if not quiet:
            console.print(line, highlight=False, markup=False, soft_wrap=True)

    return say


def print_error(message: object) -> None:
    """Print an error in the one form that the command line has for them."""
    print(f"rtseg: error: {message}", file=sys.stderr)


@contextmanager
def shown_log(console: Console, level: int) -> Iterator[None]:
    """Print rtseg's log from `level` on, above a progress display if there is one."""
    say = printer(console)

    class Lines(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            say(self.format(record))

    handler = Lines()
    log = logging.getLogger("rtseg")
    previous = log.level
    log.addHandler(handler)
    log.setLevel(level)
    try:
        yield
    finally:
        log.removeHandler(handler)
        log.setLevel(previous)
