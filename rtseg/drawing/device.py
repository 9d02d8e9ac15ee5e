"""What is left to draw on the host when the GPU has drawn the classes: the text."""

from __future__ import annotations

from typing import Any

from rtseg.drawing.colormap import ColorMaps
from rtseg.drawing.render import Hud, Renderer
from rtseg.drawing.view import View
from rtseg.frame import Image, Labels
from rtseg.gpu.network import Finished

__all__ = ["DeviceRenderer"]


class DeviceRenderer:
    """The twin of `rtseg.drawing.render.Renderer` for frames that a `DeviceSegmenter` finished."""

    def __init__(self, renderer: Renderer) -> None:
        self._renderer = renderer

    @property
    def view(self) -> View:
        """How results are drawn."""
        return self._renderer.view

    @property
    def colormaps(self) -> ColorMaps:
        """The colours that the GPU draws with."""
        return self._renderer.colormaps

    def warm_up(self, size: tuple[int, int]) -> None:
        """Load the font and draw a text that nobody sees."""
        self._renderer.warm_up(size)

    def picture(self, image: Image, labels: Labels | None, scores: Any, hud: Hud | None) -> Image:
        """The finished frame's overlay with legend and HUD, as the view says."""
        assert isinstance(scores, Finished)
        overlay: Image = scores.outputs["overlay"]
        self._renderer.annotate(overlay, (image.shape[0], image.shape[1]), hud, labels)
        return overlay
