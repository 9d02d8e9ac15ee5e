"""What the page and the plots show: colours for light and dark, and a benchmark's values in the shape of its charts.

Instants in a repetition's `trace` (`due_ns`, `start_ns`, `overlay_ns`, `sink_ns`) are nanoseconds of one monotonic
clock; `stages_ns` are durations.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "INKS",
    "LATENCIES",
    "PERCENTS",
    "SERIES",
    "Bar",
    "Spread",
    "Timeline",
    "bars",
    "floor",
    "latencies",
    "percentile",
    "spread",
    "supported",
    "thinned",
    "timeline",
    "together",
    "traces",
]

Floats = NDArray[np.float64]

INKS: Mapping[str, tuple[str, str]] = {
    "paper": ("#ffffff", "#14181d"),
    "ink": ("#1b232c", "#e6ebf0"),
    "soft": ("#566370", "#a3afbb"),
    "rule": ("#d9dfe5", "#323a43"),
    "drop": ("#c4122f", "#ff6b7d"),
    "series-0": ("#1a6fb8", "#64b1f5"),
    "series-1": ("#c2600a", "#f5a45c"),
    "series-2": ("#178253", "#55cb95"),
    "series-3": ("#7a48c0", "#bb9cf5"),
    "series-4": ("#7d6410", "#dbbd55"),
    "series-5": ("#0b7f92", "#55cfe0"),
}
"""Colours on light and on dark paper."""
SERIES = sum(name.startswith("series-") for name in INKS)
"""Configurations that have a colour of their own; the next ones take them in turn."""
LATENCIES = ("capture_to_overlay_ms", "capture_to_sink_ms", "jitter_ms")
PERCENTS = ("p50", "p90", "p95", "p99", "p99.9")


def floor(percent: float) -> int:
    """Samples that a percentile takes: the fewest of which, with 99 % confidence, two at least lie beyond it.

    This is MLPerf's early stopping with one overlatency query discarded: 64 for p90, 130 for p95, 662 for p99. The
    median is given for any number.
    """
    if percent <= 50:
        return 1
    inside = percent / 100
    count = 2
    while inside**count + count * (1 - inside) * inside ** (count - 1) > 0.01:
        count += 1
    return count


def supported(samples: int) -> float:
    """The highest percentile that so many samples support, by the rule of `floor`; 0 for none."""
    if samples < 1:
        return 0.0
    low, high = 0.5, 1.0
    while high - low > 1e-7:
        inside = (low + high) / 2
        if inside**samples + samples * (1 - inside) * inside ** (samples - 1) <= 0.01:
            low = inside
        else:
            high = inside
    return 100 * low


def traces(configuration: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The repetitions that hold a value for each frame."""
    return [one for one in configuration["repetitions"] if (one.get("trace") or {}).get("due_ns")]


def latencies(configuration: Mapping[str, Any]) -> Floats:
    """Capture-to-overlay of every frame of every repetition in milliseconds; empty where no trace was kept."""
    parts = [_latency(repetition["trace"]) for repetition in traces(configuration)]
    return np.concatenate(parts) if parts else np.empty(0)


def _latency(trace: Mapping[str, Any]) -> Floats:
    return (np.asarray(trace["overlay_ns"], np.int64) - np.asarray(trace["due_ns"], np.int64)) / 1e6


@dataclass(frozen=True, slots=True)
class Timeline:
    """Latencies over time: the repetitions end to end, `starts` in seconds; NaN between two of them breaks the line."""

    seconds: Floats
    latency_ms: Floats
    drops: Floats
    starts: tuple[float, ...]
    end: float


def timeline(configuration: Mapping[str, Any]) -> Timeline:
    """When which frame was due and how long it took; `drops` is when the frames were due that never came out."""
    seconds, taken, drops, starts, end = [np.empty(0)], [np.empty(0)], [np.empty(0)], [], 0.0
    for repetition in traces(configuration):
        trace = repetition["trace"]
        due = np.asarray(trace["due_ns"], np.int64)
        lost = np.asarray([when for _, when in trace.get("dropped", ())], np.int64)
        first = min(due.min(), lost.min()) if lost.size else due.min()
        starts.append(end)
        seconds += [end + (due - first) / 1e9, np.array([math.nan])]
        taken += [_latency(trace), np.array([math.nan])]
        drops.append(end + (lost - first) / 1e9)
        end += max(float(repetition["seconds"]), float(max(due.max(), lost.max() if lost.size else 0) - first) / 1e9)
    return Timeline(np.concatenate(seconds), np.concatenate(taken), np.concatenate(drops), tuple(starts), end)


def thinned(x: Floats, y: Floats, most: int) -> tuple[Floats, Floats]:
    """At most about `most` points of a line that look like all of them: the lowest and highest of each stretch."""
    if y.size <= most:
        return x, y
    keep: list[int] = []
    for stretch in np.array_split(np.arange(y.size), max(1, most // 3)):
        gaps = stretch[np.isnan(y[stretch])]
        there = stretch[~np.isnan(y[stretch])]
        ends = [there[np.argmin(y[there])], there[np.argmax(y[there])]] if there.size else []
        keep += sorted({*map(int, ends), *map(int, gaps)})
    return x[keep], y[keep]


@dataclass(frozen=True, slots=True)
class Bar:
    """A stage of the waterfall in milliseconds; `assumed` where only its length is known and not where it lies."""

    name: str
    start: float
    duration: float
    assumed: bool = False


def bars(configuration: Mapping[str, Any]) -> tuple[list[Bar], float | None]:
    """The stages of the average frame, and its latency, all in milliseconds; the GPU's own stages come last.

    Means of all frames where traces were kept, for means add up. Else medians of the repetitions' p50, one after the
    other, and the latency likewise. The GPU's stages stand one after the other from the start of `infer`, unless it
    is known when they began.
    """
    kept = [repetition["trace"] for repetition in traces(configuration)]
    if not kept:
        return _median_bars(configuration)
    out = []
    for name in sorted(kept[0]["stages_ns"], key=lambda name: name.startswith("gpu-")):
        duration = _mean([trace["stages_ns"][name] for trace in kept])
        if all(name in trace["start_ns"] for trace in kept):
            start = _mean([np.subtract(trace["start_ns"][name], trace["due_ns"]) for trace in kept])
            out.append(Bar(name, start, duration))
        else:
            out.append(Bar(name, _place(name, out), duration, assumed=name != "capture"))
    return out + _gpu_bars(configuration["repetitions"], out), float(np.mean(latencies(configuration)))


def _place(name: str, before: Sequence[Bar]) -> float:
    """Where a stage of unknown start is drawn."""
    if not name.startswith("gpu-"):
        return 0.0
    for bar in reversed(before):
        if bar.name.startswith("gpu-"):
            return bar.start + bar.duration
        if bar.name == "infer":
            return bar.start
    return 0.0


def _mean(parts: Sequence[Any]) -> float:
    return float(np.mean(np.concatenate([np.asarray(part, np.float64) for part in parts]))) / 1e6


def _median_bars(configuration: Mapping[str, Any]) -> tuple[list[Bar], float | None]:
    out: list[Bar] = []
    at = 0.0
    repetitions = configuration["repetitions"]
    for name in repetitions[0]["stages_ms"] if repetitions else ():
        value = spread(repetitions, "stages_ms", name, "p50")
        if value is None:
            continue
        if name == "other":
            out.append(Bar(name, 0.0, value.median, assumed=True))
        else:
            out.append(Bar(name, at, value.median))
            at += value.median
    whole = spread(repetitions, "capture_to_overlay_ms", "p50")
    return out + _gpu_bars(repetitions, out), whole.median if whole else None


def _gpu_bars(repetitions: Sequence[Mapping[str, Any]], before: Sequence[Bar]) -> list[Bar]:
    """The GPU's stages by the medians of their p50, unless they are among the others already."""
    out = list(before)
    for name in dict.fromkeys(name for one in repetitions for name in one.get("gpu_ms") or ()):
        value = spread(repetitions, "gpu_ms", name, "p50")
        if value is not None and all(bar.name != name for bar in before):
            out.append(Bar(name, _place(name, out), value.median, assumed=True))
    return out[len(before) :]


def together(configuration: Mapping[str, Any]) -> dict[str, Any]:
    """Percentiles of a configuration in the shape of a repetition's: of all frames together (`pooled`).

    What was not pooled (the GPU's stages, or everything in a file that has no `pooled`) is the median over the
    repetitions, its samples those of the repetition that has the fewest.
    """
    repetitions, out = configuration["repetitions"], dict(configuration.get("pooled") or {})
    for group in LATENCIES:
        out.setdefault(group, _medians(repetitions, group))
    for group in ("stages_ms", "gpu_ms"):
        names = dict.fromkeys(name for one in repetitions for name in one.get(group) or ())
        out.setdefault(group, {name: _medians(repetitions, group, name) for name in names})
    return out


def percentile(configuration: Mapping[str, Any], group: str, column: str) -> float | None:
    """A figure of a configuration as the tables give it: p50 the median over the repetitions, others `together`."""
    if column == "p50" and (middle := spread(configuration["repetitions"], group, column)):
        return middle.median
    value: float | None = together(configuration)[group][column]
    return value


def _medians(repetitions: Sequence[Mapping[str, Any]], *keys: str) -> dict[str, Any]:
    samples = spread(repetitions, *keys, "samples")
    out: dict[str, Any] = {"samples": samples.low if samples else 0}
    for column in (*PERCENTS, "max"):
        value = spread(repetitions, *keys, column)
        out[column] = value.median if value else None
    return out


@dataclass(frozen=True, slots=True)
class Spread:
    """A figure's median over the repetitions, and how far it went."""

    median: float
    low: float
    high: float


def spread(repetitions: Sequence[Mapping[str, Any]], *keys: str) -> Spread | None:
    """The figure that `keys` lead to in each repetition; None where one of them does not have it."""
    values = []
    for repetition in repetitions:
        value: Any = repetition
        for key in keys:
            value = value.get(key) if isinstance(value, Mapping) else None
        if value is None:
            return None
        values.append(value)
    return Spread(statistics.median(values), min(values), max(values)) if values else None
