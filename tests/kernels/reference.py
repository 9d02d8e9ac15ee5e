"""The kernels' definitions in plain float64 NumPy and torch, slow and obvious."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from rtseg.geometry import Fit
from rtseg.packages.spec import ModelSpec


def _axis(pixels: int, length: int, offset: int, network: int, grid: int) -> tuple[Any, Any, Any, Any]:
    network_position = (np.arange(pixels) + 0.5) * length / pixels + offset
    position = np.clip(network_position * grid / network - 0.5, 0, grid - 1)
    low = np.floor(position).astype(int)
    inside = (network_position >= 0) & (network_position < network)
    return low, np.minimum(low + 1, grid - 1), position - low, inside


def upsampled(
    scores: NDArray[Any], size: tuple[int, int], fit: Fit | None = None
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Interpolated scores (C, H, W) and which pixels lie in the network's input."""
    grid = scores.shape[1:]
    fit = fit or Fit(size, (grid[0], grid[1]), 0, 0, grid[0], grid[1])
    y0, y1, wy, in_y = _axis(size[0], fit.height, fit.top, fit.network[0], grid[0])
    x0, x1, wx, in_x = _axis(size[1], fit.width, fit.left, fit.network[1], grid[1])
    values = scores.astype(np.float64)
    rows = values[:, y0] * (1 - wy)[None, :, None] + values[:, y1] * wy[None, :, None]
    return rows[:, :, x0] * (1 - wx) + rows[:, :, x1] * wx, in_y[:, None] & in_x


def tame(scores: NDArray[Any]) -> NDArray[np.float64]:
    """What the label kernel makes of values that are not finite."""
    return np.clip(np.nan_to_num(scores.astype(np.float64), nan=-1e30, posinf=1e30, neginf=-1e30), -1e30, 1e30)


def check_labels(
    labels: NDArray[np.uint8], scores: NDArray[np.float64], inside: NDArray[np.bool_], ignore: int = 255
) -> None:
    """Labels must be the argmax of `scores`, except where the two best are closer than float32 can tell."""
    assert (labels[~inside] == ignore).all()
    if not inside.any():
        return
    picked = np.where(inside, labels, 0).astype(int)
    assert picked.max() < len(scores)
    best = scores.max(axis=0)
    chosen = np.take_along_axis(scores, picked[None], axis=0)[0]
    finite = scores[np.abs(scores) < 1e20]
    scale = np.maximum(np.abs(best), np.abs(finite).max(initial=1.0))
    behind = (best - chosen) / scale
    assert behind[inside].max() < 1e-6
    ties = (scores >= best - 1e-6 * scale).sum(axis=0) > 1
    clear = inside & ~ties
    np.testing.assert_array_equal(labels[clear], scores.argmax(axis=0)[clear])


def network_input(image: NDArray[np.uint8], spec: ModelSpec, fit: Fit, antialias: bool) -> NDArray[np.float64]:
    """The input tensor, 1x3xHxW float64, by torch."""
    pixels = torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1))).double()[None]
    # torch 2.13 mixes up rows where it antialiases to a width of 1 (not to a height of 1), so that goes on its side.
    turned = fit.width == 1
    resized = torch.nn.functional.interpolate(
        pixels.mT.contiguous() if turned else pixels,
        size=(fit.width, fit.height) if turned else (fit.height, fit.width),
        mode="bilinear",
        align_corners=False,
        antialias=antialias,
    )
    resized = (resized.mT if turned else resized).numpy()[0]
    if spec.channels == "RGB":
        resized = resized[::-1]
    mean, std = (np.array(values)[:, None, None] for values in (spec.mean, spec.std))
    if spec.dtype == "uint8":
        tensor = np.round(mean / spec.scale).clip(0, 255) + np.zeros((3, *fit.network))
    else:
        resized, tensor = (resized * spec.scale - mean) / std, np.zeros((3, *fit.network))
    for y in range(max(0, fit.top), min(fit.network[0], fit.top + fit.height)):
        left, right = max(0, fit.left), min(fit.network[1], fit.left + fit.width)
        tensor[:, y, left:right] = resized[:, y - fit.top, left - fit.left : right - fit.left]
    return tensor[None]
