"""The scene `shapes`: circles, rectangles and triangles that bounce over a shaded background."""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.typing import NDArray

from rtseg.frame import Image, Labels

__all__ = ["ShapesScene"]

COUNT = 12


class ShapesScene:
    """Twelve shapes; a later one covers an earlier one. Labels: 0 background, then one class per kind of shape."""

    classes: tuple[str, ...] = ("background", "circle", "rectangle", "triangle")

    def __init__(self, size: tuple[int, int], rate: float, seed: int) -> None:
        self._size, self._rate = size, rate
        height, width = size
        random = np.random.default_rng((seed, 0x5AE5))
        rows = np.linspace(40, 110, height)[:, None, None]
        columns = np.linspace(0, 40, width)[None, :, None]
        grain = random.integers(-12, 13, (height, width, 1))
        tint = np.array([1.0, 0.9, 0.8])
        self._background = np.clip((rows + columns + grain) * tint, 0, 255).astype(np.uint8)
        self._kinds = [1 + index % 3 for index in range(COUNT)]
        self._radii = random.uniform(0.06, 0.16, COUNT) * min(size)
        self._starts = random.uniform(0, 2, (COUNT, 2))
        self._speeds = random.uniform(0.1, 0.4, (COUNT, 2))
        self._turns = random.uniform(-1.5, 1.5, COUNT)
        self._colours = random.integers(60, 256, (COUNT, 3)).tolist()

    def render(self, index: int) -> tuple[Image, Labels]:
        """Frame `index` as (image, labels); positions follow a triangle wave, so that they never leave the frame."""
        height, width = self._size
        image, labels = self._background.copy(), np.zeros(self._size, np.uint8)
        seconds = index / self._rate
        for shape in range(COUNT):
            phase = (self._starts[shape] + self._speeds[shape] * seconds) % 2
            y, x = (1 - np.abs(phase - 1)) * (height - 1, width - 1)
            radius, turn = self._radii[shape], self._turns[shape] * seconds
            outline = outline_of(self._kinds[shape], float(x), float(y), float(radius), float(turn))
            cv2.fillPoly(image, [outline], self._colours[shape])
            cv2.fillPoly(labels, [outline], self._kinds[shape])
        return image, labels


def outline_of(kind: int, x: float, y: float, radius: float, turn: float) -> NDArray[np.int32]:
    """Corner points, pixels as (x, y), of a circle (1), rectangle (2) or triangle (3) turned by `turn` radians."""
    corners = {1: 32, 2: 4, 3: 3}[kind]
    angles = turn + (np.arange(corners) + 0.5) * (2 * math.pi / corners)
    squeeze = 0.6 if kind == 2 else 1.0
    points = np.stack([np.cos(angles) * radius, np.sin(angles) * radius * squeeze], axis=1)
    outline: NDArray[np.int32] = np.round(points + np.array([x, y])).astype(np.int32)
    return outline
