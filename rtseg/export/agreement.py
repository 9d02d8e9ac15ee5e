"""Whether a converted network labels frames as its float32 original does: checked before its plan is accepted."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from rtseg import registry
from rtseg.backends.contract import Backend
from rtseg.errors import BackendError, ConfigError, SourceError
from rtseg.frame import Image
from rtseg.packages.spec import ModelSpec
from rtseg.segmenter.host import HostSegmenter
from rtseg.sources import open_source, source_kind

__all__ = ["ENOUGH", "FRAMES", "SYNTHETIC", "Agreement", "compare", "frames", "run_onnx"]

SYNTHETIC = "synthetic:drive"
FRAMES = 8
ENOUGH = {"fp16": 0.99, "int8": 0.95}
"""Fraction of pixels that must keep their label, by precision: some on the boundaries move, in int8 more of them."""


@dataclass(frozen=True, slots=True)
class Agreement:
    """Equal labels over frames of `source`, each at its own size: the fraction of all pixels and the worst frame's.

    `size` is the network's (height, width).
    """

    equal: float
    worst: float
    frames: int
    source: str
    where: str
    size: tuple[int, int]

    def __str__(self) -> str:
        return (
            f"labels equal to fp32 on {self.equal:.3%} of the pixels of {self.frames} frames of {self.source} at "
            f"{self.size[0]}x{self.size[1]} (worst frame {self.worst:.3%}; {self.where})"
        )

    def to_dict(self) -> dict[str, Any]:
        """As plain data, for the sidecar and the report."""
        return asdict(self)


def frames(source: str, count: int) -> list[Image]:
    """`count` images, evenly spaced over a video, an image folder or a synthetic scene.

    Errors: ConfigError for a camera, a stream or a count below 1, SourceError for input that cannot be read.
    """
    if count < 1:
        raise ConfigError(f"{count} frames to compare labels on: expected 1 or more")
    kind = source_kind(source)[0]
    if kind in ("camera", "stream"):
        raise ConfigError(f"labels are compared on a video, a folder of images or a synthetic scene, not on {source}")
    return list(_spaced(source, count))


def _spaced(source: str, count: int) -> Iterator[Image]:
    options = {"length": 300} if source_kind(source)[0] == "synthetic" else {}
    with open_source(source, options) as opened:
        total = opened.info.frames or count
        wanted = set(np.linspace(0, max(total - 1, 0), min(count, total)).round().astype(int).tolist())
        found = 0
        for frame in opened:
            if frame.index in wanted:
                found += 1
                yield frame.image
            if frame.index >= max(wanted):
                break
    if not found:
        raise SourceError(f"{source} has no frames to compare labels on")


def run_onnx(model: bytes, spec: ModelSpec, folder: Path) -> Backend:
    """An ONNX graph on the CPU, in float32, opened from a file in `folder`."""
    backend_class = registry.load(registry.BACKENDS, "onnxruntime", "backend")
    path = folder / f"{hashlib.sha256(model).hexdigest()}.onnx"
    try:
        path.write_bytes(model)
    except OSError as exc:
        raise BackendError(f"cannot write {path} ({exc.strerror}): set TMPDIR to a folder with room") from exc
    backend: Backend = backend_class(path, spec)
    return backend


def compare(
    reference: Backend, candidate: Backend, images: list[Image], size: tuple[int, int], source: str, where: str
) -> Agreement:
    """Label `images` through both networks at the network `size` and count the pixels on which they agree."""
    first, second = HostSegmenter(reference, size=size), HostSegmenter(candidate, size=size)
    shares = [float((first(image) == second(image)).mean()) for image in images]
    pixels = [image.shape[0] * image.shape[1] for image in images]
    return Agreement(float(np.average(shares, weights=pixels)), min(shares), len(images), source, where, size)
