"""Where the time of every frame went: stage clocks, percentiles with sample counts, a rolling window for the HUD."""

from __future__ import annotations

import random
import threading
import time
from array import array
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["REFINED", "STAGES", "Recorder", "Rolling", "Samples", "StageClock", "percentiles"]

STAGES = ("capture", "preprocess", "infer", "labels", "render", "sink")
"""The calls of the loop in order; `capture` is the wait from the frame in hand to the loop taking it."""
REFINED = (*STAGES[:3], "refine", *STAGES[3:])
"""The same where scores are refined before they become labels."""

KEPT = 1 << 16
"""Samples kept of each duration: all of a run of half an hour at 30 frames per second."""
PERCENTILES = (50, 90, 95, 99)
FLOORS = {50: 1, 90: 64, 95: 130, 99: 662}
"""Samples below which a percentile says nothing (MLPerf's early-stopping floors; p95 by the same rule)."""


class StageClock:
    """Nanoseconds per stage of one frame."""

    __slots__ = ("_started", "stages")

    def __init__(self) -> None:
        self.stages: dict[str, int] = {}
        self._started: dict[str, int] = {}

    @contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        self.begin(stage)
        yield
        self.end(stage)

    def begin(self, stage: str) -> None:
        """Start a stage that other calls may interleave with, such as an inference in flight."""
        self._started[stage] = time.monotonic_ns()

    def end(self, stage: str) -> None:
        """Finish a stage that was begun."""
        self.stages[stage] = time.monotonic_ns() - self._started[stage]


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
    """p50 to p99 and max in milliseconds beside the sample count; None where the samples are too few for one.

    Percentiles are nearest-rank, so each is a latency that a frame really had.
    """
    ordered = samples.sorted()
    out: dict[str, Any] = {"samples": len(samples)}
    for p in PERCENTILES:
        supported = ordered.size >= FLOORS[p]
        out[f"p{p}"] = _ms(ordered[int(np.ceil(p / 100 * ordered.size)) - 1]) if supported else None
    out["max"] = _ms(samples.max) if len(samples) else None
    return out


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
        return ordered[max(0, -(-len(ordered) * int(percent) // 100) - 1)] / 1e6


class Recorder:
    """Every frame's stage times and latencies, until the report is made."""

    def __init__(self, stages: tuple[str, ...] = STAGES) -> None:
        self.stages = {name: Samples() for name in stages}
        self.to_overlay, self.to_sink = Samples(), Samples()
        self.rolling = Rolling()
        self._lock = threading.Lock()

    def add(self, stages: dict[str, int], t_overlay: int, latency_ns: int) -> None:
        """Note a frame whose results are in hand."""
        for name, samples in self.stages.items():
            samples.add(stages.get(name, 0))
        self.to_overlay.add(latency_ns)
        self.rolling.add(t_overlay, latency_ns)

    def add_written(self, latency_ns: int) -> None:
        """Note that a sink finished a frame, capture-to-sink in nanoseconds; called from sink threads."""
        with self._lock:
            self.to_sink.add(latency_ns)

    def summary(self) -> dict[str, Any]:
        """Percentiles in milliseconds of both latencies and of each stage."""
        return {
            "capture_to_overlay_ms": percentiles(self.to_overlay),
            "capture_to_sink_ms": percentiles(self.to_sink),
            "stages_ms": {name: percentiles(samples) for name, samples in self.stages.items()},
        }
