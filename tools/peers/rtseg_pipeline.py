"""rtseg itself, by the loop that `rtseg run` runs: capture thread, `pipeline.run`, a sink that takes the overlay."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from fractions import Fraction
from types import TracebackType
from typing import Any

from job import Array, Emit, Job
from rtseg.backends import open_backend
from rtseg.drawing.palette import resolve_palette
from rtseg.drawing.render import Renderer
from rtseg.drawing.view import View
from rtseg.frame import Frame, Result, StreamInfo
from rtseg.pipeline.capture import Capture
from rtseg.pipeline.delivery import Delivery
from rtseg.pipeline.loop import Pipeline, run
from rtseg.segmenter.host import HostSegmenter

PACKAGES = ("rtseg", "openvino", "numba", "numpy", "opencv-python")


class Given:
    """A source of frames that are handed to it.

    With `gate` the next frame is taken only when the gate is opened, so that one is under way at a time. With `rate`
    frames are due at fixed times, which are their capture times, whether or not anyone is ready for them.
    """

    reconnects = 0

    def __init__(
        self,
        frames: Iterable[Array],
        size: tuple[int, int],
        *,
        gate: threading.Semaphore | None = None,
        rate: float | None = None,
    ) -> None:
        self._frames, self._size, self._gate, self._rate = frames, size, gate, rate
        self._closed = threading.Event()

    @property
    def info(self) -> StreamInfo:
        return StreamInfo("given", self._rate is not None, self._rate or 30.0, self._size, None, Fraction(1, 1000))

    def __enter__(self) -> Given:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __iter__(self) -> Iterator[Frame]:
        frames, start = iter(self._frames), time.monotonic_ns()
        for index in range(1 << 62):
            while self._gate is not None and not self._gate.acquire(timeout=0.5):
                if self._closed.is_set():
                    return
            due = start + int(index / self._rate * 1e9) if self._rate else None
            if due is not None:
                time.sleep(max(0.0, (due - time.monotonic_ns()) / 1e9))
            image = next(frames, None)
            if image is None or self._closed.is_set():
                return
            yield Frame(index, due or time.monotonic_ns(), index / 1000, None, image)

    def close(self) -> None:
        self._closed.set()


class Taker:
    """A sink that hands labels and overlay on."""

    threaded = False
    needs = frozenset({"overlay", "labels"})

    def __init__(self, emit: Emit, gate: threading.Semaphore | None) -> None:
        self._emit, self._gate = emit, gate

    def __enter__(self) -> Taker:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Nothing is held."""

    def write(self, result: Result) -> None:
        assert result.labels is not None
        assert result.overlay is not None
        self._emit(result.labels, result.overlay)
        if self._gate is not None:
            self._gate.release()


class RtsegPipeline:
    """`fit` and `antialias` are those of `rtseg run`; `precision` None is OpenVINO's own choice."""

    concurrent = True

    def __init__(
        self, job: Job, precision: str | None = None, fit: str = "letterbox", antialias: bool = True, depth: int = 1
    ) -> None:
        self.job = job
        self.backend = open_backend("openvino", str(job.model), precision=precision, threads=job.threads, depth=depth)
        mode: Any = fit
        self.segmenter = HostSegmenter(self.backend, size=job.network, mode=mode, antialias=antialias)
        self.segmenter.warm_up(job.frame)
        self.precision = self.backend.precision
        self.stages_ms: dict[str, float] = {}

    def _run(self, source: Given, sink: Taker) -> Pipeline:
        with ExitStack() as stack:
            capture = stack.enter_context(Capture(source))
            delivery = stack.enter_context(Delivery([sink], "wait:4", lambda frame, t: None))
            view = View(alpha=0.5)
            # The colours of the model's file, as every peer draws them.
            palette = resolve_palette(None, self.backend.spec)
            palette.colors[: len(self.job.palette)] = self.job.palette
            renderer = Renderer(self.backend.spec, palette, view)
            pipeline = Pipeline(capture, self.segmenter, renderer, delivery, sink.needs)
            run(pipeline)
        return pipeline

    def run(self, frames: Iterable[Array], emit: Emit, *, ahead: bool = False) -> None:
        gate = None if ahead else threading.Semaphore(1)
        pipeline = self._run(Given(frames, self.job.frame, gate=gate), Taker(emit, gate))
        self.stages_ms = {name: row["p50"] for name, row in pipeline.recorder.summary()["stages_ms"].items()}

    def paced(self, frames: Iterable[Array], rate: float) -> dict[str, Any]:
        """Open loop: frames due at `rate` per second, the newest wins; milliseconds from due to overlay, and drops."""
        pipeline = self._run(Given(frames, self.job.frame, rate=rate), Taker(lambda labels, overlay: None, None))
        latencies = pipeline.recorder.to_overlay.sorted()
        return {"latency_ms": [round(float(ns) / 1e6, 3) for ns in latencies], "drops": pipeline.drops}


open_peer = RtsegPipeline
