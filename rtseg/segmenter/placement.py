"""What a model and its flags say of every frame: its place in the network's input, and which classes may win."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from rtseg.errors import ModelError
from rtseg.geometry import Fit, FitMode, fit, follow_aspect
from rtseg.packages.spec import ModelSpec

__all__ = ["Placement", "allowed_classes"]


class Placement:
    """Places frames in the network's input: at `size` (height, width), the spec's own, or the frame's aspect ratio at
    `short_side`. Errors: ModelError for a size that the network cannot take.
    """

    def __init__(
        self, spec: ModelSpec, size: tuple[int, int] | None, short_side: int | None, mode: FitMode = "letterbox"
    ) -> None:
        self._spec, self._mode = spec, mode
        self._size = self._check(size)
        self._short_side = short_side or spec.short_side
        self._fits: dict[tuple[int, int], Fit] = {}

    def fit(self, frame_size: tuple[int, int]) -> Fit:
        """Where a frame of (height, width) lies."""
        found = self._fits.get(frame_size)
        if found is None:
            network = self._size or follow_aspect(frame_size, self._short_side, self._spec.multiple)
            found = self._fits[frame_size] = fit(frame_size, network, self._mode)
        return found

    def _check(self, size: tuple[int, int] | None) -> tuple[int, int] | None:
        spec = self._spec
        if size is None:
            return spec.size
        if spec.size is not None and size != spec.size:
            raise ModelError(
                f"model {spec.name} has the fixed input size {spec.size[0]}x{spec.size[1]}, not {size[0]}x{size[1]}"
            )
        if size[0] % spec.multiple or size[1] % spec.multiple:
            better = tuple(max(1, round(side / spec.multiple)) * spec.multiple for side in size)
            raise ModelError(
                f"size {size[0]}x{size[1]} does not suit model {spec.name}: its sides are multiples of "
                f"{spec.multiple}; the nearest is {better[0]}x{better[1]}"
            )
        return size


def allowed_classes(spec: ModelSpec, ignore: Iterable[str]) -> NDArray[np.bool_] | None:
    """Which classes may win when those named in `ignore` may not, bool per class; None where all may.

    Errors: ModelError for an unknown name, for all classes, and for a network that returns label maps.
    """
    names = list(ignore)
    if not names:
        return None
    allowed = np.ones(len(spec.classes), np.bool_)
    allowed[[spec.class_id(name) for name in names]] = False
    if not allowed.any():
        raise ModelError(f"every class of {spec.name} is ignored; leave at least one")
    if spec.output_kind == "labels":
        raise ModelError(f"model {spec.name} returns a label map, so no class can be kept from winning")
    return allowed
