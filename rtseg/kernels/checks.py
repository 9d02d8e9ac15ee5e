"""The door: arguments of the public kernels are checked here once, with what was expected and what came."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from rtseg.errors import ConfigError, ModelError
from rtseg.geometry import Fit

__all__ = [
    "check_allowed",
    "check_colors",
    "check_frame",
    "check_id",
    "check_image",
    "check_labels",
    "check_logits",
    "check_out",
    "check_picture",
]

MOST_CLASSES = 256


def _describe(value: Any) -> str:
    if not isinstance(value, np.ndarray):
        return type(value).__name__
    return f"{'x'.join(map(str, value.shape)) or 'scalar'} {value.dtype}"


def check_image(where: str, image: Any) -> NDArray[np.uint8]:
    """An image as a contiguous HWC uint8 array; a view with gaps is copied.

    It is read-only, so that kernels are compiled once for pictures that may be written to and those that may not (the
    bytes of a message).
    """
    if (
        not isinstance(image, np.ndarray)
        or image.dtype != np.uint8
        or image.ndim != 3
        or image.shape[2] != 3
        or not image.size
    ):
        raise ConfigError(f"{where}: image is {_describe(image)}, expected HxWx3 uint8 in BGR order")
    view: NDArray[np.uint8] = np.ascontiguousarray(image).view()
    view.flags.writeable = False
    return view


def check_labels(where: str, labels: Any, size: tuple[int, ...] | None = None) -> NDArray[np.uint8]:
    """A label map as a contiguous HW uint8 array, of `size` where one is given."""
    expected = "HxW" if size is None else "x".join(map(str, size))
    if (
        not isinstance(labels, np.ndarray)
        or labels.dtype != np.uint8
        or labels.ndim != 2
        or not labels.size
        or (size is not None and labels.shape != size)
    ):
        raise ConfigError(f"{where}: labels are {_describe(labels)}, expected {expected} uint8")
    return np.ascontiguousarray(labels)


def check_out(
    where: str, name: str, out: Any, shape: tuple[int, ...], dtype: Any, *, optional: bool = True
) -> NDArray[Any]:
    """The array to write to, made if None is given; it must be writable and without gaps."""
    if out is None and optional:
        return np.empty(shape, dtype)
    if not isinstance(out, np.ndarray) or out.shape != shape or out.dtype != dtype:
        wanted = f"{'x'.join(map(str, shape))} {np.dtype(dtype)}"
        raise ConfigError(f"{where}: {name} is {_describe(out)}, expected {wanted}")
    if not out.flags.c_contiguous or not out.flags.writeable:
        raise ConfigError(f"{where}: {name} is read-only or not C-contiguous; pass an array made by np.empty")
    return out


def check_frame(where: str, size: Any, fit: Fit | None, grid: tuple[int, int]) -> Fit:
    """The frame's place in the network's input; without one the grid is stretched over the frame."""
    if (
        not isinstance(size, tuple)
        or len(size) != 2
        or not all(isinstance(n, int | np.integer) and n > 0 for n in size)
    ):
        raise ConfigError(f"{where}: size is {size!r}, expected (height, width) in pixels")
    if fit is None:
        return Fit(size, grid, 0, 0, grid[0], grid[1])
    if fit.frame != size:
        raise ConfigError(f"{where}: fit was made for a frame of {fit.frame}, but size is {size}")
    return fit


def check_id(where: str, name: str, value: Any) -> int:
    """A label: 0 to 255."""
    if not isinstance(value, int | np.integer) or not 0 <= value <= 255:
        raise ConfigError(f"{where}: {name} is {value!r}, expected a label from 0 to 255")
    return int(value)


def check_logits(where: str, logits: Any) -> NDArray[np.float32]:
    """Class scores as a contiguous CHW float32 array."""
    if (
        not isinstance(logits, np.ndarray)
        or logits.dtype not in (np.float32, np.float16)
        or logits.ndim != 3
        or not logits.size
    ):
        raise ModelError(
            f"{where}: logits are {_describe(logits)}, expected (classes, height, width) float32 or float16"
        )
    if logits.shape[0] > MOST_CLASSES:
        raise ModelError(f"{where}: {logits.shape[0]} classes, expected at most {MOST_CLASSES}: labels are uint8")
    return np.ascontiguousarray(logits, np.float32)


def check_allowed(where: str, allowed: Any, classes: int) -> NDArray[np.int32]:
    """The ids of the classes that may win, in ascending order."""
    if allowed is None:
        return np.arange(classes, dtype=np.int32)
    if not isinstance(allowed, np.ndarray) or allowed.dtype != np.bool_ or allowed.shape != (classes,):
        raise ConfigError(f"{where}: allowed is {_describe(allowed)}, expected {classes} bool")
    chosen = np.flatnonzero(allowed).astype(np.int32)
    if not chosen.size:
        raise ConfigError(f"{where}: allowed rules out all {classes} classes; leave at least one")
    return chosen


def check_colors(where: str, colors: Any, alpha: Any) -> tuple[bytes, bytes]:
    """A palette of 256 BGR colours and 256 opacities."""
    for name, value, shape in (("colors", colors, (256, 3)), ("alpha", alpha, (256,))):
        if not isinstance(value, np.ndarray) or value.dtype != np.uint8 or value.shape != shape:
            raise ConfigError(f"{where}: {name} are {_describe(value)}, expected {'x'.join(map(str, shape))} uint8")
    return colors.tobytes(), alpha.tobytes()


def check_picture(where: str, picture: Any, grid: tuple[int, int]) -> NDArray[np.float32]:
    """Mean colours per cell as a contiguous 3xHxW float32 array, whose grid is at least as fine as the scores'."""
    if not isinstance(picture, np.ndarray) or picture.dtype != np.float32 or picture.ndim != 3 or len(picture) != 3:
        raise ConfigError(f"{where}: picture is {_describe(picture)}, expected 3xHxW float32")
    if picture.shape[1] < grid[0] or picture.shape[2] < grid[1]:
        raise ConfigError(f"{where}: picture is {_describe(picture)}, coarser than the scores' {grid[0]}x{grid[1]}")
    return np.ascontiguousarray(picture)
