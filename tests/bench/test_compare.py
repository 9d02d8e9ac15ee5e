"""Medians with min and max, pooled percentiles, and ratios of pairs with their interval."""

from __future__ import annotations

from typing import Any

import pytest

from rtseg.bench.compare import compare, interval, pooled, summarise

MS = 1_000_000


def repetition(p50: float, *, p99: float | None = None, cpu: float = 0.01) -> dict[str, Any]:
    latency = {"p50": p50, "p90": p50, "p95": p50, "p99": p99, "max": p50 * 2}
    return {
        "capture_to_overlay_ms": latency,
        "capture_to_sink_ms": latency,
        "jitter_ms": latency,
        "rate": 30.0,
        "drops": {"total": 3},
        "cpu_s_per_frame": cpu,
        "memory_mb": {"peak": 100.0, "final": 90.0},
    }


def configuration(name: str, *medians: float) -> dict[str, Any]:
    return {"name": name, "repetitions": [repetition(value) for value in medians]}


def test_the_summary_is_the_median_with_min_and_max_over_the_repetitions() -> None:
    summary = summarise([repetition(p50, cpu=p50 / 1e3) for p50 in (12.0, 10.0, 50.0)])
    assert summary["capture_to_overlay_ms.p50"] == {"median": 12.0, "min": 10.0, "max": 50.0}
    assert summary["cpu_s_per_frame"] == {"median": 0.012, "min": 0.01, "max": 0.05}
    assert summary["drops.total"]["median"] == 3


def test_a_figure_that_not_every_repetition_has_is_left_out() -> None:
    assert "capture_to_overlay_ms.p99" not in summarise([repetition(10, p99=11), repetition(10)])
    assert summarise([repetition(10, p99=11), repetition(10, p99=13)])["capture_to_overlay_ms.p99"]["median"] == 12


def test_pooled_percentiles_are_those_of_all_frames_together() -> None:
    def frames(*latencies: int) -> dict[str, Any]:
        due = [i * 100 * MS for i in range(len(latencies))]
        return {
            "trace": {
                "due_ns": due,
                "overlay_ns": [at + latency * MS for at, latency in zip(due, latencies, strict=True)],
                "to_sink_ns": [(latency + 1) * MS for latency in latencies],
                "stages_ns": {"infer": [5 * MS] * len(latencies), "gpu-infer": [3 * MS] * len(latencies)},
            }
        }

    out = pooled([frames(*[10] * 40), frames(*[20] * 40)])
    assert out["capture_to_overlay_ms"]["samples"] == 80
    assert (out["capture_to_overlay_ms"]["p50"], out["capture_to_overlay_ms"]["p90"]) == (10, 20)
    assert out["capture_to_sink_ms"]["max"] == 21
    assert {name: row["p90"] for name, row in out["stages_ms"].items()} == {"infer": 5}
    assert {name: row["p90"] for name, row in out["gpu_ms"].items()} == {"gpu-infer": 3}
    # Frames of different repetitions are no neighbours.
    assert (out["jitter_ms"]["samples"], out["jitter_ms"]["max"]) == (78, 0)


def test_ratios_are_taken_pair_by_pair() -> None:
    # The machine became twice as slow between the first pair and the last, which does not touch the ratio.
    lines = compare(configuration("a", 10, 15, 20), configuration("b", 5, 6, 10))
    line = next(line for line in lines if line["metric"] == "capture_to_overlay_ms.p50")
    assert line == {
        "a": "a", "b": "b", "metric": "capture_to_overlay_ms.p50",
        "ratio": 0.5, "low": 0.4, "high": 0.5, "interval": "min and max", "pairs": 3,
    }  # fmt: skip
    assert {line["metric"] for line in lines} == {
        "capture_to_overlay_ms.p50",
        "rate",
        "cpu_s_per_frame",
        "memory_mb.peak",
    }  # fmt: skip - not p99, which was not supported


def test_six_pairs_and_more_are_bootstrapped() -> None:
    ratios = [0.50, 0.51, 0.49, 0.52, 0.48, 0.50, 0.51, 0.49, 0.5, 3.0]
    low, high, kind = interval(ratios)
    assert kind == "bootstrap 95 %"
    assert min(ratios) <= low <= 0.5 <= high <= 0.52  # one pair that was disturbed does not widen it
    assert interval(ratios) == (low, high, kind)
    assert interval(ratios[:5]) == (0.48, 0.52, "min and max")
    assert interval([2.0] * 6)[:2] == (2.0, 2.0)


def test_pairs_must_be_pairs() -> None:
    with pytest.raises(ValueError, match="zip"):
        compare(configuration("a", 10, 11), configuration("b", 10))
