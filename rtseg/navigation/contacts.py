"""Where obstacles touch the ground: the boundaries of a label map that have a place on flat ground.

What stands upright is seen along lines that run to the nadir, the pixel straight below the camera. So an obstacle's
contact is where, on the way to the nadir, an obstacle pixel is followed by ground. Of a pixel's eight neighbours two
enclose that direction, and both must be free of obstacles: with the nearest alone, each step of a jagged upright edge
would count as a contact far behind the thing. Where only one of them is free, what is AHEAD pixels farther on beside
the other decides: an upright edge is still there, the foot of a slanted wall is not. So within AHEAD pixels of the foot
of an upright edge there may be strays behind it. At the border of the picture an obstacle is at least that near.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from rtseg.frame import Labels
from rtseg.kernels.jit import jit
from rtseg.navigation.camera import Lens, Pose
from rtseg.navigation.rotations import Floats

__all__ = ["AHEAD", "Contacts", "Finder"]

OUTSIDE = 4
BLOCK = 8
"""Side, in pixels, of the squares that share one direction to the nadir."""
SLANTED, NOWHERE = 16, 255
AHEAD = 6
"""Pixels farther on that distinguish a slanted wall's foot from an upright edge."""
AROUND = 3
"""Pixels to each side of a contact in which obstacle pixels are counted."""
FIELDS = 9
"""Numbers of a contact: four corners of its ground (near left, near right, far left, far right), and its kind."""

Contacts = NDArray[np.float32]
"""(n, 9): x and y of the corners of one pixel's ground, the nearer edge first, metres; OBSTACLE or FLAT."""


class Finder:
    """Finds the contacts in label maps of one lens at one pose, as far as `reach` metres from the robot's origin.

    Of the 7x7 pixels around an obstacle's contact at least `least` must be obstacles: networks mislabel specks.
    """

    def __init__(self, lens: Lens, pose: Pose, reach: float, least: int = 0) -> None:
        self._least = least
        self._rays = lens.rays.reshape(-1)
        self._size = lens.size
        self._rotation = pose.rotation.astype(np.float64).reshape(-1)
        self._position = pose.position.astype(np.float64)
        self._reach = reach
        self._ways, self._probes = ways(lens, pose, reach + math.hypot(*pose.position[:2].tolist()))
        rows = np.flatnonzero((self._ways != NOWHERE).any(axis=1))
        self._first = int(rows[0]) * BLOCK if rows.size else 0
        self._last = min((int(rows[-1]) + 1) * BLOCK, lens.size[0]) if rows.size else 0
        self._out = np.empty((4096, FIELDS), np.float32)

    def find(self, labels: Labels, roles: NDArray[np.uint8]) -> Contacts:
        """The contacts in labels of the lens's size; `roles` (256,) says what each class is. Valid until the next call.

        Those of flat ground that is not drivable are where drivable ground ends.
        """
        while True:
            count = search(
                labels.reshape(-1), *self._size, roles, self._ways.reshape(-1), self._probes, self._ways.shape[1],
                self._rays, self._rotation, self._position, self._reach, self._least, self._first, self._last,
                self._out.reshape(-1),
            )  # fmt: skip
            if count <= len(self._out):
                return self._out[:count]
            self._out = np.empty((count * 5 // 4, FIELDS), np.float32)


def ways(lens: Lens, pose: Pose, reach: float) -> tuple[NDArray[np.uint8], NDArray[np.int8]]:
    """For each square of pixels its direction to the nadir, and the step (rows, columns) of AHEAD pixels that way.

    Directions are in sixteenths of a turn, from right by way of down, and SLANTED is added to those well off all eight
    neighbours; NOWHERE is for squares without ground nearer to the camera than `reach` metres.
    """
    height, width = lens.size
    across, down = (np.minimum(np.arange(-(-side // BLOCK) + 1) * BLOCK, side - 1) for side in (width, height))
    looks = (lens.rays[np.ix_(down, across)] @ pose.rotation.T).astype(np.float64)
    distance = pose.position[2] * np.hypot(looks[..., 0], looks[..., 1]) / np.maximum(-looks[..., 2], 1e-9)
    # A corner that the lens does not see does not decide for the square.
    near = np.where((looks[..., 2] < 0) & (distance <= reach), 1, 0)
    ground = near[:-1, :-1] | near[1:, :-1] | near[:-1, 1:] | near[1:, 1:]
    middles = (
        np.minimum(np.arange(n) * BLOCK + BLOCK // 2, side - 1) for n, side in zip(ground.shape, lens.size, strict=True)
    )
    rays = lens.rays[np.ix_(*middles)].reshape(-1, 3).astype(np.float64)
    lower = rays / np.linalg.norm(rays, axis=1, keepdims=True) - 1e-3 * pose.rotation[2]
    step = lens.pixels(lower) - lens.pixels(rays)
    turn = np.floor(np.arctan2(step[:, 1], step[:, 0]) * (8 / np.pi)) % 16
    probes = np.nan_to_num(np.round(AHEAD * step / np.maximum(np.hypot(*step.T), 1e-12)[:, None]))
    axis = np.floor((turn + 1) / 2) * (np.pi / 4)
    slant = np.abs(probes[:, 0] * np.round(np.sin(axis)) - probes[:, 1] * np.round(np.cos(axis))) > 1
    turn += SLANTED * slant
    known = (ground > 0) & np.isfinite(turn).reshape(ground.shape)
    found = np.where(known, np.nan_to_num(turn).reshape(ground.shape), NOWHERE).astype(np.uint8)
    return found, probes[:, ::-1].astype(np.int8).reshape(-1)


@jit
def shift(direction: int) -> tuple[int, int]:
    """Rows and columns of one step in an eighth of a turn, from right by way of down."""
    direction %= 8
    row = 0 if direction % 4 == 0 else (1 if direction < 4 else -1)
    column = 0 if direction % 4 == 2 else (-1 if 2 < direction < 6 else 1)
    return row, column


@jit
def neighbour(
    labels: Labels, height: int, width: int, roles: NDArray[np.uint8], row: int, column: int, direction: int
) -> int:
    """What the class of a neighbour is to the robot; OUTSIDE at the border of the picture."""
    down, right = shift(direction)
    row, column = row + down, column + right
    if 0 <= row < height and 0 <= column < width:
        return int(roles[labels[row * width + column]])
    return OUTSIDE


@jit
def crowd(labels: Labels, height: int, width: int, roles: NDArray[np.uint8], row: int, column: int) -> int:
    """How many pixels around one are obstacles, itself included."""
    count = 0
    for y in range(max(0, row - AROUND), min(height, row + AROUND + 1)):
        for x in range(max(0, column - AROUND), min(width, column + AROUND + 1)):
            count += roles[labels[y * width + x]] == 3
    return count


@jit
def land(
    rays: NDArray[np.float32], here: int, a: float, toward: int, b: float, side: int,
    rotation: Floats, position: Floats, reach: float, out: NDArray[np.float32], at: int,
) -> bool:  # fmt: skip
    """Write the ground seen `a` of the way to pixel `toward` and `b` of that to `side`; False if there is none."""
    x = rays[here] + a * (rays[toward] - rays[here]) + b * (rays[side] - rays[here])
    y = rays[here + 1] + a * (rays[toward + 1] - rays[here + 1]) + b * (rays[side + 1] - rays[here + 1])
    z = rays[here + 2] + a * (rays[toward + 2] - rays[here + 2]) + b * (rays[side + 2] - rays[here + 2])
    ahead = rotation[0] * x + rotation[1] * y + rotation[2] * z
    left = rotation[3] * x + rotation[4] * y + rotation[5] * z
    up = rotation[6] * x + rotation[7] * y + rotation[8] * z
    level = math.sqrt(ahead * ahead + left * left)
    # The far edge of a pixel may lie at the horizon; its ground then ends a little beyond reach.
    limit = (2 * reach + abs(position[0]) + abs(position[1])) / max(level, 1e-9)
    scale = min(position[2] / -up, limit) if up < 0 else limit
    out[at] = position[0] + scale * ahead
    out[at + 1] = position[1] + scale * left
    return math.isfinite(out[at]) and math.isfinite(out[at + 1])


@jit
def search(
    labels: Labels, height: int, width: int, roles: NDArray[np.uint8], ways_: NDArray[np.uint8],
    probes: NDArray[np.int8], across: int, rays: NDArray[np.float32], rotation: Floats, position: Floats, reach: float,
    least: int, first: int, last: int, out: NDArray[np.float32],
) -> int:  # fmt: skip
    """Write the contacts of rows `first` to `last` to `out` as far as they fit; returns how many there are."""
    count, room = 0, out.size // 9
    for row in range(first, last):
        for column in range(width):
            role = roles[labels[row * width + column]]
            if role < 2:
                continue
            square = row // 8 * across + column // 8
            way = ways_[square]
            if way == 255:
                continue
            # `near` is the step nearest to the direction, `other` the one on its other side.
            near = (way + 1) // 2 % 8
            ahead = neighbour(labels, height, width, roles, row, column, near)
            slanted = way >= SLANTED
            if ahead == 0 or (ahead == role and not slanted):
                continue
            if ahead != OUTSIDE:
                other = near + 1 if way % 2 == 0 else near - 1
                beside = neighbour(labels, height, width, roles, row, column, other)
                if ahead >= role:
                    # The direction lies well between both, and so may a wall's foot.
                    near, other, ahead, beside = other, near, beside, ahead
                if not 0 < ahead < role:
                    continue
                if OUTSIDE > beside >= role:
                    (down, right), (down2, right2) = shift(near), shift(other)
                    by_row = row + probes[square * 2] + down2 - down
                    by_column = column + probes[square * 2 + 1] + right2 - right
                    inside = 0 <= by_row < height and 0 <= by_column < width
                    if inside and roles[labels[by_row * width + by_column]] >= role:
                        continue
            elif role != 3:
                continue
            if role == 3 and crowd(labels, height, width, roles, row, column) < least:
                continue
            # Half a pixel towards the nadir, half a pixel to each side; at a border from the neighbours within.
            here, a, b = row * width + column, 0.5, 0.5
            down, right = shift(near)
            if ahead == OUTSIDE:
                down, right, a = -down, -right, -0.5
            to_row, to_column = row + down, column + right
            down, right = shift(near + 6)
            side_row, side_column = row + down, column + right
            if not (0 <= side_row < height and 0 <= side_column < width):
                side_row, side_column, b = row - down, column - right, -0.5
            if not (
                0 <= to_row < height and 0 <= to_column < width and 0 <= side_row < height and 0 <= side_column < width
            ):
                continue
            toward, side = (to_row * width + to_column) * 3, (side_row * width + side_column) * 3
            if count >= room:  # the caller comes again with more room
                count += 1
                continue
            begin = count * 9
            here *= 3
            good = land(rays, here, a, toward, b, side, rotation, position, reach, out, begin)
            good = good and land(rays, here, a, toward, -b, side, rotation, position, reach, out, begin + 2)
            good = good and land(rays, here, -a, toward, b, side, rotation, position, reach, out, begin + 4)
            good = good and land(rays, here, -a, toward, -b, side, rotation, position, reach, out, begin + 6)
            x, y = (out[begin] + out[begin + 2]) / 2, (out[begin + 1] + out[begin + 3]) / 2
            if good and x * x + y * y <= reach * reach:
                out[begin + 8] = role
                count += 1
    return count
