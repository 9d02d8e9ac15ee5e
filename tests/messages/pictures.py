"""Pictures that tests send over ROS: known bytes for every index, as messages."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np

from rtseg.messages import records as messages
from rtseg.messages.images import ENCODINGS

__all__ = ["digest", "image_message", "pixels"]


def pixels(index: int, height: int, width: int, encoding: str = "bgr8", padding: int = 0) -> np.ndarray:
    """The `data` of picture `index` as (rows, step) uint8: noise, which no two pictures share."""
    layout = ENCODINGS[encoding]
    shape = (height * layout.rows // 2, width * layout.channels * layout.bits // 8 + padding)
    return np.random.default_rng(index).integers(0, 256, shape, dtype=np.uint8)


def image_message(
    data: np.ndarray, height: int, width: int, encoding: str = "bgr8", stamp_ns: int = 0, frame_id: str = "camera"
) -> bytes:
    """A sensor_msgs/Image with the bytes of `data`, (rows, step) uint8."""
    header = messages.header(stamp_ns, frame_id)
    fields: dict[str, Any] = {"height": height, "width": width, "encoding": encoding, "is_bigendian": 0}
    return messages.encode_with(messages.IMAGE, data, header=header, **fields, step=data.shape[1])


def digest(data: np.ndarray | bytes | memoryview) -> str:
    """SHA-256 in hexadecimal of an array's bytes."""
    return hashlib.sha256(np.ascontiguousarray(data) if isinstance(data, np.ndarray) else data).hexdigest()
