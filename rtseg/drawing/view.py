"""How results are drawn: what the flags say at the start, and a window's keys from then on."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from rtseg.errors import ConfigError, nearest

__all__ = ["VIEWS", "View", "checked_alpha", "checked_views"]

VIEWS = ("overlay", "mask", "split", "contour")


@dataclass(slots=True)
class View:
    """How results are drawn; a window's keys change it while the run goes on.

    `visualize` combines VIEWS: `overlay` is the classes' colours over the picture, `mask` the colours alone, `contour`
    the outlines of regions, drawn on each of the others or, alone, on the picture; several pictures stand side by side
    at full size, and `split` puts the original before them. `alpha` (0 to 1) is the opacity of every class whose colour
    has no alpha of its own. `hidden` class ids are labelled but drawn transparent. `palette` is a name or a colors
    file; see `rtseg.drawing.palette.resolve_palette` for None.
    """

    visualize: tuple[str, ...] = ("overlay",)
    alpha: float = 0.5
    hidden: frozenset[int] = field(default_factory=frozenset)
    legend: bool = False
    hud: bool = False
    palette: str | None = None

    def panels(self) -> tuple[str, ...]:
        """The pictures side by side, from the left: of `original`, `overlay`, `mask` and `contour`."""
        drawn: tuple[str, ...] = tuple(name for name in ("overlay", "mask") if name in self.visualize)
        if not drawn:
            drawn = ("contour",) if "contour" in self.visualize else ("overlay",)
        return ("original", *drawn) if "split" in self.visualize else drawn


def checked_views(visualize: str | Iterable[str]) -> tuple[str, ...]:
    """One name or several as a tuple; ConfigError with the nearest for one that is not in VIEWS."""
    views = (visualize,) if isinstance(visualize, str) else tuple(visualize)
    for view in views:
        if view not in VIEWS:
            raise ConfigError(f"unknown view '{view}': {nearest(str(view), VIEWS)}")
    return views


def checked_alpha(alpha: Any) -> float:
    """`alpha` if it is a number from 0 to 1; ConfigError otherwise."""
    if not isinstance(alpha, (int, float)) or not 0 <= alpha <= 1:
        raise ConfigError(f"alpha is {alpha!r}, expected 0 to 1")
    return alpha
