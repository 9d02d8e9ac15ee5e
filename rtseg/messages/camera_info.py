"""CameraInfo for a picture that was cut out of the camera's and resized."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rtseg.errors import ConfigError
from rtseg.messages.images import BadMessage

__all__ = ["fitted", "picture_size"]


def picture_size(message: Any) -> tuple[int, int]:
    """(height, width) of the picture that a CameraInfo belongs to: its region of interest, binned."""
    roi = message.roi
    height, width = int(roi.height) or int(message.height), int(roi.width) or int(message.width)
    return height // max(1, int(message.binning_y)), width // max(1, int(message.binning_x))


def fitted(message: Any, size: tuple[int, int], crop: tuple[float, float, float, float] | None = None) -> Any:
    """A sensor_msgs/CameraInfo for the crop (top, left, height, width) of the camera's picture resized to `size`.

    `size` is (height, width); the crop, the whole picture unless given, is in pixels of the picture that came with
    `message` and may reach beyond it (a letterbox's border). K and P are those of the new picture, so a region of
    interest and binning in `message` are worked in and gone afterwards; header, distortion and R stay. Pixel centres
    are whole numbers and a resize keeps the outer edges, as everywhere in rtseg: cx' = (cx - left + 0.5) * scale - 0.5.
    The matrices of an uncalibrated camera (fx is 0) stay. Errors: ConfigError for a size or crop without pixels,
    BadMessage for a message without a size where no crop says it.
    """
    if crop is None:
        whole = picture_size(message)
        if min(whole) < 1:
            raise BadMessage("zero size", f"CameraInfo of {whole[0]}x{whole[1]} (height x width) has no size")
        crop = (0, 0, *whole)
    if min(*size, *crop[2:]) <= 0:
        raise ConfigError(f"cannot fit CameraInfo: a side of crop {crop} or size {size} is zero")
    top, left, height, width = crop
    binning_y, binning_x = max(1, int(message.binning_y)), max(1, int(message.binning_x))
    binned = _resize(1 / binning_y, 1 / binning_x, int(message.roi.y_offset), int(message.roi.x_offset))
    change = _resize(size[0] / height, size[1] / width, top, left) @ binned
    region = dataclasses.replace(message.roi, x_offset=0, y_offset=0, height=0, width=0, do_rectify=False)
    return dataclasses.replace(
        message,
        height=size[0],
        width=size[1],
        k=_changed(message.k, change),
        p=_changed(message.p, change),
        binning_x=0,
        binning_y=0,
        roi=region,
    )


def _resize(scale_y: float, scale_x: float, top: float, left: float) -> NDArray[np.float64]:
    """The homography of pixel coordinates (x, y, 1) that cuts at (`top`, `left`) and then scales."""
    return np.array(
        [
            [scale_x, 0, (0.5 - left) * scale_x - 0.5],
            [0, scale_y, (0.5 - top) * scale_y - 0.5],
            [0, 0, 1],
        ]
    )


def _changed(matrix: NDArray[np.float64], change: NDArray[np.float64]) -> NDArray[np.float64]:
    """A 3x3 or 3x4 matrix in a row after a change of pixel coordinates; as it was where fx is 0, uncalibrated."""
    if matrix[0] == 0:
        return matrix
    return np.asarray((change @ np.reshape(matrix, (3, -1))).reshape(-1), np.float64)
