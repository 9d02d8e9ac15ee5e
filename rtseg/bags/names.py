"""What the topics made of a camera's pictures are called."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

__all__ = ["base_names"]

PICTURES = ("image", "image_raw", "image_color", "image_mono", "image_rect", "image_rect_color")
"""The names that image_proc and camera drivers give to the pictures in a camera's namespace."""
TRANSPORTS = ("compressed", "raw")
NAMESPACE = "segmentation"


def base_names(topics: Sequence[str]) -> dict[str, str]:
    """The namespace of what is made of each topic: /camera/image_raw -> /camera/segmentation.

    A name that does not end in a picture's (/left) stays whole before it, and so do two topics of one camera.
    """
    short = {topic: _camera(topic) for topic in topics}
    uses = Counter(short.values())
    return {topic: f"{name if uses[name] == 1 else topic.rstrip('/')}/{NAMESPACE}" for topic, name in short.items()}


def _camera(topic: str) -> str:
    """The topic without the last words that only say that it is a picture."""
    parts = topic.rstrip("/").split("/")
    if parts[-1] in TRANSPORTS:
        parts = parts[:-1]
    if parts and parts[-1] in PICTURES:
        parts = parts[:-1]
    return "/".join(parts)
