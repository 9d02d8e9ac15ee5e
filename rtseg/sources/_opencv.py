"""OpenCV without its remarks on standard error: what goes wrong is said in our own one line."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import cv2

__all__ = ["quiet"]


@contextmanager
def quiet() -> Iterator[None]:
    """Silence OpenCV's log while the block runs."""
    level = cv2.utils.logging.getLogLevel()
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    try:
        yield
    finally:
        cv2.utils.logging.setLogLevel(level)
