"""From labels to the picture a person sees: overlay, mask, split and contour views, legend and HUD."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from rtseg.buffers import Pool
from rtseg.drawing.colormap import ColorMaps, line_thickness
from rtseg.drawing.legend import Item, TextBoxes, place, text_size
from rtseg.drawing.palette import Palette
from rtseg.drawing.view import View
from rtseg.frame import Image, Labels
from rtseg.kernels import cpu as kernels
from rtseg.packages.spec import ModelSpec

__all__ = ["Hud", "Renderer"]

LEGEND_FRAMES = 15
"""Frames between two choices of the classes in the legend: at every frame it would flicker."""
LEGEND_SHARE = 0.05
"""The share of the picture that a legend may cover."""
LEAST_AREA = 0.001
"""The share of the picture from which on a class is in the legend."""


@dataclass(frozen=True, slots=True)
class Hud:
    """The figures of the HUD line: frame rate, capture-to-overlay latency in ms, frames lost; None if unknown."""

    fps: float | None = None
    p50_ms: float | None = None
    p95_ms: float | None = None
    drops: int = 0

    def items(self) -> list[Item]:
        """The pieces of the line."""
        return [
            Item(f"{_figure(self.fps)} fps"),
            Item(f"p50 {_figure(self.p50_ms)} ms"),
            Item(f"p95 {_figure(self.p95_ms)} ms"),
            Item(f"drops {self.drops}"),
        ]


def _figure(value: float | None) -> str:
    return "–" if value is None or not math.isfinite(value) else f"{value:.1f}"


class Renderer:
    """Draws frames as `view` says at that moment; `legend` lists the classes in sight or all of them.

    A pixel gets the colour of its own class or keeps the frame's: colours are never mixed with each other. Hidden
    classes and unlabelled pixels (255) stay as in the frame, in a mask they are black. Used by one thread.
    """

    def __init__(
        self, spec: ModelSpec, palette: Palette, view: View, *, legend: Literal["present", "all"] = "present"
    ) -> None:
        self.view = view
        self.colormaps = ColorMaps(palette, view)
        self._spec, self._palette, self._all = spec, palette, legend == "all"
        self._text = TextBoxes()
        self._pictures = Pool()
        self._scratch: Image = np.empty((0, 0, 3), np.uint8)
        self._counts = np.zeros(256, np.int64)
        self._chosen: tuple[Item, ...] = ()
        self._legend_width = 0
        self._choice: tuple[int, int, frozenset[int]] | None = None
        self._age = 0
        self._hud_width = 0

    def shape(self, size: tuple[int, int]) -> tuple[int, int, int]:
        """The shape of the picture for a frame of (height, width): wider by a frame for each further panel."""
        return size[0], size[1] * len(self.view.panels()), 3

    def warm_up(self, size: tuple[int, int]) -> None:
        """Load the font and draw a picture for a frame of (height, width) that nobody sees."""
        blank = Renderer(self._spec, self._palette, self.view)
        blank.draw(np.zeros((*size, 3), np.uint8), np.zeros(size, np.uint8), Hud(0.0, 0.0, 0.0, 0))

    def picture(self, image: Image, labels: Labels, scores: Any, hud: Hud | None) -> Image:
        """`draw` into an array that is used again when nobody holds it; `scores` are not looked at."""
        return self.draw(image, labels, hud, self._pictures.take(self.shape((image.shape[0], image.shape[1]))))

    def draw(self, image: Image, labels: Labels, hud: Hud | None = None, out: Image | None = None) -> Image:
        """The picture for a frame and its label map.

        `image` HWC uint8 BGR and `labels` HW uint8 have one size and are not written to; `out`, if given, is
        C-contiguous uint8 of `shape(size)` and returned. The HUD line is drawn if `view.hud` and `hud` are set, legend
        and HUD on the first panel that is not the original.
        """
        height, width = labels.shape
        out = np.empty(self.shape((height, width)), np.uint8) if out is None else out
        self.colormaps.refresh()
        panels = self.view.panels()
        for index, name in enumerate(panels):
            part = out[:, index * width : (index + 1) * width]
            if name == "original":
                part[:] = image
                continue
            target = out if len(panels) == 1 else self._buffer(height, width)
            self._draw_panel(name, image, labels, target)
            if target is not out:
                part[:] = target
        self.annotate(out, (height, width), hud, labels)
        return out

    def annotate(self, picture: Image, size: tuple[int, int], hud: Hud | None, labels: Labels | None) -> None:
        """Draw HUD and legend, as the view says, on the otherwise finished picture of a frame of (height, width).

        The legend needs `labels`.
        """
        height, width = size
        # The view may have changed while the picture was made elsewhere.
        first = width if self.view.panels()[0] == "original" and picture.shape[1] > width else 0
        canvas = picture[:, first : first + width]
        px = text_size(height, width)
        room = width - 2 * (px // 3)
        if self.view.hud and hud is not None:
            box = self._text.box(hud.items(), px, room, min(self._hud_width, room))
            # The box keeps its greatest width, so that it does not twitch with the number of digits.
            self._hud_width = 0 if box is None else box.shape[1]
            place(canvas, box, bottom=False)
        if self.view.legend and labels is not None:
            items = self._legend(labels, px, room)
            place(canvas, self._text.box(items, px, self._legend_width), bottom=True)

    def _draw_panel(self, name: str, image: Image, labels: Labels, target: Image) -> None:
        if name == "mask":
            kernels.blend(image, labels, self.colormaps.mask.colors, self.colormaps.mask.alpha, target)
        elif name == "overlay":
            kernels.blend(image, labels, self.colormaps.overlay.colors, self.colormaps.overlay.alpha, target)
        if name == "contour" or "contour" in self.view.visualize:
            base = image if name == "contour" else target
            lines, core = self.colormaps.lines, self.colormaps.core
            whole, middle = line_thickness((labels.shape[0], labels.shape[1]))
            kernels.contours(base, labels, lines.colors, lines.alpha, target, thickness=whole)
            kernels.contours(target, labels, core.colors, core.alpha, target, thickness=middle)

    def _buffer(self, height: int, width: int) -> Image:
        if self._scratch.shape != (height, width, 3):
            self._scratch = np.empty((height, width, 3), np.uint8)
        return self._scratch

    def _legend(self, labels: Labels, px: int, room: int) -> tuple[Item, ...]:
        """The legend's items, chosen anew every LEGEND_FRAMES from what was seen since."""
        step = max(1, math.isqrt(labels.size // 40_000))
        self._counts += np.bincount(labels[::step, ::step].ravel(), minlength=256)
        choice = (*labels.shape, self.view.hidden)
        self._age += 1
        if choice == self._choice and self._age < LEGEND_FRAMES:
            return self._chosen
        items, self._legend_width = self._choose(labels.size, px, room)
        self._chosen, self._choice, self._age = items, choice, 0
        self._counts[:] = 0
        return self._chosen

    def _choose(self, pixels: int, px: int, room: int) -> tuple[tuple[Item, ...], int]:
        """As many classes as fit a LEGEND_SHARE of the picture, the largest, in the order of their ids; and a width.

        Of all numbers of rows the one that shows most classes is taken, the lowest of those that show as many.
        """
        ids = [i for i in range(len(self._spec.classes)) if i not in self.view.hidden]
        least = LEAST_AREA * self._counts.sum()
        ids = [i for i in ids if self._all or self._counts[i] > least]
        ids.sort(key=lambda i: -self._counts[i])
        best, width, rows = 0, 0, 1
        while best < len(ids):
            most = min(room, int(LEGEND_SHARE * pixels / self._text.height(rows, px)))
            if most <= 3 * px:
                break
            while best < len(ids) and (self._text.needed(self._items(ids, best + 1), px, most) or rows + 1) <= rows:
                best, width = best + 1, most
            rows += 1
        if ids and not best:
            # Not one name fits as it is: the largest class's, shortened.
            return self._items(ids, 1)[:1], min(room, int(LEGEND_SHARE * pixels / self._text.height(1, px)))
        return self._items(ids, best), width

    def _items(self, ids: list[int], count: int) -> tuple[Item, ...]:
        shown = []
        for index in sorted(ids[:count]):
            blue, green, red = self._palette.colors[index].tolist()
            shown.append(Item(self._spec.classes[index], (blue, green, red)))
        return tuple(shown) + ((Item(f"+{len(ids) - count}"),) if count < len(ids) else ())
