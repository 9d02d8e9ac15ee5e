"""The colours and opacities with which classes are drawn, as a view says at that moment: the same on every device."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rtseg.drawing.palette import Palette
from rtseg.drawing.view import View
from rtseg.frame import UNLABELLED

__all__ = ["Ink", "Inks", "line_thickness", "mask_colors"]


@dataclass(frozen=True, slots=True, eq=False)
class Ink:
    """A BGR colour and an opacity for each of the 256 labels: (256, 3) and (256,) uint8."""

    colors: NDArray[np.uint8]
    alpha: NDArray[np.uint8]


class Inks:
    """The inks of a palette's overlay, mask and contours; `refresh` follows changes of the view's alpha and classes.

    `version` counts those changes. Hidden classes and unlabelled pixels (255) are transparent, in a mask black.
    """

    def __init__(self, palette: Palette, view: View) -> None:
        self._palette, self._view = palette, view
        self._drawn: tuple[float, frozenset[int]] | None = None
        self.version = 0
        self.refresh()

    def refresh(self) -> None:
        """Make `overlay`, `mask` and `lines` what the view says now."""
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
        self.overlay, self.lines = Ink(palette.colors, alpha), Ink(palette.colors, lines)
        self.mask = Ink(mask_colors(palette, view), np.full(256, 255, np.uint8))
        self._drawn = key
        self.version += 1


def mask_colors(palette: Palette, view: View) -> NDArray[np.uint8]:
    """The 256 colours of a mask, (256, 3) uint8 BGR: black for hidden classes and unlabelled pixels."""
    colors: NDArray[np.uint8] = palette.colors.copy()
    colors[[*view.hidden, UNLABELLED]] = 0
    return colors


def line_thickness(size: tuple[int, int]) -> int:
    """The thickness in pixels of contours on a frame of (height, width)."""
    return max(2, round(min(size) / 360))
