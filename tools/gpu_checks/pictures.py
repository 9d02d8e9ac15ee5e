"""Frames and logits to measure with: those of a street, and the worst case."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from rtseg.backends import open_backend
from rtseg.errors import RtsegError
from rtseg.segmenter.host import HostSegmenter
from rtseg.sources.synthetic import SyntheticSource

__all__ = ["drive", "logits", "model_logits", "noise", "nv12", "to_grid"]

STEP = 25
"""Frames of the scene between two pictures, so that their content differs."""
CPU_BACKENDS = ("openvino", "onnxruntime", "torch")


def drive(size: tuple[int, int], count: int) -> list[NDArray[np.uint8]]:
    """`count` frames of synthetic:drive at (height, width), BGR."""
    source = SyntheticSource("drive", size=size, length=0)
    return [source.render(STEP * index)[0] for index in range(count)]


def nv12(image: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Luma HxW and chroma H/2 x W/2 x 2, U before V, of a BGR image of even sides."""
    height, width = image.shape[:2]
    planes = cv2.cvtColor(image, cv2.COLOR_BGR2YUV_I420)
    quarter = height * width // 4
    luma, rest = planes[:height], planes[height:].reshape(-1)
    chroma = np.stack([rest[:quarter], rest[quarter : 2 * quarter]], 1).reshape(height // 2, width // 2, 2)
    return np.ascontiguousarray(luma), np.ascontiguousarray(chroma)


def model_logits(model: str, image: NDArray[np.uint8]) -> tuple[NDArray[np.float32], str]:
    """A shipped model's logits (classes, h, w) on a frame, computed on the CPU, and by which backend.

    Errors: RtsegError naming every backend's reason where none works.
    """
    reasons = []
    for name in CPU_BACKENDS:
        try:
            with open_backend(name, model) as backend:
                segmenter = HostSegmenter(backend)
                backend.submit(segmenter.preprocess(image)[0])
                return np.array(backend.collect(), np.float32), f"{model} by {name} on synthetic:drive"
        except RtsegError as exc:
            reasons.append(f"{name}: {exc}")
    raise RtsegError("; ".join(reasons))


def logits(model: str, image: NDArray[np.uint8]) -> tuple[NDArray[np.float32], str]:
    """A model's logits as of `model_logits`, or smooth random ones where none runs here, and which they are."""
    try:
        return model_logits(model, image)
    except RtsegError as exc:
        coarse = np.random.default_rng(1).normal(0, 5, (11, 6, 10)).astype(np.float32)
        return coarse, f"smooth random regions, as no model runs on the CPU here: {exc}"


def to_grid(logits: NDArray[np.float32], classes: int, grid: tuple[int, int], dtype: Any) -> NDArray[Any]:
    """Logits of as many classes at another grid. More classes than there are repeat the others, moved and lowered."""
    planes = [cv2.resize(plane, (grid[1], grid[0]), interpolation=cv2.INTER_LINEAR) for plane in logits[:classes]]
    known = len(planes)
    while len(planes) < classes:
        planes.append(np.roll(planes[len(planes) - known], grid[1] // 3, axis=1) - np.float32(1.5))
    return np.ascontiguousarray(np.stack(planes), dtype)


def noise(classes: int, grid: tuple[int, int], dtype: Any) -> NDArray[Any]:
    """Logits whose winner changes from sample to sample: every cell lies on a boundary."""
    return np.random.default_rng(1).normal(0, 3, (classes, *grid)).astype(dtype)
