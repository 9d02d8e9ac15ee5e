"""One sample of an array: images of bytes or of 0 to 1, labels as ids, one-hot or binary, whichever axis is which."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rtseg.datasets._labels import first_pixel
from rtseg.datasets._listing import Listing
from rtseg.errors import ConfigError
from rtseg.frame import Image, Labels

__all__ = ["Array", "image_of", "label_channels", "label_of", "open_array"]

Array = NDArray[Any]
VOID = 255


def open_array(path: Path) -> Array:
    """A .npy file, memory-mapped. Errors: ConfigError, also for pickled objects, since unpickling can run any code."""
    try:
        return np.load(path, mmap_mode="r", allow_pickle=False)  # type: ignore[no-any-return]
    except (OSError, ValueError, EOFError) as exc:
        text = " ".join(str(exc).split())
        if "pickle" in text or "Python objects" in text:
            text = "it holds pickled Python objects or is no .npy file: save plain numbers with numpy.save"
        raise ConfigError(f"{path} cannot be read: {text}") from exc


def image_of(array: Array, where: str, bgr: bool) -> Image:
    """An image HWC, CHW, HW or HW1 in RGB (or BGR) as HWC uint8 BGR; floats are 0 to 1."""
    if array.ndim == 3 and array.shape[0] in (1, 3) and array.shape[2] not in (1, 3):
        array = array.transpose(1, 2, 0)  # CHW -> HWC
    if array.ndim == 2:
        array = array[..., None]
    if array.ndim != 3 or array.shape[2] not in (1, 3) or 0 in array.shape:
        raise ConfigError(f"{where}: an image of shape {array.shape}: expected height x width x 3")
    if array.dtype.kind == "f":
        if not (np.isfinite(array).all() and array.min() >= 0 and array.max() <= 1):
            raise ConfigError(f"{where}: floats from {array.min():g} to {array.max():g}: expected 0 to 1, or uint8")
        array = (array.astype(np.float32) * 255).round().astype(np.uint8)
    if array.dtype != np.uint8:
        raise ConfigError(f"{where}: an image of {array.dtype}: expected uint8, or floats of 0 to 1")
    if array.shape[2] == 1:
        array = array.repeat(3, axis=2)
    elif not bgr:
        array = array[..., ::-1]
    return np.ascontiguousarray(array)


def label_channels(array: Array, size: tuple[int, int]) -> int:
    """The channels of a label array for an image of (height, width): 1 for ids, else of one-hot."""
    if array.ndim != 3:
        return 1
    return int(array.shape[2] if array.shape[:2] == size else array.shape[0])


def label_of(array: Array, size: tuple[int, int], where: str, listing: Listing) -> Labels:
    """Train ids, HW uint8, of ids (HW, HW1 or 1HW, any whole numbers or booleans) or of one-hot labels (HWC or CHW).

    A pixel with no channel set is void. Errors: ConfigError naming file, value and first pixel.
    """
    if array.ndim == 3 and array.shape[:2] != size:
        array = array.transpose(1, 2, 0)  # CHW -> HWC
    if array.shape[:2] != size or array.ndim not in (2, 3):
        raise ConfigError(
            f"{where}: labels of shape {array.shape} for an image of {size[0]}x{size[1]}: they must agree"
        )
    if array.ndim == 3 and array.shape[2] > 1:
        return _from_one_hot(array, where, listing)
    ids = array if array.ndim == 2 else array[..., 0]
    wrong = ~np.isin(ids, np.arange(256)) if ids.dtype != np.uint8 and ids.dtype != np.bool_ else None
    if wrong is not None and wrong.any():
        row, column = first_pixel(wrong)
        raise ConfigError(
            f"{where}: id {ids[row, column]} at row {row}, column {column} is not a class: expected {listing.expected}"
        )
    return listing.label(np.ascontiguousarray(ids).astype(np.uint8), where)


def _from_one_hot(array: Array, where: str, listing: Listing) -> Labels:
    """HWC of 0 and 1 (or 255) to HW; all zero is void."""
    if array.shape[2] != len(listing.facts.classes):
        raise ConfigError(f"{where}: {array.shape[2]} channels for {len(listing.facts.classes)} classes")
    on = array != 0
    soft = (on & (array != 1) & (array != 255)).any(axis=2)
    if soft.any():
        row, column = first_pixel(soft)
        raise ConfigError(
            f"{where}: {array[row, column].tolist()} at row {row}, column {column}: one-hot labels are 0 and 1"
        )
    count = on.sum(axis=2)
    if (count > 1).any():
        row, column = first_pixel(count > 1)
        raise ConfigError(
            f"{where}: {count[row, column]} classes at row {row}, column {column}: one-hot labels have one"
        )
    return np.where(count == 0, VOID, on.argmax(axis=2)).astype(np.uint8)
