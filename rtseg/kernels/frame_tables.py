"""The tables of a geometry that the GPU kernels read: worked out once, packed into one array for one upload."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rtseg.geometry import Fit
from rtseg.kernels import tables

__all__ = ["Tables", "label_tables", "nearest_tables", "preprocess_tables"]


@dataclass(frozen=True, slots=True, eq=False)
class Tables:
    """A geometry's arrays by the names of the kernels' fields; `data` is all of them in one array, for one upload."""

    arrays: Mapping[str, NDArray[Any]]
    offsets: Mapping[str, int] = field(init=False)
    data: NDArray[np.uint8] = field(init=False)

    def __post_init__(self) -> None:
        offsets, size = {}, 0
        for name, array in self.arrays.items():
            offsets[name] = size
            size += -(-array.nbytes // 16) * 16
        data = np.zeros(max(size, 16), np.uint8)
        for name, array in self.arrays.items():
            data[offsets[name] : offsets[name] + array.nbytes] = np.ascontiguousarray(array).view(np.uint8).reshape(-1)
        object.__setattr__(self, "offsets", offsets)
        object.__setattr__(self, "data", data)


def preprocess_tables(fit: Fit, antialias: bool = True) -> Tables:
    """Where each row and column of the network's input comes from."""
    rows, columns = tables.taps(fit, antialias)
    height, width = fit.network
    padded = -(-width // 4) * 4
    y_start, y_count = np.full(height, -1, np.int32), np.zeros(height, np.int32)
    y_weight = np.zeros((height, rows.weight.shape[1]), np.float32)
    y_start[rows.first : rows.last], y_count[rows.first : rows.last] = rows.start, rows.count
    y_weight[rows.first : rows.last] = rows.weight
    x_start = np.full(padded, -1, np.int32)
    x_weight = np.zeros((columns.weight.shape[1], padded), np.float32)
    x_start[columns.first : columns.last] = columns.start
    x_weight[:, columns.first : columns.last] = columns.weight.T
    return Tables(
        {"x_start": x_start, "y_start": y_start, "y_count": y_count, "x_weight": x_weight, "y_weight": y_weight}
    )


def label_tables(fit: Fit, grid: tuple[int, int]) -> Tables:
    """Which cell of a grid of logits each frame row and column lies in; -1 outside the network's input."""
    arrays: dict[str, NDArray[Any]] = {}
    for name, axis, pixels in zip(("y", "x"), tables.cells(fit, grid), fit.frame, strict=True):
        cell = np.full(-(-pixels // 4) * 4, -1, np.int32)  # Read by fours.
        cell[axis.start[0] : axis.start[-1]] = np.repeat(np.arange(axis.start.size - 1), np.diff(axis.start))
        arrays[f"cell_{name}"], arrays[f"weight_{name}"] = cell, axis.weight[: cell.size]
    return Tables(arrays)


def nearest_tables(fit: Fit, grid: tuple[int, int]) -> Tables:
    """For each frame row and column the row or column of a label map; -1 outside."""
    rows, columns = tables.nearest(fit, grid)
    return Tables({"rows": rows, "columns": columns})
