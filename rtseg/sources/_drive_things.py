"""What stands and moves along the street of the scene `drive`, as flat faces with a class and a colour each."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["CLASSES", "Part", "Thing", "car", "cyclist", "fence", "house", "person", "pole", "sign", "tree"]

CLASSES = (
    "Sky",
    "Building",
    "Pole",
    "Road",
    "Pavement",
    "Tree",
    "SignSymbol",
    "Fence",
    "Car",
    "Pedestrian",
    "Bicyclist",
)
"""The 11 classes of CamVid in the order in which they are trained."""
SKY, BUILDING, POLE, ROAD, PAVEMENT, TREE, SIGN, FENCE, CAR, PEDESTRIAN, BICYCLIST = range(11)

Colour = tuple[float, float, float]
"""Blue, green, red, 0 to 255."""


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """One convex face: its label, its colour, and its corners (n, 3) in metres, Y counted from the thing's place."""

    kind: int
    colour: Colour
    corners: NDArray[np.float64]
    far: float


Thing = list[Part]
"""Faces in the order in which they are painted."""


def face(kind: int, colour: Colour, light: float, corners: list[tuple[float, float, float]]) -> Part:
    """A face of the given brightness."""
    blue, green, red = (min(255.0, value * light) for value in colour)
    points = np.array(corners, np.float64)
    return Part(kind, (blue, green, red), points, float(points[:, 1].max()))


def box(kind: int, colour: Colour, x: tuple[float, float], y: tuple[float, float], z: tuple[float, float]) -> Thing:
    """The faces of an upright box that a camera at X = 0 can see: inner side, front, and the top of low ones."""
    (x0, x1), (y0, y1), (z0, z1) = x, y, z
    parts = []
    if z1 < 1.5:
        parts.append(face(kind, colour, 1.15, [(x0, y0, z1), (x1, y0, z1), (x1, y1, z1), (x0, y1, z1)]))
    if x0 > 0 or x1 < 0:
        side = x0 if x0 > 0 else x1
        parts.append(face(kind, colour, 0.78, [(side, y0, z0), (side, y1, z0), (side, y1, z1), (side, y0, z1)]))
    parts.append(face(kind, colour, 1.0, [(x0, y0, z0), (x1, y0, z0), (x1, y0, z1), (x0, y0, z1)]))
    return parts


def disc(kind: int, colour: Colour, x: float, z: float, radius_x: float, radius_z: float, y: float = 0.0) -> Part:
    """An upright ellipse that faces the camera."""
    angles = np.arange(16) * (np.pi / 8)
    return face(
        kind,
        colour,
        1.0,
        [(x + radius_x * float(np.cos(a)), y, z + radius_z * float(np.sin(a))) for a in angles],
    )


def shade(random: np.random.Generator, low: float, high: float) -> Colour:
    """Any colour between two brightnesses."""
    blue, green, red = random.uniform(low, high, 3).tolist()
    return blue, green, red


def house(random: np.random.Generator, side: int, length: float) -> Thing:
    """A house front along the pavement, from its place back towards the camera, with windows."""
    height, wall = random.uniform(6, 13), 9.5 + random.uniform(0, 2)
    colour = shade(random, 80, 180)
    across = (wall, wall + 8) if side > 0 else (-wall - 8, -wall)
    parts = box(BUILDING, colour, across, (-length, 0), (0, height))
    edge = side * wall
    for storey in range(1, int(height / 3) + 1):
        for window in range(3):
            y0, z0 = -length + 1 + window * 3, storey * 3 - 1.8
            glass = [(edge, y0, z0), (edge, y0 + 1.6, z0), (edge, y0 + 1.6, z0 + 1.3), (edge, y0, z0 + 1.3)]
            parts.append(face(BUILDING, (80, 66, 54), 1.0, glass))
    return parts


def fence(side: int, length: float) -> Thing:
    """A fence along the pavement, from its place back towards the camera."""
    across = (9.5, 9.6) if side > 0 else (-9.6, -9.5)
    return box(FENCE, (70, 96, 120), across, (-length, 0), (0, 1.6))


def tree(random: np.random.Generator, x: float) -> Thing:
    """A trunk and a crown."""
    height, radius = random.uniform(4, 7), random.uniform(1.2, 2.0)
    green = random.uniform(0.8, 1.2)
    return [
        *box(TREE, (48, 62, 74), (x - 0.15, x + 0.15), (0, 0.3), (0, height)),
        disc(TREE, (44 * green, 88 * green, 62 * green), x, height, radius, radius),
        disc(TREE, (52 * green, 108 * green, 74 * green), x - 0.3, height + 0.4, radius * 0.6, radius * 0.6),
    ]


def pole(side: int) -> Thing:
    """A street lamp at the kerb."""
    x = side * 5.6
    arm = (x - 1.4, x) if side > 0 else (x, x + 1.4)
    return [
        *box(POLE, (112, 112, 112), (x - 0.09, x + 0.09), (0, 0.18), (0, 7)),
        *box(POLE, (120, 120, 120), arm, (0, 0.15), (6.9, 7.05)),
    ]


def sign(random: np.random.Generator, side: int) -> Thing:
    """A round traffic sign on its post."""
    x = side * 5.9
    colour: Colour = (60, 60, 214) if random.random() < 0.5 else (200, 110, 40)
    return [
        *box(POLE, (130, 130, 130), (x - 0.05, x + 0.05), (0, 0.1), (0, 2.2)),
        disc(SIGN, colour, x, 2.5, 0.42, 0.42),
        disc(SIGN, (235, 235, 235), x, 2.5, 0.26, 0.26),
    ]


def car(random: np.random.Generator, x: float) -> Thing:
    """A car of 1.8 by 4.2 metres centred on `x`, its rear at its place."""
    colour = shade(random, 40, 220)
    body = box(CAR, colour, (x - 0.9, x + 0.9), (0, 4.2), (0.3, 0.9))
    cabin = box(CAR, (72, 64, 58), (x - 0.75, x + 0.75), (0.8, 3.2), (0.9, 1.45))
    wheels = [disc(CAR, (34, 34, 34), x + dx, 0.32, 0.16, 0.32) for dx in (-0.7, 0.7)]
    return [*wheels, *cabin, *body]


def person(random: np.random.Generator, x: float) -> Thing:
    """A standing figure of about 1.75 metres."""
    coat = shade(random, 40, 200)
    return [
        *box(PEDESTRIAN, (70, 52, 46), (x - 0.18, x + 0.18), (0, 0.2), (0, 0.85)),
        *box(PEDESTRIAN, coat, (x - 0.25, x + 0.25), (0, 0.25), (0.8, 1.5)),
        disc(PEDESTRIAN, (140, 170, 205), x, 1.63, 0.12, 0.15),
    ]


def cyclist(random: np.random.Generator, x: float) -> Thing:
    """A rider on a bicycle, seen from behind."""
    shirt = shade(random, 60, 240)
    return [
        disc(BICYCLIST, (44, 44, 44), x, 0.36, 0.08, 0.36),
        *box(BICYCLIST, (84, 60, 50), (x - 0.16, x + 0.16), (0, 0.3), (0.5, 1.0)),
        *box(BICYCLIST, shirt, (x - 0.22, x + 0.22), (0.05, 0.35), (0.95, 1.5)),
        disc(BICYCLIST, (60, 60, 190), x, 1.63, 0.13, 0.15),
    ]
