"""The colours and opacities with which classes are drawn, as a view says at that moment: the same on every device."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rtseg.drawing.palette import Palette
from rtseg.drawing.view import View
from rtseg.frame import UNLABELLED

__all__ = ["ColorMap", "ColorMaps", "line_thickness", "mask_colors"]

LIGHT = 150.0
"""Luminance from 0 to 255 that the light part of an outline has at least."""
DARK = (16, 16, 16)
WIDEST = 8
"""Pixels of a whole outline at most: what CUDA draws in one launch with the labels (`plans.FUSED_THICKNESS`)."""


@dataclass(frozen=True, slots=True, eq=False)
class ColorMap:
    """A BGR colour and an opacity for each of the 256 labels: (256, 3) and (256,) uint8."""

    colors: NDArray[np.uint8]
    alpha: NDArray[np.uint8]


class ColorMaps:
    """Colour maps of a palette for overlay, mask and contours; `refresh` follows the alpha and classes of the view.

    An outline is `lines`, in each class's colour made light where it is not, with a dark `core` between: something of
    it is seen on every background. `version` counts the changes. Hidden classes and unlabelled pixels (255) are
    transparent, in a mask black.
    """

    def __init__(self, palette: Palette, view: View) -> None:
        self._palette, self._view = palette, view
        self._drawn: tuple[float, frozenset[int]] | None = None
        self.version = 0
        self.refresh()

    def refresh(self) -> None:
        """Make `overlay`, `mask`, `lines` and `core` what the view says now."""
        palette, view = self._palette, self._view
        key = (view.alpha, view.hidden)
        if key == self._drawn:
            return
        own, common = palette.alpha, round(255 * min(1.0, max(0.0, view.alpha)))
        alpha = np.where(own >= 0, own, common).astype(np.uint8)
        # Outlines are opaque, except of classes that are not drawn at all.
        lines = np.where(own == 0, 0, 255).astype(np.uint8)
        unseen = [*view.hidden, UNLABELLED]
        alpha[unseen] = lines[unseen] = 0
        self.overlay, self.lines = ColorMap(palette.colors, alpha), ColorMap(_light(palette.colors), lines)
        self.core = ColorMap(np.full((256, 3), DARK, np.uint8), lines)
        self.mask = ColorMap(mask_colors(palette, view), np.full(256, 255, np.uint8))
        self._drawn = key
        self.version += 1


def mask_colors(palette: Palette, view: View) -> NDArray[np.uint8]:
    """The 256 colours of a mask, (256, 3) uint8 BGR: black for hidden classes and unlabelled pixels."""
    colors: NDArray[np.uint8] = palette.colors.copy()
    colors[[*view.hidden, UNLABELLED]] = 0
    return colors


def line_thickness(size: tuple[int, int]) -> tuple[int, int]:
    """The thickness in pixels of the whole outline and of its core, on a frame of (height, width).

    Both are even or both odd, which puts the core in the middle.
    """
    core = min(max(2, round(min(size) / 360)), WIDEST - 2)
    side = 1 if min(size) < 540 or core > WIDEST - 4 else 2
    return core + 2 * side, core


def _light(colors: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """BGR colours (n, 3), mixed with as much white as takes their luminance to LIGHT."""
    luminance = colors @ np.array([0.0722, 0.7152, 0.2126])
    white = np.maximum(0, LIGHT - luminance) / np.maximum(1, 255 - luminance)
    light: NDArray[np.uint8] = np.rint(colors + white[:, None] * (255.0 - colors)).astype(np.uint8)
    return light
