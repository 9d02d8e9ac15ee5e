"""Stored ids or colours into train ids, and what to say of one that stands for no class."""

from __future__ import annotations

from collections.abc import Mapping

import cv2
import numpy as np
from numpy.typing import NDArray

from rtseg.errors import ConfigError
from rtseg.frame import Image, Labels

__all__ = ["ColorMap", "IdMap", "first_pixel"]

Color = tuple[int, ...]


class IdMap:
    """Stored ids to train ids, by a table; `expected` says in a message what is allowed."""

    def __init__(self, table: Mapping[int, int], expected: str) -> None:
        self.expected = expected
        self._train, self._known = np.zeros(256, np.uint8), np.zeros(256, np.uint8)
        for stored, train in table.items():
            self._train[stored], self._known[stored] = train, 1
        self._same = all(stored == train for stored, train in table.items())

    def __call__(self, raw: Image, where: str) -> Labels:
        """Train ids, HW uint8. Errors: ConfigError naming `where`, the id and its first pixel."""
        if raw.ndim != 2:
            raise ConfigError(f"{where}: a colour picture, expected a mask of ids: {self.expected}")
        known = np.asarray(cv2.LUT(raw, self._known))
        if not known.all():
            row, column = first_pixel(known == 0)
            raise ConfigError(
                f"{where}: id {raw[row, column]} at row {row}, column {column} is not a class: expected {self.expected}"
            )
        return raw if self._same else np.asarray(cv2.LUT(raw, self._train), np.uint8)


class ColorMap:
    """Colours (R, G, B) to train ids, by a table of all 16.8 million colours, of which few pages are ever touched."""

    def __init__(self, table: Mapping[Color, int], expected: str) -> None:
        self.expected = expected
        self._train: NDArray[np.uint16] = np.zeros(1 << 24, np.uint16)  # train id + 1, 0 for no class
        for (red, green, blue), train in table.items():
            self._train[red << 16 | green << 8 | blue] = train + 1

    def __call__(self, raw: Image, where: str) -> Labels:
        """Train ids, HW uint8, of an HWC BGR or HW grey picture. Errors: ConfigError as of IdMap."""
        if raw.ndim == 2:
            code = raw.astype(np.uint32) * 0x010101
        else:
            code = raw.astype(np.uint32) @ np.array([1, 1 << 8, 1 << 16], np.uint32)
        found = self._train[code]
        if not found.all():
            row, column = first_pixel(found == 0)
            value = int(code[row, column])
            color = f"({value >> 16}, {value >> 8 & 255}, {value & 255})"
            raise ConfigError(
                f"{where}: colour {color} (R, G, B) at row {row}, column {column} is not a class: "
                f"expected {self.expected}"
            )
        return (found - 1).astype(np.uint8)


def first_pixel(mask: NDArray[np.bool_]) -> tuple[int, int]:
    """Row and column of the first true pixel."""
    row, column = divmod(int(mask.argmax()), mask.shape[1])
    return row, column
