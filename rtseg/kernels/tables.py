"""Where pixels sample from: interpolation weights per row and column, computed once per geometry and kept."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from rtseg.geometry import Fit
from rtseg.kernels.simd import LANES
from rtseg.packages.spec import ModelSpec

__all__ = ["Axis", "Taps", "affine", "cells", "covered", "nearest", "samples", "taps"]

KEPT = 32
"""Geometries remembered; a run uses one or two."""


@dataclass(frozen=True, slots=True, eq=False)
class Axis:
    """How the pixels of one frame axis fall into the cells between grid samples.

    Cell j lies between samples max(j - 1, 0) and min(j, grid - 1): the first and the last one are the edges, where the
    sample is repeated. Its pixels are `start[j]:start[j + 1]`; `weight` (padded) is the share of the second sample.
    Pixels before `start[0]` and from `start[-1]` on are outside the network's input.
    """

    start: NDArray[np.int32]
    weight: NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class Taps:
    """The frame pixels that make each network pixel of one axis, for the network pixels `first` to `last`.

    Network pixel `first + i` is the sum of `weight[i, k]` times frame pixel `start[i] + k` for k below `count[i]`.
    """

    first: int
    last: int
    start: NDArray[np.int32]
    count: NDArray[np.int32]
    weight: NDArray[np.float32]


def _ratio(pixels: int, length: int, offset: int, network: int) -> tuple[NDArray[np.int64], int]:
    """Network coordinates of the pixel centres of a frame axis as exact fractions: numerators, denominator."""
    centres = 2 * np.arange(pixels, dtype=np.int64) + 1
    return centres * length + 2 * pixels * offset, 2 * pixels


def _cell_axis(pixels: int, length: int, offset: int, network: int, grid: int) -> Axis:
    """In whole numbers, so that a pixel exactly on a sample is not pushed into the wrong cell by rounding."""
    position, unit = _ratio(pixels, length, offset, network)
    inside = np.flatnonzero((position >= 0) & (position < unit * network))
    # Grid coordinate: position / unit * grid / network - 1/2.
    numerator, denominator = position * grid - pixels * network, unit * network
    cell = numerator // denominator
    weight = np.zeros(pixels + LANES, np.float32)
    weight[:pixels] = (numerator - cell * denominator) / denominator
    if not inside.size:
        return Axis(np.zeros(grid + 2, np.int32), weight)
    first, last = int(inside[0]), int(inside[-1]) + 1
    edges = np.searchsorted(cell[first:last], np.arange(-1, grid)) + first
    return Axis(np.append(edges, last).astype(np.int32), weight)


@lru_cache(KEPT)
def cells(fit: Fit, grid: tuple[int, int]) -> tuple[Axis, Axis]:
    """Rows and columns of a frame over a grid of logits of size (h, w) that covers the network's input."""
    return (
        _cell_axis(fit.frame[0], fit.height, fit.top, fit.network[0], grid[0]),
        _cell_axis(fit.frame[1], fit.width, fit.left, fit.network[1], grid[1]),
    )


def _nearest_axis(pixels: int, length: int, offset: int, network: int, grid: int) -> NDArray[np.int32]:
    position, unit = _ratio(pixels, length, offset, network)
    index = position * grid // (unit * network)
    return np.where((position >= 0) & (index < grid), index, -1).astype(np.int32)


@lru_cache(KEPT)
def nearest(fit: Fit, grid: tuple[int, int]) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """For each frame row and column the row or column of the grid whose area it lies in; -1 outside."""
    return (
        _nearest_axis(fit.frame[0], fit.height, fit.top, fit.network[0], grid[0]),
        _nearest_axis(fit.frame[1], fit.width, fit.left, fit.network[1], grid[1]),
    )


def _tap_axis(pixels: int, length: int, offset: int, network: int, antialias: bool) -> Taps:
    first, last = max(0, offset), max(max(0, offset), min(network, offset + length))
    scale = pixels / length
    support = max(scale, 1.0) if antialias else 1.0
    centre = (np.arange(first, last) - offset + 0.5) * scale
    start = np.maximum((centre - support + 0.5).astype(np.int64), 0)
    stop = np.minimum((centre + support + 0.5).astype(np.int64), pixels)
    position = start[:, None] + np.arange(max(1, int((stop - start).max(initial=1))))
    weight = np.maximum(0.0, 1.0 - np.abs((position + 0.5 - centre[:, None]) / support))
    weight[position >= stop[:, None]] = 0.0
    weight /= weight.sum(axis=1, keepdims=True)
    used = np.arange(1, weight.shape[1] + 1) * (weight > 0)
    count = used.max(axis=1, initial=1)
    widest = int(count.max(initial=1))
    return Taps(
        first,
        last,
        start.astype(np.int32),
        count.astype(np.int32),
        np.ascontiguousarray(weight[:, :widest], np.float32),
    )


@lru_cache(KEPT)
def taps(fit: Fit, antialias: bool) -> tuple[Taps, Taps]:
    """Rows and columns of the network's input as weighted sums of frame pixels: half-pixel centres, triangle filter.

    Shrinking with `antialias` widens the triangle by the scale, as Pillow and `torch…interpolate(antialias=True)` do.
    """
    return (
        _tap_axis(fit.frame[0], fit.height, fit.top, fit.network[0], antialias),
        _tap_axis(fit.frame[1], fit.width, fit.left, fit.network[1], antialias),
    )


def _covered_axis(length: int, offset: int, network: int, grid: int) -> NDArray[np.int32]:
    edges = np.arange(grid + 1, dtype=np.int64) * network
    spans = np.stack([edges[:-1] // grid, -(-edges[1:] // grid)], 1).clip(max(0, offset), min(network, offset + length))
    return spans.astype(np.int32)


@lru_cache(KEPT)
def covered(fit: Fit, grid: tuple[int, int]) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Of a grid over the network's input, the first and last pixel that show the frame, per row and column: (n, 2).

    Both are equal where none does.
    """
    return (
        _covered_axis(fit.height, fit.top, fit.network[0], grid[0]),
        _covered_axis(fit.width, fit.left, fit.network[1], grid[1]),
    )


@lru_cache(KEPT)
def samples(grid: int, fine: int, first: int, last: int) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """The two grid samples between which each cell `first` to `last` of a finer grid lies, and the second's share."""
    numerator, denominator = (2 * np.arange(first, last, dtype=np.int64) + 1) * grid - fine, 2 * fine
    cell = numerator // denominator
    share = ((numerator - cell * denominator) / denominator).astype(np.float32)
    return np.stack([cell, cell + 1], 1).clip(0, grid - 1).astype(np.int32), share


def affine(spec: ModelSpec) -> NDArray[np.float32]:
    """Per B, G, R (and an unused fourth): factor and summand of (x * scale - mean) / std; then the border's value."""
    order = (2, 1, 0) if spec.channels == "RGB" else (0, 1, 2)
    numbers = np.zeros(11)
    for channel, k in enumerate(order):
        if spec.dtype == "uint8":
            # The half makes the cut to whole numbers a rounding.
            border = round(spec.mean[k] / spec.scale) if spec.scale else 0
            numbers[[channel, 4 + channel, 8 + channel]] = 1.0, 0.5, min(max(border, 0), 255) + 0.5
        else:
            numbers[[channel, 4 + channel]] = spec.scale / spec.std[k], -spec.mean[k] / spec.std[k]
    return numbers.astype(np.float32)
