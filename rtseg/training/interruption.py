"""Ctrl-C and SIGTERM between two steps, so that a checkpoint never holds half a step."""

from __future__ import annotations

import signal
import threading
from types import FrameType
from typing import Any

__all__ = ["Interruption"]

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interruption:
    """Within the context the first signal is only noted in `asked`; a second one of its kind acts at once.

    `pass_on` then lets the noted signal act as it would have. Outside of the main thread nothing is caught.
    """

    def __init__(self) -> None:
        self._noted: int | None = None
        self._previous: dict[int, Any] = {}

    @property
    def asked(self) -> bool:
        """Whether the run should end."""
        return self._noted is not None

    def __enter__(self) -> Interruption:
        if threading.current_thread() is threading.main_thread():
            self._previous = {number: signal.signal(number, self._note) for number in SIGNALS}
        return self

    def __exit__(self, *exc: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        self._previous = {}

    def pass_on(self) -> None:
        """Raise the noted signal, if any, in this process; call it outside of the context."""
        if self._noted is not None:
            signal.raise_signal(self._noted)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self._noted = number
        signal.signal(number, self._previous[number])
