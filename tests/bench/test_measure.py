"""A repetition: figures of known frames exactly, and whole pipelines around a network of known delays and stalls."""

from __future__ import annotations

import time
from collections.abc import Callable
from types import TracebackType
from typing import Any

import pytest

from rtseg.bench import measure as bench_measure
from rtseg.bench.measure import Load, Start, figures, jitter, measure
from rtseg.bench.record import FrameRecorder, Row
from rtseg.bench.replay import Clip, Replay
from rtseg.bench.search import p99_ms
from rtseg.config import RunConfig
from rtseg.errors import ConfigError, SinkError, StopRun
from rtseg.frame import Result
from rtseg.kernels import cpu as kernels
from rtseg.pipeline import opening as runner
from rtseg.pipeline.loop import Pipeline
from rtseg.timing import STAGES

MS = 1_000_000
TOOK = {"capture": 1, "preprocess": 2, "infer": 10, "labels": 3, "render": 4, "sink": 1}


def row(index: int, due: int, extra: int = 0, gap: int = 0, cpu: int = 0) -> Row:
    """A frame with the stages of TOOK in milliseconds, `infer` `extra` longer, with `gap` between them."""
    took = {name: (value + (extra if name == "infer" else 0)) * MS for name, value in TOOK.items()}
    started, at = {}, due
    for name, value in took.items():
        started[name] = at
        at += value + gap * MS
    done = started["sink"] + took["sink"]
    return Row(index, due, started, took, started["render"] + took["render"], done, cpu)


def figures_of(rows: list[Row], clip: Clip, *, rate: float | None, seconds: float, warm_up: int) -> dict[str, Any]:
    replay = Replay(clip, rate=rate, seconds=seconds, warm_up=warm_up)
    recorder = FrameRecorder(STAGES)
    recorder.rows = rows
    recorder.written = [(one.index, one.done) for one in rows]
    return figures(recorder, replay, Start(0, 0), sinks=1)


def test_figures_of_known_frames(clip: Clip) -> None:
    period = 25 * MS
    rows = [row(i, i * period, extra=30 if i == 6 else 0, gap=1, cpu=(i + 1) * 8 * MS) for i in (0, 1, 2, 3, 4, 6, 9)]
    one = figures_of(rows, clip, rate=40, seconds=0.2, warm_up=2)
    assert (one["due"], one["frames"], one["t_first"]) == (8, 5, 2 * period)
    assert one["drops"] == {"total": 3, "capture": 3, "sinks": 0}
    # Five stages with a gap of 1 ms between them: 24 ms; frame 6 took 30 more.
    assert one["capture_to_overlay_ms"] == {
        "samples": 5, "p50": 24.0, "p90": None, "p95": None, "p99": None, "p99.9": None, "max": 54.0,
    }  # fmt: skip
    assert one["capture_to_sink_ms"]["p50"] == 26.0
    assert one["jitter_ms"] == {
        "samples": 4, "p50": 0.0, "p90": None, "p95": None, "p99": None, "p99.9": None, "max": 30.0,
    }  # fmt: skip
    assert {name: values["p50"] for name, values in one["stages_ms"].items()} == {**TOOK, "other": 4.0}
    assert one["stages_sum"] == {"ratio": 1.0, "within": 0.02}
    assert one["gpu_ms"] is None
    assert one["cpu_s_per_frame"] == pytest.approx((10 - 2) * 0.008 / 5)
    assert (one["seconds"], one["rate"]) == (0.201, 24.876)  # from when frame 2 was due to the end of frame 9
    times = one["trace"]
    assert times["index"] == [2, 3, 4, 6, 9]
    assert times["due_ns"] == [0, 25 * MS, 50 * MS, 100 * MS, 175 * MS]
    assert times["overlay_ns"][0] == 24 * MS
    assert times["start_ns"]["labels"][0] == 16 * MS
    assert times["stages_ns"]["infer"] == [10 * MS, 10 * MS, 10 * MS, 40 * MS, 10 * MS]
    assert times["dropped"] == [[5, 75 * MS], [7, 125 * MS], [8, 150 * MS]]


def test_times_on_a_gpu_are_apart(clip: Clip) -> None:
    rows = [row(i, i * 40 * MS) for i in range(3)]
    for one in rows:
        one.took["gpu-infer"] = 9 * MS
    replay = Replay(clip, rate=25, seconds=0.12)
    recorder = FrameRecorder((*STAGES, "gpu-infer"))
    recorder.rows = rows
    found = figures(recorder, replay, Start(0, 0), sinks=0)
    assert found["gpu_ms"]["gpu-infer"]["p50"] == 9.0
    assert set(found["stages_ms"]) == {*STAGES, "other"}
    assert found["stages_sum"]["ratio"] == 1.0
    assert found["trace"]["stages_ns"]["gpu-infer"] == [9 * MS] * 3
    assert set(found["trace"]["start_ns"]) == set(STAGES)


def test_a_closed_loop_begins_when_the_warm_up_is_done(clip: Clip) -> None:
    rows = [row(i, i * 30 * MS, cpu=i * MS) for i in range(5)]
    one = figures_of(rows, clip, rate=None, seconds=1, warm_up=1)
    assert (one["due"], one["frames"], one["drops"]["total"]) == (4, 4, 0)
    assert one["seconds"] == 0.12
    assert one["rate"] == pytest.approx(4 / 0.12, abs=1e-3)
    assert one["trace"]["dropped"] == []


def test_stages_that_overlap_do_not_add_up_and_it_shows(clip: Clip) -> None:
    rows = [row(i, i * 40 * MS) for i in range(3)]
    for one in rows:
        one.started["labels"] -= 5 * MS
        one.took["labels"] += 5 * MS
    assert figures_of(rows, clip, rate=25, seconds=0.12, warm_up=0)["stages_sum"]["ratio"] > 1.02


def test_jitter_is_between_neighbours() -> None:
    assert jitter([5, 7, 4, 4]) == [2, 3, 0]
    assert jitter([5]) == []


def stalled(rate: float, seconds: float, stall_ms: int, every_s: float) -> list[Row]:
    """What a newest-wins queue before a network of 5 ms gives that stalls for `stall_ms` every `every_s`."""
    rows, free, stall_at, index = [], 0, every_s, 0
    count = round(rate * seconds)
    while index < count:
        due = round(index * 1e9 / rate)
        start = max(due, free)
        newest = min(count - 1, int(start * rate / 1e9 + 1e-6))  # what was due when the loop was free again
        index, due = newest, round(newest * 1e9 / rate)
        took = 5 * MS
        if start >= stall_at * 1e9:
            took, stall_at = took + stall_ms * MS, stall_at + every_s
        started = dict.fromkeys(STAGES, start + took) | {"capture": due, "preprocess": start, "infer": start}
        spent = dict.fromkeys(STAGES, 0) | {"capture": start - due, "infer": took}
        free = start + took
        rows.append(Row(index, due, started, spent, free, free, 0))
        index += 1
    return rows


def test_a_stall_of_200_ms_every_2_s_shows_in_p99_and_in_the_drops(clip: Clip) -> None:
    one = figures_of(stalled(30, 30, 200, 2), clip, rate=30, seconds=30, warm_up=0)
    latency = one["capture_to_overlay_ms"]
    assert latency["samples"] >= 662
    assert latency["p50"] < 6
    assert latency["p99"] >= 200
    assert one["due"] == 900 == one["frames"] + one["drops"]["capture"]
    assert one["drops"]["capture"] >= 14 * 5  # six frames are due in each stall, and the newest is used
    assert one["stages_sum"]["ratio"] == 1


# ---- whole pipelines: bounds that a busy machine cannot break


def test_every_frame_that_was_due_is_used_or_counted(
    clip: Clip, config: RunConfig, network: Callable[..., None]
) -> None:
    network(delay_ms=30)
    one, facts = measure(config, clip, Load(100, 1.0, 5), lambda line: None)
    assert one["due"] == 100 == one["frames"] + one["drops"]["capture"]
    assert one["frames"] <= 40
    times = one["trace"]
    assert sorted([*times["index"], *(index for index, _ in times["dropped"])]) == list(range(5, 105))
    assert times["index"][-1] == 104  # the newest frame is always the one that is used
    assert times["due_ns"] == [(index - 5) * 10 * MS for index in times["index"]]
    assert one["capture_to_overlay_ms"]["p50"] >= 30
    assert one["stages_ms"]["infer"]["p50"] >= 29.9
    assert abs(one["stages_sum"]["ratio"] - 1) <= one["stages_sum"]["within"]
    assert one["capture_to_sink_ms"]["samples"] == one["frames"]
    assert one["seconds"] >= 1
    assert (facts["policy"], facts["network_size"], facts["model"]["name"]) == ("latest", [48, 80], "null")


def test_the_queue_counted_the_same_drops(
    clip: Clip, config: RunConfig, network: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[Pipeline] = []

    def keep(*words: Any, **options: Any) -> Any:
        pipeline, info = runner.open_pipeline(*words, **options)
        opened.append(pipeline)
        return pipeline, info

    network(delay_ms=15, stall_every=7, stall_ms=60)
    monkeypatch.setattr(bench_measure, "open_pipeline", keep)
    one, _ = measure(config, clip, Load(150, 0.8, 20), lambda line: None)
    (pipeline,) = opened
    used = {row.index for row in pipeline.recorder.rows}  # type: ignore[attr-defined]
    assert pipeline.capture.drops == 140 - len(used)
    assert one["drops"]["capture"] == 120 - sum(index >= 20 for index in used)
    assert one["drops"]["capture"] > 0


def test_a_stall_shows_in_p99_of_the_open_loop(clip: Clip, config: RunConfig, network: Callable[..., None]) -> None:
    network(stall_every=10, stall_ms=100)  # one in a hundred is enough for p99
    one, _ = measure(config, clip, Load(100, 1.0, 1), lambda line: None)
    assert p99_ms([one])[0] >= 100
    assert one["capture_to_overlay_ms"]["max"] >= 100


def test_frames_behind_a_stall_count_from_when_they_were_due(
    clip: Clip, config: RunConfig, network: Callable[..., None]
) -> None:
    network(stall_at=20, stall_ms=300)
    waiting = RunConfig(**{name: getattr(config, name) for name in config.__struct_fields__} | {"policy": "wait"})
    one, _ = measure(waiting, clip, Load(100, 0.6, 1), lambda line: None)
    assert one["drops"]["total"] == 0
    times = one["trace"]
    latencies = [done - due for done, due in zip(times["overlay_ns"], times["due_ns"], strict=True)]
    # One frame was in the network; those due in its first 200 ms waited 100 ms and more, and that is not forgotten.
    assert sum(latency >= 100 * MS for latency in latencies) >= 20
    assert one["late"] == {"frames": None, "worst_ms": None}


@pytest.mark.slow
def test_a_real_stall_of_200_ms_every_2_s(clip: Clip, config: RunConfig, network: Callable[..., None]) -> None:
    network(stall_every=55, stall_ms=200)
    one, _ = measure(config, clip, Load(30, 28.0, 5), lambda line: None)
    assert one["capture_to_overlay_ms"]["p99"] is None or one["capture_to_overlay_ms"]["p99"] >= 200
    assert p99_ms([one])[0] >= 200
    assert one["drops"]["capture"] >= 5 * 12


def test_the_closed_loop_waits_for_the_pipeline(clip: Clip, config: RunConfig, network: Callable[..., None]) -> None:
    network(delay_ms=10)
    one, facts = measure(config, clip, Load(None, 0.5, 2), lambda line: None)
    assert facts["policy"] == "wait"
    assert one["drops"] == {"total": 0, "capture": 0, "sinks": 0}
    assert one["due"] == one["frames"] >= 1
    assert one["trace"]["index"] == list(range(2, 2 + one["frames"]))
    assert one["rate"] <= 100
    assert one["seconds"] > 0


def test_processor_time_and_memory(clip: Clip, config: RunConfig, network: Callable[..., None]) -> None:
    def busy(tensor: Any) -> Any:
        begin = time.thread_time()
        while time.thread_time() - begin < 0.02:
            pass
        return tensor[0, :, :6, :10].repeat(2, axis=0)[:4]

    network(answer=busy)
    one, _ = measure(config, clip, Load(None, 0.4, 2), lambda line: None)
    assert one["cpu_s_per_frame"] >= 0.02
    memory = one["memory_mb"]
    assert memory["peak"] >= memory["final"] > 10
    assert memory["since"] in ("repetition", "process")


class Slow:
    """A threaded sink that takes its time."""

    threaded, needs = True, frozenset({"overlay"})

    def __init__(self) -> None:
        self.seen: list[int] = []

    def __enter__(self) -> Slow:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass

    def write(self, result: Result) -> None:
        time.sleep(0.05)
        self.seen.append(result.frame.index)


def test_what_a_slow_output_drops_is_counted(
    clip: Clip, config: RunConfig, network: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    network()
    sink = Slow()
    monkeypatch.setattr(runner, "open_sinks", lambda *_: [sink])
    one, _ = measure(config, clip, Load(100, 1.0, 5), lambda line: None)
    counted = [index for index in sink.seen if index >= 5]
    assert one["drops"]["sinks"] == one["frames"] - len(counted)
    assert one["drops"]["sinks"] > 0 or one["frames"] < 40
    assert one["drops"]["total"] == one["drops"]["sinks"] + one["drops"]["capture"]
    assert one["capture_to_sink_ms"]["samples"] == len(counted)
    assert [t is not None for t in one["trace"]["sink_ns"]] == [index in counted for index in one["trace"]["index"]]


def test_a_closed_loop_in_front_of_a_dropping_queue_is_refused(
    clip: Clip, config: RunConfig, network: Callable[..., None]
) -> None:
    network()
    newest = RunConfig(**{name: getattr(config, name) for name in config.__struct_fields__} | {"policy": "latest"})
    with pytest.raises(ConfigError, match="policy latest would only drop frames"):
        measure(newest, clip, Load(None, 0.1, 1), lambda line: None)


def test_a_window_that_is_closed_ends_the_benchmark(
    clip: Clip, config: RunConfig, network: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Closed(Slow):
        threaded = False

        def write(self, result: Result) -> None:
            raise StopRun

    network()
    monkeypatch.setattr(runner, "open_sinks", lambda *_: [Closed()])
    with pytest.raises(SinkError, match="the window was closed"):
        measure(config, clip, Load(100, 0.2, 1), lambda line: None)


def test_threads_of_one_configuration_are_not_those_of_the_next(
    clip: Clip, config: RunConfig, network: Callable[..., None]
) -> None:
    network()
    before = kernels.threads()
    single = RunConfig(**{name: getattr(config, name) for name in config.__struct_fields__} | {"threads": before + 1})
    seen: list[int] = []
    measure(single, clip, Load(100, 0.05, 1), lambda line: seen.append(kernels.threads()))
    assert set(seen) == {before + 1}
    assert kernels.threads() == before
