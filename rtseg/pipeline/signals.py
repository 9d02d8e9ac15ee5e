"""Leaving the sinks without being disturbed by a second Ctrl-C or SIGTERM: files are being finished then."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from rtseg.pipeline.delivery import Delivery

__all__ = ["finished"]


class _Undisturbed:
    """Ignores Ctrl-C and SIGTERM from when it is entered until it is left; no effect outside the main thread."""

    def __enter__(self) -> None:
        self._main = threading.current_thread() is threading.main_thread()
        if self._main:
            self._previous = {
                number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGINT, signal.SIGTERM)
            }

    def __exit__(self, *_: object) -> None:
        if self._main:
            for number, handler in self._previous.items():
                signal.signal(number, handler)


@contextmanager
def finished(delivery: Delivery) -> Iterator[Delivery]:
    """`delivery`, left without being disturbed by a second Ctrl-C: files are being finished then."""
    with ExitStack() as stack:
        stack.enter_context(delivery)
        try:
            yield delivery
        finally:
            with _Undisturbed():
                stack.close()
