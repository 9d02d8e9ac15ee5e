"""From contacts to what they mark: cells of a grid and sectors of a scan."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from rtseg.kernels.jit import jit

__all__ = ["sectors", "stamp"]


@jit
def stamp(
    contacts: NDArray[np.float32], cells: NDArray[np.int8], rows: int, columns: int, left: float, low: float,
    resolution: float, reach: float, value: int,
) -> None:  # fmt: skip
    """Mark the cells of a grid, whose lower corner is (`left`, `low`), that the ground of obstacle contacts covers."""
    for n in range(contacts.size // 9):
        c = contacts[n * 9 : n * 9 + 9]
        if c[8] != 3:
            continue
        # Samples are at most half a cell apart, so that no cell between two of them is passed over.
        wide = max(math.hypot(c[2] - c[0], c[3] - c[1]), math.hypot(c[6] - c[4], c[7] - c[5]))
        deep = max(math.hypot(c[4] - c[0], c[5] - c[1]), math.hypot(c[6] - c[2], c[7] - c[3]))
        over = 1 + int(min(wide, reach) / resolution * 2)
        away = 1 + int(min(deep, reach) / resolution * 2)
        for i in range(away):
            v = i / away
            for j in range(over + 1):
                u = j / over
                near_x, near_y = c[0] + u * (c[2] - c[0]), c[1] + u * (c[3] - c[1])
                x = near_x + v * (c[4] + u * (c[6] - c[4]) - near_x)
                y = near_y + v * (c[5] + u * (c[7] - c[5]) - near_y)
                column, row = math.floor((x - left) / resolution), math.floor((y - low) / resolution)
                if 0 <= row < rows and 0 <= column < columns and x * x + y * y <= reach * reach:
                    cells[row * columns + column] = value


@jit
def sectors(
    contacts: NDArray[np.float32], ranges: NDArray[np.float32], first: float, step: float, reach: float, kind: int
) -> None:
    """Lower each bearing's range to the nearest contact of a kind of at least `kind` in its sector."""
    for n in range(contacts.size // 9):
        c = contacts[n * 9 : n * 9 + 9]
        if c[8] < kind:
            continue
        distance = math.hypot((c[0] + c[2]) / 2, (c[1] + c[3]) / 2)
        if distance > reach:
            continue
        one, two = math.atan2(c[1], c[0]), math.atan2(c[3], c[2])
        width = (two - one + 3 * math.pi) % (2 * math.pi) - math.pi
        start = one if width >= 0 else two
        lower = math.floor((start - first) / step + 0.5)
        upper = math.floor((start + abs(width) - first) / step + 0.5)
        for place in range(lower, upper + 1):
            # A bearing may be written a whole turn higher or lower than the scan's angles.
            for turn in range(-1, 2):
                sector = round(place + turn * 2 * math.pi / step)
                if 0 <= sector < ranges.size:
                    ranges[sector] = min(ranges[sector], distance)
