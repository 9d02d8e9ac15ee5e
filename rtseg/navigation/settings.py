"""Settings of free space and ranges, and what each class is to a robot."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rtseg.errors import ConfigError, nearest

__all__ = ["DRIVABLE", "FLAT", "OBSTACLE", "UNKNOWN", "GridSettings", "ScanSettings", "roles"]

UNKNOWN, DRIVABLE, FLAT, OBSTACLE = 0, 1, 2, 3
"""What a class is to a robot: nothing known, ground to drive on, other flat ground, what stands up."""


@dataclass(frozen=True, slots=True)
class GridSettings:
    """The grid's area in the robot frame, in metres, and the values of its cells.

    x from `near` to `near + length`, y from `-half_width` to `half_width`; cells farther from the robot's origin than
    `max_range` are unknown. `occupied` marks obstacles, `flat` the ground that is not to be driven on (both 0 to 100).
    """

    resolution: float = 0.1
    near: float = 0.0
    length: float = 20.0
    half_width: float = 10.0
    max_range: float = 20.0
    occupied: int = 100
    flat: int = 100

    def __post_init__(self) -> None:
        for name in ("resolution", "length", "half_width", "max_range"):
            _positive(f"grid {name}", getattr(self, name))
        if not math.isfinite(self.near):
            raise ConfigError(f"grid near is {self.near}, expected a finite number of metres")
        if not (0 <= self.occupied <= 100 and 0 <= self.flat <= 100):
            raise ConfigError(f"grid values are {self.occupied} and {self.flat}, expected 0 to 100")
        if math.prod(self.shape) > 16_000_000:
            raise ConfigError(f"a grid of {self.shape[0]}x{self.shape[1]} cells: use a coarser resolution")

    @property
    def shape(self) -> tuple[int, int]:
        """(rows, columns): cells along y and along x."""
        return max(1, round(2 * self.half_width / self.resolution)), max(1, round(self.length / self.resolution))


@dataclass(frozen=True, slots=True)
class ScanSettings:
    """Bearings in radians from the robot's x to the left, in steps of `increment`, and ranges in metres.

    Sector i is centred on `angle_min + i * increment`. With `flat`, the end of drivable ground counts as an obstacle.
    """

    angle_min: float = -math.pi / 2
    angle_max: float = math.pi / 2
    increment: float = math.radians(0.5)
    range_min: float = 0.0
    range_max: float = 20.0
    flat: bool = False

    def __post_init__(self) -> None:
        _positive("scan increment", self.increment)
        _positive("scan range_max", self.range_max)
        if not 0 <= self.range_min < self.range_max:
            raise ConfigError(f"scan range_min is {self.range_min}, expected 0 up to range_max ({self.range_max})")
        if not 0 <= self.angle_max - self.angle_min <= 2 * math.pi + 1e-6:
            raise ConfigError(
                f"scan angles are {self.angle_min} to {self.angle_max}, expected at most one turn upwards"
            )
        if self.count > 100_000:
            raise ConfigError(f"a scan of {self.count} sectors: use a larger increment")

    @property
    def count(self) -> int:
        """The number of sectors."""
        return int((self.angle_max - self.angle_min) / self.increment + 1e-6) + 1


def roles(
    classes: Sequence[str], drivable: Iterable[str], flat: Iterable[str] = (), ignored: Iterable[str] = ()
) -> NDArray[np.uint8]:
    """What each label is to the robot, uint8 (256,), from class names in any case.

    Classes that are not named stand up; `ignored` ones (sky) and labels that no class has are unknown. Errors:
    ConfigError for a name that is not a class or is named twice, and where nothing is drivable.
    """
    table = np.full(256, UNKNOWN, np.uint8)
    table[: len(classes)] = OBSTACLE
    lowered = [known.lower() for known in classes]
    taken: set[int] = set()
    for role, names in ((DRIVABLE, drivable), (FLAT, flat), (UNKNOWN, ignored)):
        for name in names:
            if name.lower() not in lowered:
                raise ConfigError(f"no class '{name}' in this model: {nearest(name, classes)}")
            label = lowered.index(name.lower())
            if label in taken:
                raise ConfigError(f"class '{name}' is named twice among drivable, flat and ignored classes")
            taken.add(label)
            table[label] = role
    if not (table == DRIVABLE).any():
        raise ConfigError(f"no class is drivable: name at least one of {', '.join(classes)}")
    return table


def _positive(name: str, value: float) -> None:
    if not (value > 0 and math.isfinite(value)):
        raise ConfigError(f"{name} is {value}, expected more than 0")
