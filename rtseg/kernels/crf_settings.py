"""What refines a network's scores before they become labels: the parameters of the dense CRF, and their text form."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from rtseg.errors import ConfigError, nearest

__all__ = ["REFINEMENTS", "Crf", "Solve", "parse_refine"]

REFINEMENTS = ("none", "crf")
LARGEST = {"iterations": 100, "radius": 32, "upsample": 16}


@dataclass(frozen=True, slots=True)
class Crf:
    """A dense CRF (Krähenbühl & Koltun 2011) whose pairs reach `radius` cells (after Teichmann & Cipolla 2018).

    Two cells at distance d whose mean colours differ by c prefer one label by `appearance` * exp(-d²/2θα² - c²/2θβ²) +
    `smoothness` * exp(-d²/2θγ²), each kernel normalised symmetrically (as the authors' published code does), the
    compatibility is Potts'. The grid is that of the network's scores, `upsample` times finer; radius, θα and θγ are in
    its cells, θβ in levels of 0 to 255. The defaults are within 0.001 of the best sum of mIoU and boundary F found on
    46 of CamVid's training images with PIDNet-S, among 112 random and hand-picked settings. Errors: ConfigError
    for a value out of range.
    """

    iterations: int = 5
    radius: int = 5
    appearance: float = 1.6
    smoothness: float = 0.1
    theta_alpha: float = 6.0
    theta_beta: float = 7.0
    theta_gamma: float = 1.0
    upsample: int = 1

    def __post_init__(self) -> None:
        for name, most in LARGEST.items():
            value = getattr(self, name)
            if not isinstance(value, int) or not 1 <= value <= most:
                raise ConfigError(f"refine: {name} is {value}, expected a whole number from 1 to {most}")
        for name in ("appearance", "smoothness"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ConfigError(f"refine: {name} is {getattr(self, name)}, expected 0 or more")
        for name in ("theta_alpha", "theta_beta", "theta_gamma"):
            if not 0.01 <= getattr(self, name) < math.inf:
                raise ConfigError(f"refine: {name} is {getattr(self, name)}, expected 0.01 or more")


def parse_refine(text: str) -> Crf | None:
    """`none`, `crf`, or `crf:radius=3,iterations=2,…`; ConfigError names what is unknown and the nearest choice."""
    kind, colon, rest = text.partition(":")
    if kind not in REFINEMENTS:
        raise ConfigError(f"unknown refinement '{kind}': {nearest(kind, REFINEMENTS)}")
    if kind == "none":
        if colon:
            raise ConfigError(f"refine: 'none' has no options, found '{rest}'")
        return None
    types = {field.name: int if isinstance(field.default, int) else float for field in fields(Crf)}
    options: dict[str, int | float] = {}
    for part in rest.split(",") if colon else ():
        name, equals, value = (piece.strip() for piece in part.partition("="))
        if not equals:
            raise ConfigError(f"refine: '{part}' is not NAME=VALUE, for example crf:radius=3,iterations=2")
        if name not in types:
            raise ConfigError(f"refine: unknown option '{name}': {nearest(name, types)}")
        if name in options:
            raise ConfigError(f"refine: {name} is given twice")
        try:
            options[name] = types[name](value)
        except ValueError as exc:
            wanted = "a whole number" if types[name] is int else "a number"
            raise ConfigError(f"refine: {name} is '{value}', expected {wanted}") from exc
    return Crf(**options)  # type: ignore[arg-type]


Solve = Callable[
    [NDArray[np.float32], NDArray[np.float32], Crf, tuple[int, int, int, int], NDArray[np.int32], bool],
    NDArray[np.float32],
]
"""The mean field itself, of scores, picture, settings, box (top, left, bottom, right), allowed and shares: see
`kernels.mean_field.run`."""
