"""Percentiles are frames' real latencies, and only given where the samples support them."""

from __future__ import annotations

import time

import pytest

from rtseg.timing import KEPT, STAGES, Recorder, Rolling, Samples, StageClock, percentiles

MS = 1_000_000


def test_nearest_rank_percentiles_of_a_known_sequence() -> None:
    row = percentiles(Samples(range(1 * MS, 1001 * MS, MS)))
    assert row == {"samples": 1000, "p50": 500.0, "p90": 900.0, "p95": 950.0, "p99": 990.0, "max": 1000.0}


def test_a_percentile_without_enough_samples_is_not_given() -> None:
    row = percentiles(Samples([MS] * 63))
    assert (row["p50"], row["p90"], row["p99"], row["max"]) == (1.0, None, None, 1.0)
    assert percentiles(Samples([MS] * 64))["p90"] == 1.0
    assert percentiles(Samples([MS] * 661))["p99"] is None
    assert percentiles(Samples([MS] * 662))["p99"] == 1.0


def test_no_samples() -> None:
    assert percentiles(Samples()) == {"samples": 0, "p50": None, "p90": None, "p95": None, "p99": None, "max": None}


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


def test_rolling_rate_and_percentiles() -> None:
    rolling = Rolling(window=10)
    assert (rolling.fps, rolling.latency_ms(50)) == (0.0, 0.0)
    for frame in range(20):
        rolling.add(frame * 20 * MS, (frame % 10 + 1) * MS)
    assert rolling.fps == pytest.approx(50)
    assert (rolling.latency_ms(50), rolling.latency_ms(95)) == (5.0, 10.0)


def test_the_summary_has_every_stage_of_the_loop() -> None:
    recorder = Recorder()
    recorder.add({"infer": 4 * MS, "labels": MS}, 0, 6 * MS)
    recorder.add_written(9 * MS)
    summary = recorder.summary()
    assert list(summary["stages_ms"]) == list(STAGES)
    assert summary["stages_ms"]["infer"]["p50"] == 4.0
    assert summary["capture_to_overlay_ms"]["p50"] == 6.0
    assert summary["capture_to_sink_ms"]["max"] == 9.0
