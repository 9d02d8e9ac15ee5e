"""Percentiles are frames' real latencies, and only given where the samples support them."""

from __future__ import annotations

import time

import numpy as np
import pytest

from rtseg.frame import Frame
from rtseg.timing import FLOORS, KEPT, STAGES, Recorder, Rolling, Samples, StageClock, percentiles, rank

MS = 1_000_000


def test_nearest_rank_percentiles_of_a_known_sequence() -> None:
    row = percentiles(Samples(range(1 * MS, 1001 * MS, MS)))
    assert row == {
        "samples": 1000, "p50": 500.0, "p90": 900.0, "p95": 950.0, "p99": 990.0, "p99.9": None, "max": 1000.0,
    }  # fmt: skip


def test_a_percentile_without_enough_samples_is_not_given() -> None:
    row = percentiles(Samples([MS] * 63))
    assert (row["p50"], row["p90"], row["p99"], row["max"]) == (1.0, None, None, 1.0)
    assert percentiles(Samples([MS] * 64))["p90"] == 1.0
    assert percentiles(Samples([MS] * 661))["p99"] is None
    assert percentiles(Samples([MS] * 662))["p99"] == 1.0
    assert percentiles(Samples([MS] * 6635))["p99.9"] is None
    assert percentiles(Samples([MS] * 6636))["p99.9"] == 1.0


@pytest.mark.parametrize(("percent", "floor"), FLOORS.items())
def test_the_floors_are_those_of_the_rule(percent: float, floor: int) -> None:
    """The fewest samples of which at most one beyond the true percentile has a chance of 1 % or less."""
    beyond = 1 - percent / 100
    chance = [(1 - beyond) ** n + n * beyond * (1 - beyond) ** (n - 1) for n in (floor - 1, floor)]
    assert percent == 50 or chance[1] <= 0.01 < chance[0]


@pytest.mark.parametrize(
    ("percent", "count", "place"),
    [(50, 1, 0), (50, 4, 1), (99, 100, 98), (99, 101, 99), (99.9, 1000, 998), (99.9, 1001, 999), (100, 7, 6)],
)
def test_nearest_rank(percent: float, count: int, place: int) -> None:
    assert rank(percent, count) == place


def test_no_samples() -> None:
    row = percentiles(Samples())
    assert row.pop("samples") == 0
    assert row == {"p50": None, "p90": None, "p95": None, "p99": None, "p99.9": None, "max": None}


def test_a_long_run_is_sampled_in_bounded_memory_with_exact_count_and_maximum() -> None:
    count = 4 * KEPT
    samples = Samples((value * 7919 % count) * MS for value in range(count))  # every value once, in mixed order
    row = percentiles(samples)
    assert len(samples.sorted()) == KEPT
    assert (row["samples"], row["max"]) == (count, float(count - 1))
    for p in (50, 90, 99):
        assert row[f"p{p}"] == pytest.approx(count * p / 100, rel=0.01)


def test_one_stall_shows_in_the_maximum_and_not_in_the_median() -> None:
    row = percentiles(Samples([10 * MS] * 699 + [200 * MS]))
    assert (row["p50"], row["p99"], row["max"]) == (10.0, 10.0, 200.0)


def test_the_clock_measures_a_stage_and_an_interleaved_one() -> None:
    clock = StageClock()
    clock.begin("infer")
    with clock("labels"):
        time.sleep(0.01)
    clock.end("infer")
    assert 9 * MS < clock.stages["labels"] <= clock.stages["infer"]
    assert clock.started["infer"] <= clock.started["labels"]


def test_the_clock_takes_a_stage_that_began_before_it() -> None:
    begin = time.monotonic_ns() - 50 * MS
    clock = StageClock()
    clock.since("capture", begin)
    assert clock.started["capture"] == begin
    assert clock.stages["capture"] >= 50 * MS


def test_rolling_rate_and_percentiles() -> None:
    rolling = Rolling(window=10)
    assert (rolling.fps, rolling.latency_ms(50)) == (0.0, 0.0)
    for frame in range(20):
        rolling.add(frame * 20 * MS, (frame % 10 + 1) * MS)
    assert rolling.fps == pytest.approx(50)
    assert (rolling.latency_ms(50), rolling.latency_ms(95)) == (5.0, 10.0)


def test_the_summary_has_every_stage_of_the_loop() -> None:
    recorder = Recorder()
    clock = StageClock()
    clock.stages.update(infer=4 * MS, labels=MS)
    frame = Frame(0, 5 * MS, None, None, np.zeros((2, 2, 3), np.uint8))
    recorder.add(frame, clock, 11 * MS)
    recorder.add_written(frame, 14 * MS)
    summary = recorder.summary()
    assert list(summary["stages_ms"]) == list(STAGES)
    assert summary["stages_ms"]["infer"]["p50"] == 4.0
    assert summary["capture_to_overlay_ms"]["p50"] == 6.0
    assert summary["capture_to_sink_ms"]["max"] == 9.0
