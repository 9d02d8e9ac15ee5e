"""Small opaque boxes of text for a frame's corners: the legend's chips and names, the HUD's figures.

Text is drawn into patches that are kept until it changes, so that a frame costs one copy of a few rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from rtseg.drawing.text import draw_text, text_width
from rtseg.frame import Image

__all__ = ["Item", "TextBoxes", "place", "text_size"]

BACKGROUND = (28, 28, 28)
FOREGROUND = (255, 255, 255)
CACHED = 256
"""Pieces of text kept: enough for a legend of 150 classes, little memory for a HUD whose figures always change."""


@dataclass(frozen=True, slots=True)
class Item:
    """A piece of text that is kept on one line, with a chip of colour (B, G, R) before it or none."""

    text: str
    color: tuple[int, int, int] | None = None


def text_size(height: int, width: int) -> int:
    """The font size in pixels for a picture: readable at 320x240, the same share of the picture from 480p to 4K."""
    return max(11, round(min(height, width) / 45))


def place(canvas: Image, box: Image | None, bottom: bool) -> None:
    """Copy a box into the upper or lower left corner; one that does not fit is left out."""
    if box is None:
        return
    (height, width), margin = box.shape[:2], text_size(*canvas.shape[:2]) // 3
    if height + margin > canvas.shape[0] or width + margin > canvas.shape[1]:
        return
    top = canvas.shape[0] - margin - height if bottom else margin
    canvas[top : top + height, margin : margin + width] = box


def _line(px: int) -> int:
    """The height of a row of text of font size `px`."""
    return round(1.4 * px)


class TextBoxes:
    """Draws items into boxes, each drawn once and kept. Used by one thread."""

    def __init__(self) -> None:
        self._items: dict[tuple[Item, int], Image] = {}
        self._boxes: dict[tuple[tuple[Item, ...], int, int, int], Image | None] = {}

    def box(self, items: Sequence[Item], px: int, width: int, min_width: int = 0) -> Image | None:
        """A box at most `width` wide with the items in rows at font size `px`; None where nothing fits."""
        key = (tuple(items), px, width, min_width)
        if key not in self._boxes:
            if len(self._boxes) >= CACHED // 16:
                self._boxes.clear()
            self._boxes[key] = self._draw_box(key[0], px, width, min_width)
        return self._boxes[key]

    def rows(self, items: Sequence[Item], px: int, width: int) -> list[list[Image]]:
        """The items' patches, broken into rows that fit a box of `width`; an item wider than that is shortened."""
        room = width - px
        rows: list[list[Image]] = []
        used = room + 1
        for item in items:
            patch = self._fitting(item, px, room)
            if patch is None:
                continue
            if used + px // 2 + patch.shape[1] > room:
                rows.append([])
                used = -(px // 2)
            rows[-1].append(patch)
            used += px // 2 + patch.shape[1]
        return rows

    def height(self, rows: int, px: int) -> int:
        """The height of a box with that many rows."""
        return _line(px) * rows + 2 * (px // 4)

    def needed(self, items: Sequence[Item], px: int, width: int) -> int | None:
        """How many rows `items` take in a box of that width; None where one would have to be shortened."""
        room, used, rows = width - px, 0, 0
        for item in items:
            wide = self._patch(item, px).shape[1]
            if wide > room:
                return None
            if not rows or used + px // 2 + wide > room:
                rows, used = rows + 1, -(px // 2)
            used += px // 2 + wide
        return rows

    def _draw_box(self, items: tuple[Item, ...], px: int, width: int, min_width: int) -> Image | None:
        rows = self.rows(items, px, width)
        if not rows:
            return None
        gap, pad = px // 2, px // 4
        widths = [sum(patch.shape[1] for patch in row) + gap * (len(row) - 1) for row in rows]
        line = rows[0][0].shape[0]
        box = np.empty((line * len(rows) + 2 * pad, max(min_width, max(widths) + px), 3), np.uint8)
        box[:] = BACKGROUND
        for index, row in enumerate(rows):
            top, left = pad + index * line, gap
            for patch in row:
                box[top : top + line, left : left + patch.shape[1]] = patch
                left += patch.shape[1] + gap
        return box

    def _fitting(self, item: Item, px: int, room: int) -> Image | None:
        """The item's patch, its text shortened until the patch fits `room`; None if not even one letter does."""
        patch = self._patch(item, px)
        text = item.text
        while patch.shape[1] > room and len(text) > 1:
            text = text[: max(1, min(len(text) - 1, len(text) * room // patch.shape[1]))]
            patch = self._patch(Item(text + "…", item.color), px)
        return patch if patch.shape[1] <= room else None

    def _patch(self, item: Item, px: int) -> Image:
        key = (item, px)
        if key not in self._items:
            if len(self._items) >= CACHED:
                self._items.clear()
            self._items[key] = self._draw_patch(item, px)
        return self._items[key]

    def _draw_patch(self, item: Item, px: int) -> Image:
        wide = text_width(item.text, px)
        chip = round(0.9 * px) if item.color is not None else 0
        start = chip + px // 3 if chip else 0
        line = _line(px)
        patch = np.empty((line, start + max(1, wide) + 1, 3), np.uint8)
        patch[:] = BACKGROUND
        if item.color is not None:
            top = (line - chip) // 2
            # A thin light rim keeps a dark chip visible on the dark box.
            patch[top : top + chip, :chip] = (150, 150, 150)
            patch[top + 1 : top + chip - 1, 1 : chip - 1] = item.color
        draw_text(patch, item.text, (start, round(1.05 * px)), px, FOREGROUND)
        return patch
