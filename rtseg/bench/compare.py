"""Several repetitions of one configuration, and pairs of two: medians with min and max, ratios with an interval."""

from __future__ import annotations

import random
import statistics
from collections.abc import Sequence
from typing import Any

from rtseg.bench.measure import GPU, jitter, rounded, spread

__all__ = ["METRICS", "compare", "pooled", "summarise"]

METRICS = (
    "capture_to_overlay_ms.p50", "capture_to_overlay_ms.p90", "capture_to_overlay_ms.p95", "capture_to_overlay_ms.p99",
    "capture_to_overlay_ms.max", "capture_to_sink_ms.p50", "jitter_ms.p50", "rate", "drops.total", "cpu_s_per_frame",
    "memory_mb.peak", "memory_mb.final",
)  # fmt: skip
"""Figures of a repetition by their path."""
COMPARED = ("capture_to_overlay_ms.p50", "capture_to_overlay_ms.p99", "rate", "cpu_s_per_frame", "memory_mb.peak")
FEW = 6
"""Fewer pairs than this cannot bound a median with 95 % confidence, not even by their extremes: 1 - 2 / 2^5 < 0.95."""
DRAWS = 2000


def figure(repetition: dict[str, Any], path: str) -> float | None:
    """A figure of a repetition by its path, `capture_to_overlay_ms.p50`."""
    value: Any = repetition
    for key in path.split("."):
        value = value[key]
    return None if value is None else float(value)


def summarise(repetitions: Sequence[dict[str, Any]]) -> dict[str, dict[str, float]]:
    """Median, min and max over the repetitions of every figure that all of them have."""
    out = {}
    for metric in METRICS:
        values = [value for value in (figure(one, metric) for one in repetitions) if value is not None]
        if values and len(values) == len(repetitions):
            digits = 5 if metric == "cpu_s_per_frame" else 3
            numbers = {"median": statistics.median(values), "min": min(values), "max": max(values)}
            out[metric] = {name: rounded(value, digits) for name, value in numbers.items()}
    return out


def pooled(repetitions: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Percentiles over the frames of all repetitions together, which support higher ones than each alone."""
    traces = [one["trace"] for one in repetitions]
    latencies = [latencies_of(one) for one in repetitions]
    stages = {
        name: spread(value for one in traces for value in one["stages_ns"][name]) for name in traces[0]["stages_ns"]
    }
    return {
        "capture_to_overlay_ms": spread(value for values in latencies for value in values),
        "capture_to_sink_ms": spread(value for one in traces for value in one["to_sink_ns"]),
        "jitter_ms": spread(value for values in latencies for value in jitter(values)),
        "stages_ms": {name: row for name, row in stages.items() if not name.startswith(GPU)},
        "gpu_ms": {name: row for name, row in stages.items() if name.startswith(GPU)} or None,
    }


def latencies_of(repetition: dict[str, Any]) -> list[int]:
    """Capture-to-overlay of every frame, nanoseconds."""
    rows = repetition["trace"]
    return [done - due for done, due in zip(rows["overlay_ns"], rows["due_ns"], strict=True)]


def compare(a: dict[str, Any], b: dict[str, Any]) -> list[dict[str, Any]]:
    """What `b` takes relative to `a`, figure by figure: the median of the ratios b/a of repetitions run side by side.

    The interval is min and max of the ratios where there are fewer than six, else what 95 % of bootstrapped medians lie
    in; `interval` says which.
    """
    out = []
    for metric in COMPARED:
        pairs = [
            (figure(one, metric), figure(other, metric))
            for one, other in zip(a["repetitions"], b["repetitions"], strict=True)
        ]
        ratios = [other / one for one, other in pairs if one and other is not None]  # a figure of 0 has no ratio
        if not ratios or len(ratios) < len(pairs):
            continue
        low, high, kind = interval(ratios)
        out.append(
            {
                "a": a["name"],
                "b": b["name"],
                "metric": metric,
                "ratio": rounded(statistics.median(ratios), 4),
                "low": rounded(low, 4),
                "high": rounded(high, 4),
                "interval": kind,
                "pairs": len(ratios),
            }
        )
    return out


def interval(ratios: Sequence[float]) -> tuple[float, float, str]:
    """(low, high, how) around the median of the ratios; seeded, so that the same ratios give the same interval."""
    if len(ratios) < FEW:
        return min(ratios), max(ratios), "min and max"
    draw = random.Random(0)
    medians = sorted(statistics.median(draw.choices(ratios, k=len(ratios))) for _ in range(DRAWS))
    return medians[round(0.025 * DRAWS)], medians[round(0.975 * DRAWS) - 1], "bootstrap 95 %"
