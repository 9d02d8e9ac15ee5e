"""How pictures are encoded, in files and for viewers."""

from __future__ import annotations

import cv2

from rtseg.errors import ConfigError

__all__ = ["check_quality", "encoder_flags"]


def check_quality(quality: int) -> int:
    """The quality itself. Errors: ConfigError unless it is 1 to 100."""
    if not 1 <= quality <= 100:
        raise ConfigError(f"image quality {quality} is not between 1 and 100")
    return quality


def encoder_flags(suffix: str, quality: int) -> list[int]:
    """Encoder settings; for PNG the quickest ones measured, a third of the time of OpenCV's level 1 on label maps."""
    if suffix == ".png":
        flags = [cv2.IMWRITE_PNG_COMPRESSION, 1, cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_RLE]
        if hasattr(cv2, "IMWRITE_PNG_FILTER"):  # not yet in OpenCV 4.10
            flags += [cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_FILTER_UP]
        return flags
    if suffix in (".jpg", ".jpeg"):
        return [cv2.IMWRITE_JPEG_QUALITY, quality]
    if suffix == ".webp":
        return [cv2.IMWRITE_WEBP_QUALITY, quality]
    return []
