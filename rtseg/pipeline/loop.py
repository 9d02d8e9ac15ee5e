"""The one loop: captured frame in, labels and overlay out, every stage timed under the name of its call."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Generator
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

from rtseg.drawing.render import Hud
from rtseg.frame import Frame, Result
from rtseg.geometry import Fit
from rtseg.pipeline.capture import Capture
from rtseg.pipeline.delivery import Delivery
from rtseg.segmenter.contract import Painter, Stages
from rtseg.timing import Recorder, StageClock

__all__ = ["Pipeline", "results", "run"]


@dataclass(slots=True)
class Pipeline:
    """Everything a run works with, open and ready; `needs` is the union of what the sinks asked for.

    `reported` is the part of it that is made for the report, whether a sink wants it now or not.
    `drops` counts the frames lost before the last one that was used, `drops_at_start` those before the first. They are
    gaps in the frames' numbers: what the source still captures while outputs are being finished is no loss.
    """

    capture: Capture
    segmenter: Stages
    renderer: Painter
    delivery: Delivery
    needs: frozenset[str]
    recorder: Recorder = field(default_factory=Recorder)
    reported: frozenset[str] = frozenset()
    area_sum: Any = 0.0
    area_frames: int = 0
    warm_up_s: float = 0.0
    drops: int = 0
    drops_at_start: int | None = None

    @property
    def wanted(self) -> frozenset[str]:
        """What is to be made of the frame at hand: the needs, less what no listener of a sink asks for now."""
        return self.needs - (self.delivery.idle - self.reported)

    def count_drops(self, index: int) -> int:
        """Note that frame `index` is used: how many of those captured before it never were, since the first of all."""
        if self.drops_at_start is None:
            self.drops_at_start = index
        self.drops = index - len(self.recorder.to_overlay)
        return self.drops


def results(pipeline: Pipeline, limit: int | None = None) -> Generator[Result, None, None]:
    """The loop: a result per frame, until the source ends or `limit` frames are done.

    With a backend depth above 1, that many frames are in flight at once. What the consumer does until it asks for the
    next result is its `sink` stage; a result at which it leaves or fails counts. Errors of any thread are raised here.
    """
    capture, segmenter, recorder = pipeline.capture, pipeline.segmenter, pipeline.recorder
    backend, in_flight = segmenter.backend, deque[tuple[Frame, frozenset[str], Any, Fit, StageClock]]()

    def finish() -> Generator[Result, None, None]:
        frame, wanted, tensor, place, clock = in_flight.popleft()
        scores = backend.collect()
        clock.end("infer")
        if segmenter.refines:
            with clock("refine"):
                scores = segmenter.refine(scores, tensor, place)
        with clock("labels"):
            labels, confidence = segmenter.labels(scores, place, confidence="confidence" in wanted)
        clock.stages.update(segmenter.device_times)
        drops = pipeline.count_drops(frame.index)
        with clock("render"):
            overlay, areas = render(pipeline, wanted, frame, labels, scores)
        t_overlay = time.monotonic_ns()
        clock.begin("sink")
        try:
            classes = segmenter.spec.classes
            yield Result(frame, labels, confidence, overlay, areas, clock.stages, t_overlay, drops, classes)
        finally:  # a frame at which the user quits counts, for the other outputs hold it
            clock.end("sink")
            recorder.add(frame, clock, t_overlay)

    for index, frame in enumerate(capture, start=1):
        clock = StageClock()
        clock.since("capture", frame.t_capture)
        wanted = pipeline.wanted
        with clock("preprocess"):
            tensor, place = segmenter.preprocess(frame.image, wanted)
        clock.begin("infer")
        backend.submit(tensor)
        in_flight.append((frame, wanted, tensor, place, clock))
        del frame, tensor  # the queue alone holds them from here on
        if len(in_flight) == backend.depth:
            yield from finish()
        if index == limit:
            break
    while in_flight:
        yield from finish()


def run(pipeline: Pipeline, limit: int | None = None) -> None:
    """Hand every result to the sinks until the source ends, `limit` frames are done, or a sink raises StopRun."""
    with closing(results(pipeline, limit)) as stream:
        for result in stream:
            pipeline.delivery.write(result)
            del result  # its buffers are free for reuse while the next one is made


def render(pipeline: Pipeline, wanted: frozenset[str], frame: Frame, labels: Any, scores: Any) -> tuple[Any, Any]:
    """The overlay and the class areas of a frame, each None unless it is wanted."""
    overlay = areas = None
    if "areas" in wanted:
        areas = pipeline.segmenter.areas(labels, scores)
        pipeline.area_sum, pipeline.area_frames = pipeline.area_sum + areas, pipeline.area_frames + 1
    if "overlay" in wanted:
        rolling = pipeline.recorder.rolling
        hud = None
        if pipeline.renderer.view.hud:
            # A zero stands for what is not known yet.
            fps, p50, p95 = rolling.fps or None, rolling.latency_ms(50) or None, rolling.latency_ms(95) or None
            hud = Hud(fps, p50, p95, pipeline.drops)
        overlay = pipeline.renderer.picture(frame.image, labels, scores, hud)
    return overlay, areas
