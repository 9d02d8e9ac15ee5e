"""What every peer is given (model, size, threads) and must do: frames in, label maps and overlays out."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

Array = np.ndarray[Any, Any]
Emit = Callable[[Array, Array], None]


@dataclass(frozen=True)
class Job:
    """`model` is an ONNX file with `spec.json` beside it; `network` and `frame` are (height, width).

    `folder` is for files that a peer makes out of the model.
    """

    model: Path
    network: tuple[int, int]
    frame: tuple[int, int]
    threads: int
    folder: Path

    @property
    def spec(self) -> dict[str, Any]:
        """What the model says of itself: classes, mean, std, palette."""
        spec: dict[str, Any] = json.loads((self.model.parent / "spec.json").read_text(encoding="utf-8"))
        return spec

    @property
    def mean(self) -> Array:
        """The mean of each channel, RGB, of pixels in 0 to 1."""
        return np.array(self.spec["mean"], np.float32)

    @property
    def std(self) -> Array:
        """The standard deviation of each channel, RGB, of pixels in 0 to 1."""
        return np.array(self.spec["std"], np.float32)

    @property
    def palette(self) -> Array:
        """A colour per class, Nx3 uint8, BGR."""
        return np.array(self.spec["palette"], np.uint8)[:, ::-1].copy()


class Peer(Protocol):
    """One way to label a video.

    `run` takes frames (HWC uint8 BGR) one by one and calls `emit(labels, overlay)` for each, in order: HW uint8 class
    ids and HWC uint8 BGR, both at the frame's size. With `ahead` it may take frames before earlier ones are emitted,
    for the highest rate; without, it is run for the lowest latency. `concurrent` says whether the two differ.
    """

    concurrent: bool

    def run(self, frames: Iterable[Array], emit: Emit, *, ahead: bool = False) -> None: ...
