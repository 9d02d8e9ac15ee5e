"""How each encoding of sensor_msgs/Image lies in its data, and how it becomes BGR.

The conversions are OpenCV's, as `cv_bridge` uses them: YUV is BT.601 of limited range (luma below 16 counts as
16), Bayer patterns are interpolated bilinearly, 16 bits become 8 by value * 255 / 65535.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from rtseg.frame import Image

__all__ = ["ENCODINGS", "Encoding"]

Bytes = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Encoding:
    """How a row of `width` pixels lies in a message: `channels` numbers of `bits` each per pixel.

    There are height * `rows` // 2 rows of `step` bytes. `multiple` is what (height, width) must be divisible by,
    `least` what each must reach. `convert` makes BGR of the rows, an array of (rows, width * channels * bits // 8)
    bytes that may be a strided view.
    """

    channels: int
    convert: Callable[[Bytes], Image]
    bits: Literal[8, 16] = 8
    rows: int = 2
    multiple: tuple[int, int] = (1, 1)
    least: int = 1


def _by(code: int, channels: int) -> Callable[[Bytes], Image]:
    """OpenCV's conversion `code` of rows with `channels` bytes per pixel, in one pass."""

    def convert(rows: Bytes) -> Image:
        pixels = rows if channels == 1 else rows.reshape(rows.shape[0], -1, channels)
        return np.asarray(cv2.cvtColor(pixels, code), np.uint8)

    return convert


def _bgr8(rows: Bytes) -> Image:
    return np.ascontiguousarray(rows.reshape(rows.shape[0], -1, 3))


def _mono16(rows: Bytes) -> Image:
    if rows.strides[0] % 2:  # OpenCV's binding takes such an array for one with rows of a byte less
        rows = np.ascontiguousarray(rows)
    grey = cv2.convertScaleAbs(rows.view("<u2"), alpha=255 / 65535)
    return np.asarray(cv2.cvtColor(grey, cv2.COLOR_GRAY2BGR), np.uint8)


BT601 = np.array(
    [
        [255 / 219, 2 * 0.886 * 255 / 224, 0],
        [255 / 219, -2 * 0.886 * 0.114 / 0.587 * 255 / 224, -2 * 0.701 * 0.299 / 0.587 * 255 / 224],
        [255 / 219, 0, 2 * 0.701 * 255 / 224],
    ]
)
"""BGR of (Y - 16, Cb - 128, Cr - 128), limited range (ITU-R BT.601-7, 2.5); OpenCV has no code for NV24."""
OFFSET = BT601 @ [-16.0, -128.0, -128.0]


def _nv24(rows: Bytes) -> Image:
    height, width = rows.shape[0] // 3, rows.shape[1]
    # A row of chroma is two steps long and its padding comes after both.
    shape, strides = (height, width, 2), (2 * rows.strides[0], 2, 1)
    chroma = np.lib.stride_tricks.as_strided(rows[height:], shape, strides, writeable=False)
    # Luma below black is black whatever its chroma, as in OpenCV's conversions of the other YUV encodings.
    pixels = cv2.merge((np.maximum(rows[:height], 16), chroma))
    return np.asarray(cv2.transform(pixels, np.column_stack((BT601, OFFSET))), np.uint8)


_UYVY = Encoding(2, _by(cv2.COLOR_YUV2BGR_UYVY, 2), multiple=(1, 2))
_YUYV = Encoding(2, _by(cv2.COLOR_YUV2BGR_YUYV, 2), multiple=(1, 2))
_MONO8 = Encoding(1, _by(cv2.COLOR_GRAY2BGR, 1))
_MONO16 = Encoding(1, _mono16, bits=16)
_BGR8 = Encoding(3, _bgr8)
_BGRA8 = Encoding(4, _by(cv2.COLOR_BGRA2BGR, 4))


# ROS names a pattern by its first two rows from the corner, OpenCV by the second row from the second pixel.
ENCODINGS: dict[str, Encoding] = {
    "bgr8": _BGR8,
    "rgb8": Encoding(3, _by(cv2.COLOR_RGB2BGR, 3)),
    "bgra8": _BGRA8,
    "rgba8": Encoding(4, _by(cv2.COLOR_RGBA2BGR, 4)),
    "mono8": _MONO8,
    "mono16": _MONO16,
    "8UC1": _MONO8,
    "8UC3": _BGR8,
    "8UC4": _BGRA8,
    "16UC1": _MONO16,
    "yuv422": _UYVY,
    "uyvy": _UYVY,
    "yuv422_yuy2": _YUYV,
    "yuyv": _YUYV,
    "nv12": Encoding(1, _by(cv2.COLOR_YUV2BGR_NV12, 1), rows=3, multiple=(2, 2)),
    "nv21": Encoding(1, _by(cv2.COLOR_YUV2BGR_NV21, 1), rows=3, multiple=(2, 2)),
    "nv24": Encoding(1, _nv24, rows=6),
    "bayer_rggb8": Encoding(1, _by(cv2.COLOR_BayerBG2BGR, 1), least=3),
    "bayer_bggr8": Encoding(1, _by(cv2.COLOR_BayerRG2BGR, 1), least=3),
    "bayer_gbrg8": Encoding(1, _by(cv2.COLOR_BayerGR2BGR, 1), least=3),
    "bayer_grbg8": Encoding(1, _by(cv2.COLOR_BayerGB2BGR, 1), least=3),
}
"""What `picture` reads, by the names of sensor_msgs/image_encodings.hpp; 8UC3 and 8UC4 are taken as BGR and BGRA."""
