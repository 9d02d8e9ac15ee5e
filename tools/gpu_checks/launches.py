"""The launches that are timed, each on buffers of its own, and the bytes that they must move."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rtseg.geometry import fit
from rtseg.gpu.cuda import Device, Memory
from rtseg.kernels import launch as plans
from rtseg.kernels.launch import Drawing, Launch, Picture, Plane
from rtseg.packages.spec import ModelSpec

__all__ = ["Set", "areas", "label", "preprocess"]


@dataclass(frozen=True, eq=False)
class Set:
    """Launches that do the same on `memories` of their own; `moved` are the bytes read and written once by each.

    Tables of the geometry, some kilobytes that all launches share, are not counted.
    """

    launches: tuple[Launch, ...]
    memories: tuple[Memory, ...]
    moved: int

    @property
    def held(self) -> int:
        """Bytes of all its buffers."""
        return sum(memory.size for memory in self.memories)

    def free(self) -> None:
        """Give the buffers back; nothing may run on them."""
        for memory in self.memories:
            memory.free()


Make = Callable[[], Set]


def preprocess(
    device: Device, image: NDArray[np.uint8], chroma: NDArray[np.uint8] | None, size: tuple[int, int], spec: ModelSpec
) -> Make:
    """Preprocess of a BGR frame, or of luma and chroma, stretched to a network size."""
    place = fit((image.shape[0], image.shape[1]), size, "stretch")
    made = plans.preprocess_tables(place)
    table = device.upload(made.data)
    tensor = 3 * size[0] * size[1] * np.dtype(spec.dtype).itemsize

    def make() -> Set:
        above = device.upload(image)
        below = None if chroma is None else device.upload(chroma)
        out = device.empty(tensor)
        picture = Picture(
            "bgr8" if below is None else "nv12",
            Plane(above.address, image.strides[0]),
            None if below is None or chroma is None else Plane(below.address, chroma.strides[0]),
        )
        launch = plans.preprocess(spec, place, picture, made, table.address, out.address)
        memories = (above, out) if below is None else (above, below, out)
        # The table belongs to the closure, which lives as long as the launches do.
        return Set((launch,), memories, sum(memory.size for memory in memories))

    return make


def label(device: Device, logits: NDArray[Any], image: NDArray[np.uint8], wanted: Sequence[str]) -> Make:
    """Labels of logits stretched over the frame: `wanted` of labels, overlay, confidence and contours."""
    size = (image.shape[0], image.shape[1])
    grid = (logits.shape[1], logits.shape[2])
    place = fit(size, grid, "stretch")
    made = plans.label_tables(place, grid)
    colors = np.random.default_rng(0).integers(0, 256, (256, 3), dtype=np.uint8)
    table = device.upload(made.data)
    ink = device.upload(plans.pigments(colors, np.full(256, 128, np.uint8)))
    pixels = size[0] * size[1]

    def make() -> Set:
        scores = device.upload(logits)
        out = {name: device.empty(pixels) for name in ("labels", "confidence") if name in wanted}
        memories = [scores, *out.values()]
        drawing = None
        if "overlay" in wanted:
            frame, overlay = device.upload(image), device.empty(image.nbytes)
            memories += [frame, overlay]
            line = ink.address if "contours" in wanted else 0
            planes = Plane(frame.address, 3 * size[1]), Plane(overlay.address, 3 * size[1])
            drawing = Drawing(*planes, ink.address, line)
        planes_out = {name: Plane(memory.address, size[1]) for name, memory in out.items()}
        launch = plans.labels(
            scores.address,
            (logits.shape[0], *grid),
            logits.dtype,
            place,
            made,
            table.address,
            classes=np.arange(logits.shape[0], dtype=np.int32),
            labels=planes_out.get("labels"),
            confidence=planes_out.get("confidence"),
            drawing=drawing,
        )
        return Set((launch,), tuple(memories), sum(memory.size for memory in memories))

    return make


def areas(device: Device, labels: NDArray[np.uint8]) -> Make:
    """Clearing and counting of a label map, two launches."""

    def make() -> Set:
        source, counts = device.upload(labels), device.empty(4 * 256)
        launches = plans.areas(
            Plane(source.address, labels.shape[1]), (labels.shape[0], labels.shape[1]), counts.address
        )
        return Set(launches, (source, counts), source.size + counts.size)

    return make
