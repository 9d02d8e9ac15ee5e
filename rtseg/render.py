"""From labels to the picture a person sees: overlay, mask, split and contour views, legend and HUD."""

from __future__ import annotations

from dataclasses import dataclass, field

__all__ = ["VIEWS", "View"]

VIEWS = ("overlay", "mask", "split", "contour")


@dataclass(slots=True)
class View:
    """How results are drawn; a window's keys change it while the run goes on.

    `visualize` combines VIEWS. `alpha` (0 to 1) is the opacity of every class whose colour has no alpha of its own.
    `hidden` class ids are labelled but drawn transparent.
    """

    visualize: tuple[str, ...] = ("overlay",)
    alpha: float = 0.5
    hidden: frozenset[int] = field(default_factory=frozenset)
    legend: bool = False
    hud: bool = False
