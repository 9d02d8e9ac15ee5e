"""Image files as arrays, upright and in BGR; OpenCV without its remarks on standard error."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from rtseg.errors import SourceError
from rtseg.frame import Image

__all__ = ["SUFFIXES", "cut_off", "natural", "quiet", "read_image"]

SUFFIXES = frozenset((".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp", ".ppm", ".pgm", ".jp2"))
SILENT = 0
"""OpenCV's LOG_LEVEL_SILENT, which some versions do not name."""
_log: Any = getattr(cv2.utils, "logging", cv2)
"""Where getLogLevel and setLogLevel are; the builds of 4.10 have them in cv2 itself."""


@contextmanager
def quiet() -> Iterator[None]:
    """Silence OpenCV's log while the block runs."""
    level = _log.getLogLevel()
    _log.setLogLevel(SILENT)
    try:
        yield
    finally:
        _log.setLogLevel(level)


def natural(path: Path) -> list[tuple[int, int, str]]:
    """A sort key that puts img2 before img10: digits count as numbers, folder by folder."""
    parts = re.split(r"(\d+)", path.as_posix())
    return [(0, int(part), part) if part.isdecimal() else (1, 0, part) for part in parts if part]


def read_image(path: Path) -> Image:
    """One image file as HWC uint8 BGR, upright. Errors: SourceError naming the file."""
    try:
        data = path.read_bytes()
    except OSError as exc:
        raise SourceError(f"image {path} cannot be read: {(exc.strerror or str(exc)).lower()}") from exc
    if not data:
        raise SourceError(f"image {path} is empty (0 bytes)")
    if cut_off(data):
        raise SourceError(f"image {path} is cut off")
    try:
        with quiet():
            image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    except cv2.error as exc:
        raise SourceError(f"image {path} cannot be decoded: {exc.err or 'damaged'}") from exc
    if image is None or image.size == 0:
        raise SourceError(f"image {path} cannot be decoded: damaged, or not an image")
    return np.ascontiguousarray(image, np.uint8)


def cut_off(data: bytes) -> bool:
    """Whether a JPEG or PNG lacks its end; OpenCV decodes such files to a half grey image without a word."""
    if data.startswith(b"\xff\xd8"):
        # The last start-of-scan is the picture's (an EXIF thumbnail comes before it); its data holds no marker.
        return data.rfind(b"\xff\xd9") < data.rfind(b"\xff\xda")
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return b"IEND" not in data[8:]
    return False
