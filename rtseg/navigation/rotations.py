"""Quaternions (x, y, z, w) as ROS writes them, and rotation matrices."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Floats", "about", "inverse", "matrix", "multiply", "rotate", "slerp", "unit"]

Floats = NDArray[np.float64]


def unit(quaternion: Any) -> Floats:
    """The quaternion (4,) at length 1; ValueError where it is not four finite numbers or all zero."""
    values = np.asarray(quaternion, np.float64)
    length = math.sqrt(float(values @ values)) if values.shape == (4,) else math.nan
    if not 1e-6 < length < math.inf:
        raise ValueError(f"no rotation: quaternion {values.tolist()}")
    scaled: Floats = values / length
    return scaled


def multiply(left: Floats, right: Floats) -> Floats:
    """The rotation `right`, then the rotation `left`."""
    x0, y0, z0, w0 = left.tolist()
    x1, y1, z1, w1 = right.tolist()
    return np.array(
        [
            w0 * x1 + x0 * w1 + y0 * z1 - z0 * y1,
            w0 * y1 - x0 * z1 + y0 * w1 + z0 * x1,
            w0 * z1 + x0 * y1 - y0 * x1 + z0 * w1,
            w0 * w1 - x0 * x1 - y0 * y1 - z0 * z1,
        ]
    )


def inverse(quaternion: Floats) -> Floats:
    """The opposite rotation of a unit quaternion."""
    opposite: Floats = quaternion * np.array([-1.0, -1.0, -1.0, 1.0])
    return opposite


def matrix(quaternion: Any) -> Floats:
    """The rotation matrix (3, 3) of a quaternion of any length; ValueError as in `unit`."""
    x, y, z, w = unit(quaternion).tolist()
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
            [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
            [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
        ]
    )


def rotate(quaternion: Floats, vector: Floats) -> Floats:
    """The vector (3,) rotated by a unit quaternion."""
    rotated: Floats = matrix(quaternion) @ vector
    return rotated


def slerp(first: Floats, second: Floats, part: float) -> Floats:
    """The rotation `part` of the way from one unit quaternion to another, by the shorter way (Shoemake 1985)."""
    cosine = float(first @ second)
    if cosine < 0:
        second, cosine = -second, -cosine
    if cosine > 1 - 1e-9:  # the sine is lost in rounding, and a straight line is as good
        return unit(first + part * (second - first))
    angle = math.acos(cosine)
    return (math.sin((1 - part) * angle) * first + math.sin(part * angle) * second) / math.sin(angle)


def about(axis: int, angle: float) -> Floats:
    """The matrix of a right-handed rotation by `angle` radians about axis 0 (x), 1 (y) or 2 (z)."""
    turned = np.eye(3)
    one, two = (axis + 1) % 3, (axis + 2) % 3
    turned[one, one] = turned[two, two] = math.cos(angle)
    turned[two, one], turned[one, two] = math.sin(angle), -math.sin(angle)
    return turned
