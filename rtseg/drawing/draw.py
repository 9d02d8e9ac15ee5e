"""Labels over an image in one call, and which painter draws where frames are."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from rtseg.drawing.palette import resolve_palette
from rtseg.drawing.render import Renderer
from rtseg.drawing.view import View, checked_alpha, checked_views
from rtseg.errors import ConfigError
from rtseg.frame import Image, Labels, checked_image
from rtseg.packages.spec import ModelSpec

__all__ = ["draw", "painter_of"]


def draw(
    image: Image,
    labels: Labels,
    spec: ModelSpec,
    *,
    alpha: float = 0.5,
    visualize: Iterable[str] = ("overlay",),
    palette: str | None = None,
    hide: Iterable[str] = (),
    legend: bool = False,
) -> Image:
    """The picture of an image and its labels: HWC uint8 BGR, wider for split views.

    Args:
        image: HWC uint8 BGR, not written to.
        labels: HW uint8 class ids of the same size; 255 stays as in the image.
        spec: the model's, for class names and colours.
        alpha: opacity of the colours, 0 to 1.
        visualize: `overlay`, `mask`, `split`, `contour`, one or several.
        palette: a name or a colors file; the model's own without.
        hide: names of classes that are drawn transparent.
        legend: whether the classes in sight are named.

    Raises:
        ConfigError: image and labels do not fit together, or a setting that does not exist.
        ModelError: a class name in `hide` that the model does not have.
    """
    image = checked_image(image)
    views, alpha = checked_views(visualize), checked_alpha(alpha)
    if not isinstance(labels, np.ndarray):
        raise ConfigError(f"labels are a NumPy array, HW uint8, got {type(labels).__name__}")
    if labels.shape != image.shape[:2] or labels.dtype != "uint8":
        found = f"{labels.dtype} {'x'.join(map(str, labels.shape))}"
        raise ConfigError(f"labels are {found}, expected uint8 {image.shape[0]}x{image.shape[1]} as the image")
    hidden = frozenset(spec.class_id(name) for name in ((hide,) if isinstance(hide, str) else hide))
    shown = View(views, alpha, hidden, legend, palette=palette)
    return Renderer(spec, resolve_palette(palette, spec), shown).draw(image, labels)


def painter_of(renderer: Renderer, *, on_gpu: bool) -> Any:
    """`renderer` itself for frames on the host, its twin for those that a GPU has drawn already."""
    if not on_gpu:
        return renderer
    from rtseg.drawing.device import DeviceRenderer

    return DeviceRenderer(renderer)
