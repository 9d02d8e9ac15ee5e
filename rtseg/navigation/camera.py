"""Where a camera's pixels look: its lens from a CameraInfo, and its pose on the robot.

Directions are in the optical frame of REP 103 (x right, y down, z forward), places in the robot frame of REP 105
(x forward, y left, z up) whose z = 0 is the ground. Pixels are (x, y) whose integers are pixel centres.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from rtseg.errors import ConfigError, nearest
from rtseg.navigation.rotations import Floats, about, matrix

__all__ = ["Lens", "Pose"]

MODELS = {"plumb_bob": (0, 4, 5), "rational_polynomial": (0, 8), "equidistant": (0, 4), "fisheye": (0, 4)}
"""Number of coefficients that each distortion model may have; none is no distortion."""
OPTICAL = np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]])
"""Columns: the optical frame's x, y and z in the frame of a camera body that looks along its x."""
WIDEST = 20.0
"""Tangent of the largest angle from the optical axis that counts as seen: 87 degrees."""


@dataclass(frozen=True, eq=False)
class Pose:
    """The optical frame in the robot frame: `position` (3,) in metres, `rotation` (3, 3) from optical to robot axes."""

    position: Floats
    rotation: Floats

    def __post_init__(self) -> None:
        if not (np.isfinite(self.position).all() and np.isfinite(self.rotation).all()):
            raise ConfigError("the camera's pose holds a number that is not finite")
        if not self.position[2] > 0:
            raise ConfigError(
                f"the camera is at z = {self.position[2]:.3f} m of the robot frame, which must be above the ground at "
                "z = 0: give its height, or a robot frame on the ground (base_footprint)"
            )

    @classmethod
    def mounted(
        cls, height: float, tilt: float, *, x: float = 0.0, y: float = 0.0, yaw: float = 0.0, roll: float = 0.0
    ) -> Pose:
        """A camera `height` metres above the ground at (x, y), tilted down by `tilt` radians.

        `yaw` turns it to the left; a positive `roll` turns it clockwise as seen from behind. Errors: ConfigError.
        """
        rotation = about(2, yaw) @ about(1, tilt) @ about(0, roll) @ OPTICAL
        return cls(np.array([x, y, height], np.float64), rotation)

    @classmethod
    def transformed(cls, translation: Any, quaternion: Any) -> Pose:
        """From the transform of the optical frame in the robot frame, quaternion (x, y, z, w). Errors: ConfigError."""
        try:
            return cls(np.asarray(translation, np.float64).reshape(3), matrix(quaternion))
        except ValueError as exc:
            raise exc if isinstance(exc, ConfigError) else ConfigError(f"the camera's pose: {exc}") from exc


@dataclass(frozen=True, eq=False)
class Lens:
    """A calibrated camera of `size` (height, width).

    `matrix` is (3, 3), `model` and `coefficients` are those of a CameraInfo, `turn` (3, 3) takes directions from the
    pixels' own axes to the optical frame (other than the identity for rectified pictures only).
    """

    size: tuple[int, int]
    matrix: Floats
    model: str
    coefficients: Floats
    turn: Floats

    @classmethod
    def of(cls, info: Any, *, rectified: bool = False) -> Lens:
        """From a decoded sensor_msgs/CameraInfo, of the raw picture or of the `rectified` one, which has no distortion.

        Errors: ConfigError for a camera that is not calibrated and for a distortion model that is not known.
        """
        size = (int(info.height), int(info.width))
        numbers = [np.asarray(part, np.float64) for part in (info.k, info.p, info.r, info.d)]
        k, p, r, coefficients = numbers
        values = p.reshape(3, 4)[:, :3] if rectified else k.reshape(3, 3)
        if values[0, 0] == 0 or values[1, 1] == 0 or min(size) < 1:
            raise ConfigError(
                f"CameraInfo is uncalibrated ({'P' if rectified else 'K'} is zero, or the size is): calibrate the "
                "camera, or give its camera_info_url to the driver"
            )
        if not all(np.isfinite(part).all() for part in numbers):
            raise ConfigError("CameraInfo holds a number that is not finite: calibrate the camera again")
        if rectified:
            turn = r.reshape(3, 3).T if r.any() else np.eye(3)
            return cls(size, values, "plumb_bob", np.zeros(0), turn)
        model = info.distortion_model or "plumb_bob"
        if model not in MODELS:
            raise ConfigError(f"unknown distortion model '{model}' in CameraInfo: {nearest(model, MODELS)}")
        if coefficients.size not in MODELS[model]:
            expected = ", ".join(map(str, MODELS[model]))
            raise ConfigError(f"CameraInfo has {coefficients.size} coefficients for {model}, expected {expected}")
        if not coefficients.any() and model in ("plumb_bob", "rational_polynomial"):
            coefficients = np.zeros(0)
        return cls(size, values, model, coefficients, np.eye(3))

    def pixels(self, directions: Any) -> Floats:
        """The pixels (n, 2) at which directions (n, 3) of the optical frame are seen; NaN where the lens sees none.

        They may lie outside the picture.
        """
        x, y, z = (np.asarray(directions, np.float64) @ self.turn).T
        seen = z > 0
        depth = np.where(seen, z, 1.0)
        x, y = x / depth, y / depth
        radius = np.hypot(x, y)
        seen &= radius < self._edge
        if self._bends:
            x, y = self._distort(np.where(seen, x, 0.0), np.where(seen, y, 0.0))
        (fx, skew, cx), (_, fy, cy), _ = self.matrix
        found = np.stack([fx * x + skew * y + cx, fy * y + cy], axis=1)
        found[~seen] = np.nan
        return found

    def indices(self, directions: Any) -> NDArray[np.int32]:
        """The numbers (row * width + column) of the pixels that see directions (n, 3); -1 where there is none."""
        height, width = self.size
        x, y = self.pixels(directions).T
        with np.errstate(invalid="ignore"):
            inside = (x >= -0.5) & (x < width - 0.5) & (y >= -0.5) & (y < height - 0.5)
        column, row = (np.floor(np.where(inside, part, 0.0) + 0.5).astype(np.int32) for part in (x, y))
        numbers: NDArray[np.int32] = np.where(inside, row * np.int32(width) + column, np.int32(-1))
        return numbers

    @cached_property
    def rays(self) -> NDArray[np.float32]:
        """For every pixel (H, W, 3) the direction that it sees, z = 1 before `turn`; NaN where the lens sees none."""
        height, width = self.size
        rows, columns = np.mgrid[0.0:height, 0.0:width]
        x, y = self._undistort(np.stack([columns.ravel(), rows.ravel()], axis=1)).T
        rays = np.stack([x, y, np.ones_like(x)], axis=1) @ self.turn.T
        shaped: NDArray[np.float32] = rays.reshape(height, width, 3).astype(np.float32)
        return shaped

    @property
    def _fisheye(self) -> bool:
        return self.model in ("equidistant", "fisheye")

    @property
    def _bends(self) -> bool:
        # An equidistant lens without coefficients still is no pinhole.
        return self.coefficients.size > 0 or self._fisheye

    @cached_property
    def _edge(self) -> float:
        # Beyond some radius a distortion polynomial turns back and would show the same pixels again.
        if not self._bends:
            return WIDEST
        radius = np.tan(np.linspace(0, math.atan(WIDEST), 4096))
        straight = _polynomial(self, radius)
        falls = np.flatnonzero(np.diff(straight) <= 0)
        return float(radius[falls[0]]) if falls.size else WIDEST

    def _distort(self, x: Floats, y: Floats) -> tuple[Floats, Floats]:
        radius = np.hypot(x, y)
        scale = _polynomial(self, radius) / np.where(radius > 0, radius, 1.0)
        scale = np.where(radius > 1e-9, scale, 1.0)
        if self._fisheye:
            return x * scale, y * scale
        p1, p2 = self.coefficients[2:4]
        square = radius * radius
        return (
            x * scale + 2 * p1 * x * y + p2 * (square + 2 * x * x),
            y * scale + p1 * (square + 2 * y * y) + 2 * p2 * x * y,
        )

    def _undistort(self, pixels: Floats) -> Floats:
        (fx, skew, cx), (_, fy, cy), _ = self.matrix
        y = (pixels[:, 1] - cy) / fy
        bent = np.stack([(pixels[:, 0] - cx - skew * y) / fx, y], axis=1)
        if not self._bends:
            return bent
        # Of normalised points, so that a skew stays in one place; OpenCV takes the focal length to be 1 then.
        if self._fisheye:
            straight = cv2.fisheye.undistortPoints(bent[:, None], np.eye(3), _four(self.coefficients))
        else:
            ends = (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, 40, 1e-9)
            # OpenCV 4 has another name for it where the iterations are told.
            undistort = getattr(cv2, "undistortPointsIter", cv2.undistortPoints)
            straight = undistort(bent[:, None], np.eye(3), self.coefficients, R=None, P=None, criteria=ends)
        found: Floats = straight.reshape(-1, 2)
        found[~(np.hypot(*found.T) < self._edge)] = 0
        back = np.stack(self._distort(*found.T), axis=1)
        # What does not come back to its pixel was never seen through this lens.
        found[~(np.abs(back - bent).max(axis=1) < 0.1 / min(fx, fy))] = np.nan
        return found


def _four(coefficients: Floats) -> Floats:
    return coefficients if coefficients.size else np.zeros(4)


def _polynomial(lens: Lens, radius: Floats) -> Floats:
    """The distorted radius of an undistorted one, both for focal length 1, without tangential distortion."""
    if lens._fisheye:
        angle = np.arctan(radius)
        square = angle * angle
        k1, k2, k3, k4 = _four(lens.coefficients)
        bent: Floats = angle * (1 + square * (k1 + square * (k2 + square * (k3 + square * k4))))
        return bent
    # The order of OpenCV and ROS: k1, k2, p1, p2, k3, k4, k5, k6.
    k1, k2, _, _, k3, k4, k5, k6 = np.concatenate([lens.coefficients, np.zeros(8 - lens.coefficients.size)])
    square = radius * radius
    above = 1 + square * (k1 + square * (k2 + square * k3))
    ratio: Floats = radius * above / (1 + square * (k4 + square * (k5 + square * k6)))
    return ratio
