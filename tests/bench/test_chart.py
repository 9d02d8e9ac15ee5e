"""What the charts are drawn from."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from rtseg.bench.chart import bars, floor, latencies, percentile, spread, supported, thinned, timeline, together
from rtseg.timing import FLOORS
from tests.bench.sample import MS, sample


def test_the_rule_gives_the_floors_of_the_timing_report() -> None:
    assert {percent: floor(percent) for percent in FLOORS} == dict(FLOORS)
    assert floor(99.9) == 6636


@pytest.mark.parametrize("percent", [90, 95, 99])
def test_a_percentile_is_supported_from_its_floor_on(percent: float) -> None:
    assert supported(floor(percent)) >= percent - 1e-4
    assert supported(floor(percent) - 1) < percent


def test_nothing_is_supported_by_no_samples() -> None:
    assert supported(0) == 0


def test_latencies_are_those_of_every_frame_of_every_repetition() -> None:
    one = sample(due=40)["configurations"][0]
    expected = [
        (done - due) / MS
        for repetition in one["repetitions"]
        for done, due in zip(repetition["trace"]["overlay_ns"], repetition["trace"]["due_ns"], strict=True)
    ]
    assert latencies(one).tolist() == pytest.approx(expected)
    assert latencies(sample(due=40, trace=False)["configurations"][0]).size == 0


def test_a_timeline_puts_repetitions_end_to_end_and_keeps_every_drop() -> None:
    one = sample(infer_ms=(45.0, 45.0), due=60)["configurations"][0]
    line = timeline(one)
    assert line.starts == (0.0, 2.0, 4.0)
    assert line.end == 6.0
    drops = [repetition["trace"]["dropped"] for repetition in one["repetitions"]]
    expected = [2.0 * number + due / 1e9 for number, lost in enumerate(drops) for _, due in lost]
    assert line.drops.tolist() == pytest.approx(expected)
    assert len(expected) > 10
    assert np.count_nonzero(np.isnan(line.latency_ms)) == 3


def test_a_thinned_line_keeps_its_peaks_and_its_gaps() -> None:
    x = np.arange(30_000.0)
    y = np.sin(x)
    y[[123, 20_001]] = 50, -50
    y[15_000] = np.nan
    thin_x, thin_y = thinned(x, y, 1500)
    assert thin_x.size <= 1501
    assert (np.diff(thin_x) > 0).all()
    assert {123.0, 20_001.0} <= set(thin_x)
    assert thin_x[np.isnan(thin_y)].tolist() == [15_000]
    assert thinned(x[:100], y[:100], 1500)[0].size == 100


def test_bars_add_up_to_the_latency_of_the_average_frame() -> None:
    one = sample()["configurations"][1]
    stages, whole = bars(one)
    assert [bar.name for bar in stages] == ["capture", "preprocess", "infer", "labels", "render", "sink", "other"]
    assert whole == pytest.approx(latencies(one).mean())
    assert sum(bar.duration for bar in stages if bar.name != "sink") == pytest.approx(whole, rel=1e-6)
    first, second = stages[0], stages[1]
    assert first.start == 0
    assert second.start == pytest.approx(first.duration)
    assert [bar.name for bar in stages if bar.assumed] == ["other"]


def test_bars_of_a_gpu_stand_within_infer() -> None:
    for one in (sample(gpu=True), sample(gpu=True, trace=False)):
        stages, _ = bars(one["configurations"][0])
        infer = next(bar for bar in stages if bar.name == "infer")
        gpu = [bar for bar in stages if bar.name.startswith("gpu-")]
        assert len(gpu) == 5
        assert gpu[0].start == infer.start
        assert all(bar.assumed for bar in gpu)
        assert all(b.start == pytest.approx(a.start + a.duration) for a, b in pairwise(gpu))
        assert gpu[-1].start + gpu[-1].duration <= infer.start + infer.duration


def test_without_traces_bars_are_medians_one_after_the_other() -> None:
    one = sample(trace=False)["configurations"][0]
    stages, whole = bars(one)
    p50 = {
        name: sorted(rep["stages_ms"][name]["p50"] for rep in one["repetitions"])[1] for name in ("capture", "infer")
    }
    by_name = {bar.name: bar for bar in stages}
    assert by_name["capture"].duration == p50["capture"]
    assert by_name["infer"].duration == p50["infer"]
    assert by_name["preprocess"].start == p50["capture"]
    assert whole == sorted(rep["capture_to_overlay_ms"]["p50"] for rep in one["repetitions"])[1]


def test_a_spread_is_median_low_and_high_or_nothing() -> None:
    repetitions = [{"a": {"b": 3}}, {"a": {"b": 1}}, {"a": {"b": 8}}]
    found = spread(repetitions, "a", "b")
    assert found is not None
    assert (found.median, found.low, found.high) == (3, 1, 8)
    assert spread([*repetitions, {"a": {"b": None}}], "a", "b") is None
    assert spread([*repetitions, {"a": None}], "a", "b") is None
    assert spread([], "a") is None


def test_percentiles_are_pooled_but_p50_is_the_median_of_repetitions() -> None:
    one = sample()["configurations"][0]
    assert percentile(one, "capture_to_overlay_ms", "p99") == one["pooled"]["capture_to_overlay_ms"]["p99"] is not None
    assert percentile(one, "capture_to_overlay_ms", "p50") == one["summary"]["capture_to_overlay_ms.p50"]["median"]
    del one["pooled"]
    assert percentile(one, "capture_to_overlay_ms", "p99") is None
    assert together(one)["capture_to_overlay_ms"]["samples"] == min(rep["frames"] for rep in one["repetitions"])
