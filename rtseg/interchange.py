"""Label maps in the forms that other libraries take; the only importer of Pillow, pycocotools and supervision."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from rtseg.registry import require

__all__ = ["UNLABELLED", "coco_rle", "masks", "pil", "supervision"]

UNLABELLED = 255
"""The label of a pixel that belongs to no class."""


def masks(labels: NDArray[np.uint8], classes: tuple[str, ...]) -> dict[str, NDArray[np.bool_]]:
    """A boolean HW mask for each class that HW uint8 `labels` hold, by name; unlabelled pixels are in none."""
    return {_name(index, classes): labels == index for index in _present(labels)}


def pil(image: NDArray[np.uint8]) -> Any:
    """An HWC uint8 BGR image as a PIL image in RGB.

    Raises:
        MissingExtra: Pillow is not installed.
    """
    require("PIL", "a PIL image", "pillow")
    from PIL import Image

    return Image.fromarray(np.ascontiguousarray(image[..., ::-1]))


def coco_rle(labels: NDArray[np.uint8], classes: tuple[str, ...]) -> dict[str, dict[str, Any]]:
    """COCO's compressed run lengths of each class in sight, by name; `counts` is text, ready for JSON.

    Raises:
        MissingExtra: pycocotools is not installed.
    """
    require("pycocotools", "COCO run lengths", "coco")
    from pycocotools import mask

    found = {}
    for name, pixels in masks(labels, classes).items():
        encoded = mask.encode(np.asfortranarray(pixels, np.uint8))
        found[name] = {"size": [int(side) for side in encoded["size"]], "counts": encoded["counts"].decode("ascii")}
    return found


def supervision(labels: NDArray[np.uint8], classes: tuple[str, ...], confidence: NDArray[np.uint8] | None) -> Any:
    """`supervision.Detections`: a mask, its box (x1, y1, x2, y2) and the class id of each class in sight.

    `data["class_name"]` holds the names. Where `confidence` (HW uint8) is given, a detection's confidence is its mean
    over the mask, 0 to 1.

    Raises:
        MissingExtra: supervision is not installed.
    """
    require("supervision", "supervision's detections", "supervision")
    from supervision import Detections, mask_to_xyxy

    ids = _present(labels)
    if not ids:
        return Detections.empty()
    stack = np.stack([labels == index for index in ids])
    sure = None if confidence is None else np.array([confidence[mask].mean() / 255 for mask in stack])
    names = np.array([_name(index, classes) for index in ids])
    return Detections(
        xyxy=mask_to_xyxy(stack).astype(np.float32),
        mask=stack,
        class_id=np.array(ids),
        confidence=sure,
        data={"class_name": names},
    )


def _present(labels: NDArray[np.uint8]) -> list[int]:
    counts = np.bincount(labels.ravel(), minlength=256)
    return [int(index) for index in np.flatnonzero(counts) if index != UNLABELLED]


def _name(index: int, classes: tuple[str, ...]) -> str:
    return classes[index] if index < len(classes) else f"class {index}"
