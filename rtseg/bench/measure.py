"""One repetition: a pipeline opened, warmed up, put under load and closed, and the figures of it."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from rtseg.bench.process import memory_mb, reset_peak
from rtseg.bench.record import FrameRecorder, Row
from rtseg.bench.replay import Clip, Replay
from rtseg.config import RunConfig
from rtseg.errors import ConfigError, SinkError, StopRun
from rtseg.pipeline.checks import outputs_of
from rtseg.pipeline.loop import run
from rtseg.pipeline.mailbox import parse_policy
from rtseg.pipeline.opening import Notify, open_pipeline
from rtseg.pipeline.summary import model_status
from rtseg.timing import Samples, percentiles

__all__ = ["GPU", "Load", "figures", "measure", "rounded"]

WITHIN = 0.02
"""How far the stages' means may be from the whole."""
GPU = "gpu-"
"""What the stages measured by events on a GPU begin with; they lie inside those of the loop."""


@dataclass(frozen=True, slots=True)
class Load:
    """What a pipeline is put under: frames per second or None for as many as it takes, seconds, frames before them."""

    rate: float | None
    seconds: float
    warm_up: int


@dataclass(frozen=True, slots=True)
class Start:
    """When measuring could begin: monotonic nanoseconds and nanoseconds of the process's CPU time."""

    time: int
    cpu: int


def measure(config: RunConfig, clip: Clip, load: Load, notify: Notify) -> tuple[dict[str, Any], dict[str, Any]]:
    """One repetition of `docs/bench-schema.md`, and what does not change between them: model, network size, policy.

    The repetition's `trace` counts time in nanoseconds from when its first frame was due, which is `t_first`.
    Errors: every RtsegError that the pipeline can give; SinkError when the user closed a window.
    """
    fresh = reset_peak()
    replay = Replay(clip, rate=load.rate, seconds=load.seconds, warm_up=load.warm_up)
    with ExitStack() as stack:
        pipeline, _ = open_pipeline(config, stack, notify, source=replay, recorder=FrameRecorder)
        policy = pipeline.capture.policy
        waits = parse_policy(policy)[0] == "wait"
        if load.rate is None and not waits:
            raise ConfigError(f"at --rate max the pipeline is waited for: policy {policy} would only drop frames")
        facts = {
            "model": model_status(config, pipeline.segmenter.backend),
            "network_size": list(pipeline.segmenter.place(clip.size).network),
            "policy": policy,
        }
        start = Start(time.monotonic_ns(), time.process_time_ns())
        replay.begin()
        try:
            run(pipeline)
        except StopRun:
            raise SinkError("the window was closed before the benchmark was over") from None
        memory = memory_mb()
    recorder = pipeline.recorder
    assert isinstance(recorder, FrameRecorder)
    repetition = figures(recorder, replay, start, sinks=len(outputs_of(config)))
    if waits and load.rate is not None:
        repetition["late"] = {"frames": None, "worst_ms": None}  # the generator waits for the pipeline
    repetition["memory_mb"] = {**memory, "since": "repetition" if fresh else "process"}
    return repetition, facts


def figures(recorder: FrameRecorder, replay: Replay, start: Start, *, sinks: int) -> dict[str, Any]:
    """The figures of a finished repetition, of the frames after the warm-up alone."""
    warm, rows = _split(recorder.rows, replay.warm_up)
    written = [(index, t) for index, t in recorder.written if index >= replay.warm_up]
    due = len(rows) if replay.count is None else replay.count - replay.warm_up
    before = Start(warm[-1].done, warm[-1].cpu) if warm else start
    first = before.time if replay.rate is None else replay.due(replay.warm_up)
    seconds = (rows[-1].done - first) / 1e9
    if replay.rate is not None:
        seconds = max(seconds, due / replay.rate)
    lost, lost_by_sinks = due - len(rows), sinks * len(rows) - len(written)
    names = tuple(name for name in recorder.stages if not name.startswith(GPU))
    gpu = tuple(name for name in recorder.stages if name.startswith(GPU))
    stages = {name: [row.took.get(name, 0) for row in rows] for name in names}
    stages["other"] = [row.between(names[:-1]) for row in rows]
    latencies = [row.latency for row in rows]
    on_gpu = {name: [row.took.get(name, 0) for row in rows] for name in gpu}
    times = trace(rows, written, replay, stages | on_gpu)
    whole = sum(latencies) + sum(stages["sink"])
    return {
        "t_first": rows[0].due if replay.rate is None else first,
        "seconds": rounded(seconds),
        "due": due,
        "frames": len(rows),
        "rate": rounded(len(rows) / seconds),
        "drops": {"total": lost + lost_by_sinks, "capture": lost, "sinks": lost_by_sinks},
        "late": {"frames": replay.late, "worst_ms": rounded(replay.late_worst_ns / 1e6)},
        "capture_to_overlay_ms": spread(latencies),
        "capture_to_sink_ms": spread(times["to_sink_ns"]),
        "jitter_ms": spread(jitter(latencies)),
        "stages_ms": {name: spread(values) for name, values in stages.items()},
        "stages_sum": {"ratio": rounded(sum(map(sum, stages.values())) / whole, 4), "within": WITHIN},
        "gpu_ms": {name: spread(values) for name, values in on_gpu.items()} or None,
        "cpu_s_per_frame": rounded((rows[-1].cpu - before.cpu) / 1e9 / len(rows), 5),
        "trace": times,
    }


def _split(rows: Sequence[Row], warm_up: int) -> tuple[list[Row], list[Row]]:
    return [row for row in rows if row.index < warm_up], [row for row in rows if row.index >= warm_up]


def trace(
    rows: Sequence[Row], written: Iterable[tuple[int, int]], replay: Replay, stages: dict[str, list[int]]
) -> dict[str, Any]:
    """Every frame's times, in nanoseconds since the first was due."""
    t0 = rows[0].due if replay.rate is None else replay.due(replay.warm_up)
    due_at = {row.index: row.due for row in rows}
    last: dict[int, int] = {}
    for index, t in written:
        last[index] = max(t, last.get(index, 0))
    used = {row.index for row in rows}
    dropped = []
    if replay.count is not None:
        dropped = [[i, replay.due(i) - t0] for i in range(replay.warm_up, replay.count) if i not in used]
    return {
        "index": [row.index for row in rows],
        "due_ns": [row.due - t0 for row in rows],
        "start_ns": {name: [row.started[name] - t0 for row in rows] for name in stages if name in rows[0].started},
        "stages_ns": stages,
        "overlay_ns": [row.overlay - t0 for row in rows],
        "to_sink_ns": [t - due_at[index] for index, t in written],
        "sink_ns": [last[row.index] - t0 if row.index in last else None for row in rows],
        "dropped": dropped,
    }


def jitter(latencies: Sequence[int]) -> list[int]:
    """How much the latency of consecutive frames differs, nanoseconds."""
    return [abs(b - a) for a, b in itertools.pairwise(latencies)]


def spread(nanoseconds: Iterable[int]) -> dict[str, Any]:
    """Percentiles in milliseconds."""
    return percentiles(Samples(nanoseconds))


def rounded(value: float, digits: int = 3) -> float:
    """A figure without digits that mean nothing."""
    return round(float(value), digits)
