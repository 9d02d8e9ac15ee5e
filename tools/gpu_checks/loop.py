"""Frames from memory through the pipeline's own loop."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rtseg.drawing.device import DeviceRenderer
from rtseg.drawing.palette import resolve_palette
from rtseg.drawing.render import Renderer
from rtseg.drawing.view import View
from rtseg.frame import Frame
from rtseg.pipeline.delivery import Delivery
from rtseg.pipeline.loop import Pipeline, run
from rtseg.segmenter.device import DeviceSegmenter
from rtseg.timing import Recorder

__all__ = ["Resident", "Run", "frames", "painter_for"]


class Resident:
    """Stands for a capture: every frame is in memory and is captured at the moment when the loop asks for it.

    So a latency holds no wait of the frame for the loop. It ends after `count` frames or when `seconds` are over.
    """

    def __init__(self, images: Sequence[NDArray[np.uint8]], count: int, seconds: float) -> None:
        self._images, self._count, self._seconds = images, count, seconds

    def __iter__(self) -> Iterator[Frame]:
        deadline = time.monotonic() + self._seconds
        for index in range(self._count):
            if time.monotonic() > deadline:
                return
            yield Frame(index, time.monotonic_ns(), None, None, self._images[index % len(self._images)])


@dataclass(frozen=True)
class Run:
    """What a run of the loop took: wall-clock seconds, frames, and the recorder's summary."""

    seconds: float
    frames: int
    summary: dict[str, Any]

    @property
    def rate(self) -> float:
        """Frames per second."""
        return self.frames / max(self.seconds, 1e-9)


def painter_for(segmenter: DeviceSegmenter, needs: frozenset[str]) -> DeviceRenderer:
    """What draws a segmenter's frames, which from now on make what `needs` says."""
    view = View()
    renderer = Renderer(segmenter.spec, resolve_palette(None, segmenter.spec), view)
    segmenter.produce(needs, view, renderer.colormaps)
    return DeviceRenderer(renderer)


def frames(
    segmenter: DeviceSegmenter,
    painter: DeviceRenderer,
    needs: frozenset[str],
    images: Sequence[NDArray[np.uint8]],
    count: int,
    seconds: float,
) -> Run:
    """Run up to `count` frames for at most `seconds`; results are thrown away."""
    capture: Any = Resident(images, count, seconds)
    with Delivery([], "wait:4", lambda frame, t: None) as delivery:
        pipeline = Pipeline(capture, segmenter, painter, delivery, needs, Recorder(segmenter.stages))
        begin = time.perf_counter()
        run(pipeline)
        elapsed = time.perf_counter() - begin
    return Run(elapsed, len(pipeline.recorder.to_overlay), pipeline.recorder.summary())
