"""Label maps cast ray by ray in float64 for any camera: the truth that projections are held against.

Nothing here uses rtseg's geometry; rotations and lenses are OpenCV's.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np

from rtseg.messages import records as messages

SKY, ROAD, PAVEMENT, BOX = range(4)
CLASSES = ("Sky", "Road", "Pavement", "Box")
ROAD_HALF = 5.0
Box = tuple[float, float, float, float, float]
"""x0, x1, y0, y1 and height in the robot frame, metres; it stands on the ground."""


@dataclass(frozen=True)
class Camera:
    """A camera on a robot, angles in degrees: tilt down, yaw left, roll clockwise as seen from behind."""

    size: tuple[int, int] = (240, 320)
    focal: float = 280.0
    height: float = 1.5
    tilt: float = 4.0
    x: float = 0.0
    y: float = 0.0
    yaw: float = 0.0
    roll: float = 0.0
    model: str = "plumb_bob"
    d: tuple[float, ...] = ()

    @property
    def k(self) -> Any:
        rows, columns = self.size
        return np.array([[self.focal, 0, (columns - 1) / 2], [0, self.focal, (rows - 1) / 2], [0, 0, 1.0]])

    @property
    def position(self) -> Any:
        return np.array([self.x, self.y, self.height])

    @property
    def axes(self) -> Any:
        """Optical axes as columns, in the robot frame: rolled about x, then tilted about y, then turned about z."""
        forward = np.array([[0, 0, 1.0], [-1, 0, 0], [0, -1, 0]])
        angles = ((0, 0, self.yaw), (0, self.tilt, 0), (self.roll, 0, 0))
        yaw, tilt, roll = (cv2.Rodrigues(np.radians(np.array(angle, float)))[0] for angle in angles)
        return yaw @ tilt @ roll @ forward

    @property
    def wide(self) -> bool:
        return self.model == "equidistant"

    def info(self) -> Any:
        region = messages.build(
            "sensor_msgs/msg/RegionOfInterest", x_offset=0, y_offset=0, height=0, width=0, do_rectify=False
        )
        return messages.build(
            messages.CAMERA_INFO,
            header=messages.header(0, "camera"),
            height=self.size[0],
            width=self.size[1],
            distortion_model=self.model,
            d=np.array(self.d, np.float64),
            k=self.k.reshape(-1),
            r=np.eye(3).reshape(-1),
            p=np.concatenate([self.k, np.zeros((3, 1))], axis=1).reshape(-1),
            binning_x=0,
            binning_y=0,
            roi=region,
        )

    def looks(self) -> Any:
        """(H, W, 3) the direction of every pixel in the robot frame."""
        rows, columns = np.mgrid[0.0 : self.size[0], 0.0 : self.size[1]]
        pixels = np.stack([columns, rows], axis=-1).reshape(-1, 1, 2)
        if self.wide:
            flat = cv2.fisheye.undistortPoints(pixels, self.k, np.array(self.d or (0, 0, 0, 0), float))
        else:
            ends = (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, 60, 1e-10)
            undistort = getattr(cv2, "undistortPointsIter", cv2.undistortPoints)  # the name in OpenCV 4
            flat = undistort(pixels, self.k, np.array(self.d or (0,) * 5, float), R=None, P=None, criteria=ends)
        rays = np.concatenate([flat.reshape(-1, 2), np.ones((len(pixels), 1))], axis=1)
        return (rays @ self.axes.T).reshape(*self.size, 3)

    def project(self, points: Any) -> Any:
        """Pixels (n, 2) of points in the robot frame; NaN behind the camera."""
        if not len(points):
            return np.empty((0, 2))
        seen = (np.asarray(points, float) - self.position) @ self.axes
        front = seen[:, 2] > 0.05
        flat = np.where(front[:, None], seen, [0, 0, 1.0])
        zero = np.zeros(3)
        if self.wide:
            found = cv2.fisheye.projectPoints(
                flat.reshape(-1, 1, 3), zero, zero, self.k, np.array(self.d or (0, 0, 0, 0), float)
            )[0]
        else:
            found = cv2.projectPoints(flat, zero, zero, self.k, np.array(self.d or (0,) * 5, float))[0]
        found = found.reshape(-1, 2)
        found[~front] = np.nan
        return found


def cast(directions: Any, position: Any, boxes: tuple[Box, ...] = ()) -> Any:
    """What rays (..., 3) from `position` meet first: a box, the road along x, the pavement beside it, or the sky."""
    dx, dy, dz = np.moveaxis(np.asarray(directions, float), -1, 0)
    with np.errstate(divide="ignore", invalid="ignore"):
        ground = np.where(dz < 0, -position[2] / dz, np.inf)
        y = position[1] + np.where(np.isfinite(ground), ground, 0) * dy
        labels = np.where(~np.isfinite(ground), SKY, np.where(np.abs(y) <= ROAD_HALF, ROAD, PAVEMENT))
        for x0, x1, y0, y1, height in boxes:
            enter, leave = np.zeros_like(dx), ground
            for step, low, high, origin in ((dx, x0, x1, 0), (dy, y0, y1, 1), (dz, 0.0, height, 2)):
                one, two = (low - position[origin]) / step, (high - position[origin]) / step
                enter, leave = np.maximum(enter, np.minimum(one, two)), np.minimum(leave, np.maximum(one, two))
            labels = np.where(enter < leave, BOX, labels)
    return labels.astype(np.uint8)


def picture(camera: Camera, boxes: tuple[Box, ...] = ()) -> Any:
    """The label map that the camera sees."""
    return cast(camera.looks(), camera.position, boxes)


def distance(bearings: Any, box: Box) -> Any:
    """How far the box is from the robot's origin along bearings, in the plane; inf where it is not."""
    x0, x1, y0, y1, _ = box
    with np.errstate(divide="ignore"):
        cosine, sine = np.cos(bearings), np.sin(bearings)
        spans = [np.sort([low / part, high / part], axis=0) for part, low, high in ((cosine, x0, x1), (sine, y0, y1))]
    enter, leave = np.maximum(spans[0][0], spans[1][0]), np.minimum(spans[0][1], spans[1][1])
    return np.where((enter <= leave) & (enter > 0), enter, np.inf)


PLAIN = Camera()
CAMERAS = {
    "level": replace(PLAIN, tilt=0.0),
    "plain": PLAIN,
    "tilted": replace(PLAIN, tilt=30.0, height=2.0),
    "down": replace(PLAIN, tilt=75.0, height=7.0, x=0.5),
    "rolled": replace(PLAIN, roll=20.0, tilt=12.0),
    "rolled the other way": replace(PLAIN, roll=-35.0, tilt=20.0),
    "upright": replace(PLAIN, roll=90.0, tilt=10.0),
    "offset": replace(PLAIN, x=0.8, y=-0.5, yaw=17.0, tilt=10.0),
    "barrel": replace(PLAIN, d=(-0.28, 0.07, 0.001, -0.002, 0.0), tilt=10.0),
    "rational": replace(PLAIN, model="rational_polynomial", d=(0.4, 0.1, 1e-3, 1e-3, 0.02, 0.7, 0.2, 0.03), tilt=10.0),
    "fisheye": replace(PLAIN, model="equidistant", d=(0.02, -0.01, 0.003, 0.0), focal=160.0, tilt=25.0),
    "fisheye without coefficients": replace(PLAIN, model="equidistant", focal=160.0, tilt=25.0, roll=10.0),
}


def radians(*degrees: float) -> tuple[float, ...]:
    return tuple(map(math.radians, degrees))
