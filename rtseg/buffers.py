"""Arrays that are reused as soon as nothing refers to them, so that a steady run allocates nothing."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

__all__ = ["Pool", "unheld"]


def _free_count() -> int:
    """The reference count that `Pool.take` sees for an array held by the pool alone."""
    held = [np.empty(0, np.uint8)]
    for array in held:
        return sys.getrefcount(array)
    raise AssertionError("unreachable")


_FREE = _free_count()


def unheld(arrays: Mapping[str, NDArray[Any]]) -> bool:
    """Whether only the mapping refers to any of the arrays, or a view of one."""
    for array in arrays.values():  # noqa: SIM110 - a generator would hold them too
        if sys.getrefcount(array) != _FREE:
            return False
    return True


class Pool:
    """Hands out arrays; one that the caller and everybody it passed it to have let go is handed out again.

    A view keeps its base alive, so a held slice also keeps the array out of circulation. Used by one thread; the
    arrays may be dropped by any. At most `shapes` different shapes are kept.
    """

    def __init__(self, shapes: int = 4) -> None:
        self._held: dict[tuple[tuple[int, ...], np.dtype[Any]], list[NDArray[Any]]] = {}
        self._shapes = shapes

    def take(self, shape: tuple[int, ...], dtype: DTypeLike = np.uint8) -> NDArray[Any]:
        """An uninitialised C-contiguous array that nothing else refers to."""
        key = (shape, np.dtype(dtype))
        arrays = self._held.pop(key, [])
        self._held[key] = arrays
        while len(self._held) > self._shapes:
            del self._held[next(iter(self._held))]
        for array in arrays:
            if sys.getrefcount(array) == _FREE:
                return array
        fresh = np.empty(shape, dtype)
        arrays.append(fresh)
        return fresh

    def __len__(self) -> int:
        return sum(len(arrays) for arrays in self._held.values())
