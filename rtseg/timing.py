"""Where the time of every frame went: stage clocks, percentiles with sample counts, a rolling window for the HUD."""

from __future__ import annotations

import random
import threading
import time
from array import array
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from rtseg.frame import Frame

__all__ = ["FLOORS", "REFINED", "STAGES", "Recorder", "Rolling", "Samples", "StageClock", "percentiles", "rank"]

STAGES = ("capture", "preprocess", "infer", "labels", "render", "sink")
"""The calls of the loop in order; `capture` is the wait from the frame in hand to the loop taking it."""
REFINED = (*STAGES[:3], "refine", *STAGES[3:])
"""The same where scores are refined before they become labels."""

KEPT = 1 << 16
"""Samples kept of each duration: all of a run of half an hour at 30 frames per second."""
FLOORS = {50: 1, 90: 64, 95: 130, 99: 662, 99.9: 6636}
"""Samples below which a percentile says nothing: MLPerf's early-stopping floors, p95 and p99.9 by the same rule.

The rule: with so many samples, at most one of them beyond the true percentile has a chance of less than 1 %.
"""


class StageClock:
    """When each stage of one frame began (`started`, monotonic) and how long it took (`stages`), in nanoseconds."""

    __slots__ = ("stages", "started")

    def __init__(self) -> None:
        self.stages: dict[str, int] = {}
        self.started: dict[str, int] = {}

    @contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        self.begin(stage)
        yield
        self.end(stage)

    def begin(self, stage: str) -> None:
        """Start a stage that other calls may interleave with, such as an inference in flight."""
        self.started[stage] = time.monotonic_ns()

    def end(self, stage: str) -> None:
        """Finish a stage that was begun."""
        self.stages[stage] = time.monotonic_ns() - self.started[stage]

    def since(self, stage: str, start: int) -> None:
        """Finish a stage that began at `start`, monotonic nanoseconds, before this clock was there."""
        self.started[stage] = start
        self.end(stage)


class Samples:
    """Durations in nanoseconds in bounded memory, so that a camera may run for months.

    All of the first KEPT are kept; from then on a uniform random choice among all so far (reservoir sampling, Vitter
    1985, algorithm R; seeded). The count, which is the length, and the maximum are always exact.
    """

    __slots__ = ("_count", "_kept", "_random", "max")

    def __init__(self, nanoseconds: Iterable[int] = ()) -> None:
        self._kept, self._count, self._random = array("q"), 0, random.Random(0)
        self.max = 0
        for value in nanoseconds:
            self.add(value)

    def add(self, nanoseconds: int) -> None:
        """Note one duration."""
        self._count += 1
        self.max = max(self.max, nanoseconds)
        if len(self._kept) < KEPT:
            self._kept.append(nanoseconds)
        elif (place := self._random.randrange(self._count)) < KEPT:
            self._kept[place] = nanoseconds

    def __len__(self) -> int:
        return self._count

    def sorted(self) -> NDArray[np.int64]:
        """What is kept, in ascending order."""
        return np.sort(np.array(self._kept, np.int64))


def percentiles(samples: Samples) -> dict[str, Any]:
    """p50 to p99.9 and max in milliseconds beside the sample count; None where the samples are too few for one.

    Percentiles are nearest-rank, so each is a latency that a frame really had.
    """
    ordered = samples.sorted()
    out: dict[str, Any] = {"samples": len(samples)}
    for p, floor in FLOORS.items():
        out[f"p{p}"] = _ms(ordered[rank(p, ordered.size)]) if ordered.size >= floor else None
    out["max"] = _ms(samples.max) if len(samples) else None
    return out


def rank(percent: float, count: int) -> int:
    """The place, from 0, of a nearest-rank percentile among `count` sorted samples."""
    return max(0, -(-round(percent * 10) * count // 1000) - 1)


def _ms(nanoseconds: Any) -> float:
    return round(float(nanoseconds) / 1e6, 3)


class Rolling:
    """Rate and latency over the last frames, for the HUD and the progress line."""

    def __init__(self, window: int = 64) -> None:
        self._latencies: deque[int] = deque(maxlen=window)
        self._times: deque[int] = deque(maxlen=window)

    def add(self, t_done: int, latency_ns: int) -> None:
        """Note a finished frame: when it was done and how long it took, monotonic nanoseconds."""
        self._times.append(t_done)
        self._latencies.append(latency_ns)

    def __len__(self) -> int:
        """The frames in the window."""
        return len(self._latencies)

    @property
    def fps(self) -> float:
        """Frames per second over the window; 0 until two frames are done."""
        if len(self._times) < 2 or self._times[-1] == self._times[0]:
            return 0.0
        return (len(self._times) - 1) * 1e9 / (self._times[-1] - self._times[0])

    def latency_ms(self, percent: float) -> float:
        """A nearest-rank percentile of the window's latencies in milliseconds; 0 before the first frame."""
        if not self._latencies:
            return 0.0
        ordered = sorted(self._latencies)
        return ordered[rank(percent, len(ordered))] / 1e6


class Recorder:
    """Every frame's stage times and latencies, until the report is made."""

    def __init__(self, stages: tuple[str, ...] = STAGES) -> None:
        self.stages = {name: Samples() for name in stages}
        self.to_overlay, self.to_sink = Samples(), Samples()
        self.rolling = Rolling()
        self._lock = threading.Lock()

    def add(self, frame: Frame, clock: StageClock, t_overlay: int) -> None:
        """Note a frame whose results are in hand, since `t_overlay` in monotonic nanoseconds."""
        for name, samples in self.stages.items():
            samples.add(clock.stages.get(name, 0))
        latency = t_overlay - frame.t_capture
        self.to_overlay.add(latency)
        self.rolling.add(t_overlay, latency)

    def add_written(self, frame: Frame, t_written: int) -> None:
        """Note that a sink finished a frame at `t_written`, monotonic nanoseconds; called from sink threads."""
        with self._lock:
            self.to_sink.add(t_written - frame.t_capture)

    def summary(self) -> dict[str, Any]:
        """Percentiles in milliseconds of both latencies and of each stage."""
        return {
            "capture_to_overlay_ms": percentiles(self.to_overlay),
            "capture_to_sink_ms": percentiles(self.to_sink),
            "stages_ms": {name: percentiles(samples) for name, samples in self.stages.items()},
        }
