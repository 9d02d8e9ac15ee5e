"""The scene `drive`: a straight street on flat ground, seen by a camera of known height, tilt and focal length."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from rtseg.frame import Image, Labels
from rtseg.sources._drive_things import (
    CLASSES,
    PAVEMENT,
    ROAD,
    SKY,
    TREE,
    Thing,
    car,
    cyclist,
    fence,
    house,
    person,
    pole,
    sign,
    tree,
)

__all__ = ["DriveCamera", "DriveScene"]

SPEED = 9.0
"""The camera's speed along the street, metres per second."""
ROAD_HALF = 5.0
"""Half the width of the road, metres; pavement lies beyond."""
FAR = 140.0
NEAR = 1.2
SLOT = 10.0
"""Length of street, metres, that is furnished at a time."""


@dataclass(frozen=True)
class DriveCamera:
    """A pinhole camera over flat ground: `height` metres up, looking along the street, tilted down by `tilt` radians.

    `focal` is in pixels, (`centre_x`, `centre_y`) the principal point in pixel coordinates whose integers are pixel
    centres. The world is X to the right, Y along the street, Z up, in metres, from the ground below the camera.
    """

    focal: float
    centre_x: float
    centre_y: float
    height: float = 1.5
    tilt: float = math.radians(4)

    @classmethod
    def for_size(cls, size: tuple[int, int]) -> DriveCamera:
        """The camera of a frame of (height, width): 60 degrees across the longer side."""
        height, width = size
        return cls(max(size) / 2 / math.tan(math.radians(30)), (width - 1) / 2, (height - 1) / 2)

    @property
    def horizon(self) -> float:
        """The image row, in pixels, of points infinitely far away on the ground."""
        return self.centre_y - self.focal * math.tan(self.tilt)

    def project(self, points: Any) -> NDArray[np.float64]:
        """Pixels (x, y) of world points (X, Y, Z), shape (n, 3), which must lie in front of the camera."""
        x, y, z = np.asarray(points, np.float64).T
        down = self.height - z
        cosine, sine = math.cos(self.tilt), math.sin(self.tilt)
        depth = y * cosine + down * sine
        return np.stack(
            [self.centre_x + self.focal * x / depth, self.centre_y + self.focal * (down * cosine - y * sine) / depth],
            axis=1,
        )

    def ground(self, pixels: Any) -> NDArray[np.float64]:
        """World points (X, Y) on the ground, metres, seen at pixels (x, y) below the horizon; shape (n, 2)."""
        u, v = np.asarray(pixels, np.float64).T
        right, below = (u - self.centre_x) / self.focal, (v - self.centre_y) / self.focal
        cosine, sine = math.cos(self.tilt), math.sin(self.tilt)
        scale = self.height / (below * cosine + sine)
        return np.stack([right * scale, (cosine - below * sine) * scale], axis=1)


class DriveScene:
    """A street with lane marks, pavements, buildings, trees, fences, poles, signs, traffic and people.

    The picture and the label map are filled with the same polygons, so labels are exact; lane marks are Road, windows
    Building. `camera` is the geometry, `travelled(index)` how far it has come, in metres.
    """

    classes: tuple[str, ...] = CLASSES

    def __init__(self, size: tuple[int, int], rate: float, seed: int) -> None:
        self._size, self._rate, self._seed = size, rate, seed
        self.camera = DriveCamera.for_size(size)
        self._furniture = lru_cache(maxsize=128)(self._furnish)
        self._backdrop, self._backdrop_labels = self._paint_backdrop()

    def travelled(self, index: int) -> float:
        """Metres from the start of the street at frame `index`."""
        return SPEED * index / self._rate

    def render(self, index: int) -> tuple[Image, Labels]:
        """Frame `index` as (image HWC uint8 BGR, labels HW uint8)."""
        image, labels = self._backdrop.copy(), self._backdrop_labels.copy()
        position = self.travelled(index)
        self._lane_marks(image, position)
        things = self._traffic(index)
        first = int((position + NEAR) // SLOT) - 1
        for slot in range(first, first + int(FAR / SLOT) + 2):
            things += [(y - position, thing) for y, thing in self._furniture(slot)]
        # From far to near, so that what is nearer covers what is farther.
        things.sort(key=lambda item: -item[0])
        parts = [(part, distance) for distance, thing in things for part in thing if distance + part.far > NEAR]
        corners = np.concatenate([part.corners + np.array([0, distance, 0]) for part, distance in parts])
        corners[:, 1] = np.maximum(corners[:, 1], NEAR)
        outlines = fixed(self.camera.project(corners))
        begin = 0
        for part, _ in parts:
            outline = outlines[begin : begin + len(part.corners)]
            begin += len(part.corners)
            cv2.fillConvexPoly(image, outline, part.colour, shift=4)
            cv2.fillConvexPoly(labels, outline, part.kind, shift=4)
        return image, labels

    def _paint_backdrop(self) -> tuple[Image, Labels]:
        """What never changes: sky, a line of far trees, road and pavement, all with a little grain."""
        height, width = self._size
        horizon = self.camera.horizon
        rows, columns = np.mgrid[0:height, 0:width]
        # Pixels above the horizon see no ground; any point below it will do for them.
        below = np.maximum(rows, math.floor(horizon) + 1)
        ground = self.camera.ground(np.stack([columns.ravel(), below.ravel()], axis=1)).reshape(height, width, 2)
        sky = rows <= horizon
        road = ~sky & (np.abs(ground[..., 0]) <= ROAD_HALF)
        labels = np.where(sky, SKY, np.where(road, ROAD, PAVEMENT)).astype(np.uint8)
        treeline = horizon - self.camera.focal * (0.025 + 0.01 * np.sin(columns * 40 / width + self._seed))
        labels[sky & (rows >= treeline)] = TREE
        colours = np.zeros((len(CLASSES), 3))
        colours[[SKY, ROAD, PAVEMENT, TREE]] = (225, 190, 150), (92, 90, 88), (128, 140, 148), (60, 92, 66)
        fade = np.where(sky, 1 + 0.12 * rows / max(1.0, horizon), 1.0)[..., None]
        grain = np.random.default_rng((self._seed, 0xD21E)).integers(-9, 10, (height, width, 1))
        return np.clip(colours[labels] * fade + grain, 0, 255).astype(np.uint8), labels

    def _lane_marks(self, image: Image, position: float) -> None:
        """Dashes in the middle, lines at the edges; they are part of the road, so labels stay."""
        marks = [(-ROAD_HALF + 0.15, -ROAD_HALF + 0.3, NEAR, FAR), (ROAD_HALF - 0.3, ROAD_HALF - 0.15, NEAR, FAR)]
        start = -(position % 6.0)
        marks += [(-0.08, 0.08, max(NEAR, start + 6 * n), start + 6 * n + 3) for n in range(int(FAR / 6))]
        for x0, x1, y0, y1 in marks:
            if y1 > y0:
                corners = self.camera.project([(x0, y0, 0), (x1, y0, 0), (x1, y1, 0), (x0, y1, 0)])
                cv2.fillConvexPoly(image, fixed(corners), (214, 220, 222), shift=4)

    def _furnish(self, slot: int) -> list[tuple[float, Thing]]:
        """What stands along one slot of the street: (metres from its start, thing)."""
        random = np.random.default_rng((self._seed, slot % 2**32))
        things: list[tuple[float, Thing]] = []
        start = slot * SLOT
        for side in (-1, 1):
            # A house or fence is placed by its far end, so that what stands in front of it is painted later.
            if random.random() < 0.75:
                things.append((start + SLOT, house(random, side, SLOT)))
            else:
                things.append((start + SLOT + 0.1, tree(random, side * random.uniform(12, 15))))
                things.append((start + SLOT, fence(side, SLOT)))
            if random.random() < 0.5:
                things.append((start + 4, tree(random, side * random.uniform(8, 8.6))))
            if slot % 3 == 0:
                things.append((start + 2, pole(side)))
            if random.random() < 0.3:
                things.append((start + 6, sign(random, side)))
            if random.random() < 0.35:
                things.append((start + 5, car(random, side * 4.1)))
        return things

    def _traffic(self, index: int) -> list[tuple[float, Thing]]:
        """What moves: oncoming and leading cars, cyclists, and people on the pavements."""
        random = np.random.default_rng((self._seed, 0x7AFF))
        seconds = index / self._rate
        things: list[tuple[float, Thing]] = []
        for number in range(10):
            x, speed, make = (
                (-2.4, -SPEED, car),
                (2.4, SPEED + 1.5, car),
                (3.9, 4.0, cyclist),
                (6.3, 1.3, person),
                (-6.4, -1.2, person),
            )[number % 5]
            # Each comes round again after FAR metres, as seen from the camera.
            ahead = (random.uniform(0, FAR) + (speed - SPEED) * seconds) % FAR
            things.append((ahead, make(random, x)))
        return things


def fixed(points: NDArray[np.float64]) -> NDArray[np.int32]:
    # OpenCV takes corners in sixteenths of a pixel; far outside the frame they must not overflow.
    return np.round(np.clip(points, -30000, 30000) * 16).astype(np.int32)
