"""The trace file: events that viewers accept, in which every frame, stage and drop can be found."""

from __future__ import annotations

import json
from collections import defaultdict
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from rtseg.bench import trace
from rtseg.errors import ConfigError, SinkError
from tests.bench.sample import GPU, STAGES, sample

Event = dict[str, Any]


@pytest.fixture(scope="module")
def data() -> dict[str, Any]:
    return sample(due=60)


@pytest.fixture(scope="module")
def events(data: dict[str, Any]) -> list[Event]:
    return trace.events(data)


def ns(microseconds: float) -> int:
    return round(microseconds * 1000)


def threads(events: list[Event]) -> dict[tuple[int, int], str]:
    return {(e["pid"], e["tid"]): e["args"]["name"] for e in events if e["name"] == "thread_name"}


def slices(events: list[Event]) -> list[Event]:
    return [event for event in events if event["ph"] == "X"]


def check_nesting(events: list[Event]) -> None:
    """Slices of a thread come in order of their start, and each lies within the open one or after it."""
    tracks = defaultdict(list)
    for event in slices(events):
        tracks[event["pid"], event["tid"]].append((ns(event["ts"]), ns(event["ts"] + event["dur"])))
    assert tracks
    for spans in tracks.values():
        assert [begin for begin, _ in spans] == sorted(begin for begin, _ in spans)
        stack: list[tuple[int, int]] = []
        for begin, end in spans:
            while stack and stack[-1][1] <= begin:
                stack.pop()
            assert not stack or end <= stack[-1][1]
            stack.append((begin, end))


def test_the_file_is_one_json_object_of_events(tmp_path: Path, data: dict[str, Any], events: list[Event]) -> None:
    path = tmp_path / "trace.json"
    trace.write(data, path)
    content = json.loads(path.read_text())
    assert content["displayTimeUnit"] == "ms"
    assert content["traceEvents"] == json.loads(json.dumps(events))
    assert content["otherData"]["command"].startswith("rtseg bench highway.mp4")


def test_every_event_has_what_the_format_asks_for(events: list[Event]) -> None:
    for event in events:
        assert {"name", "ph", "pid"} <= event.keys()
        assert event["ph"] in "XiCM"
        if event["ph"] != "M":
            assert event["ts"] >= 0
        if event["ph"] in "Xi":
            assert (event["pid"], event["tid"]) in threads(events)
        if event["ph"] == "X":
            assert event["dur"] >= 0
        if event["ph"] == "i":
            assert event["s"] == "t"
        if event["ph"] == "C":
            assert all(isinstance(value, (int, float)) for value in event["args"].values())
    times = [event["ts"] for event in events if "ts" in event]
    assert times == sorted(times)


def test_processes_are_configurations_and_threads_are_named(data: dict[str, Any], events: list[Event]) -> None:
    names = {event["pid"]: event["args"]["name"] for event in events if event["name"] == "process_name"}
    assert names == {1: data["configurations"][0]["name"], 2: data["configurations"][1]["name"]}
    assert set(threads(events).values()) == {"capture", "loop", "sinks"}


def test_slices_nest(events: list[Event]) -> None:
    check_nesting(events)


def test_every_frame_has_its_stages_and_they_add_up(data: dict[str, Any], events: list[Event]) -> None:
    taken: dict[tuple[int, int, int], dict[str, int]] = defaultdict(dict)
    for event in slices(events):
        key = event["pid"], event["args"]["repetition"], event["args"]["frame"]
        assert event["name"] not in taken[key]
        taken[key][event["name"]] = ns(event["dur"])
    for process, one in enumerate(data["configurations"], start=1):
        for number, repetition in enumerate(one["repetitions"], start=1):
            rows = repetition["trace"]
            for place, index in enumerate(rows["index"]):
                found = taken.pop((process, number, index))
                stages = {name: rows["stages_ns"][name][place] for name in ("capture", *STAGES)}
                assert {name: found[name] for name in stages} == stages
                other = rows["stages_ns"]["other"][place]
                latency = rows["overlay_ns"][place] - rows["due_ns"][place]
                assert sum(stages.values()) - stages["sink"] + other == latency
                assert found["overlay to sink"] == rows["sink_ns"][place] - rows["overlay_ns"][place]
    assert not taken


def test_repetitions_stand_where_they_began(data: dict[str, Any], events: list[Event]) -> None:
    for process, one in enumerate(data["configurations"], start=1):
        for number, repetition in enumerate(one["repetitions"], start=1):
            own = [e for e in slices(events) if e["pid"] == process and e["args"]["repetition"] == number]
            assert own[0]["ts"] == pytest.approx(repetition["started_s"] * 1e6)


def test_every_drop_is_an_instant_of_its_frame(data: dict[str, Any], events: list[Event]) -> None:
    marks = {
        (e["pid"], e["args"]["repetition"], e["args"]["frame"]): e["ts"]
        for e in events
        if e["name"] == "dropped" and e["ph"] == "i"
    }
    expected = {
        (process, number, index): (repetition["started_s"] * 1e9 + due) / 1e3
        for process, one in enumerate(data["configurations"], start=1)
        for number, repetition in enumerate(one["repetitions"], start=1)
        for index, due in repetition["trace"]["dropped"]
    }
    assert len(expected) > 10
    assert marks == pytest.approx(expected)
    counts = [e["args"]["frames"] for e in events if e["ph"] == "C" and e["name"] == "dropped" and e["pid"] == 1]
    lost = [len(repetition["trace"]["dropped"]) for repetition in data["configurations"][0]["repetitions"]]
    assert counts == [count for most in lost for count in range(most + 1)]


def test_latency_is_counted_at_every_overlay(data: dict[str, Any], events: list[Event]) -> None:
    rows = data["configurations"][0]["repetitions"][0]["trace"]
    expected = [
        (done / 1e3, round((done - due) / 1e6, 3)) for done, due in zip(rows["overlay_ns"], rows["due_ns"], strict=True)
    ]
    found = [
        (e["ts"], e["args"]["ms"])
        for e in events
        if e["ph"] == "C" and e["name"] == "capture-to-overlay" and e["pid"] == 1
    ]
    assert found[: len(expected)] == expected
    assert found[len(expected)][1] == 0


def test_the_stages_of_a_gpu_follow_each_other_and_say_that_their_start_is_assumed() -> None:
    data = sample(gpu=True, due=30, repetitions=1)
    events = trace.events(data)
    check_nesting(events)
    assert "gpu" in threads(events).values()
    frame = [e for e in slices(events) if e["pid"] == 1 and e["args"]["frame"] == 5]
    infer = next(e for e in frame if e["name"] == "infer")
    gpu = [e for e in frame if e["name"] in GPU]
    assert [e["name"] for e in gpu] == list(GPU)
    rows = data["configurations"][0]["repetitions"][0]["trace"]
    assert [ns(e["dur"]) for e in gpu] == [rows["stages_ns"][name][rows["index"].index(5)] for name in GPU]
    assert ns(gpu[0]["ts"]) == ns(infer["ts"])
    for before, after in pairwise(gpu):
        assert ns(after["ts"]) == ns(before["ts"] + before["dur"])
    assert all(e["args"]["start"] == "assumed" for e in gpu)


def test_frames_in_flight_at_once_lie_on_lanes_of_their_own() -> None:
    data = sample(names=("deep",), infer_ms=(9.0,), repetitions=1, due=20)
    rows = data["configurations"][0]["repetitions"][0]["trace"]
    # The next frame is submitted before this one is collected, as with --depth 2.
    for name in ("infer", "labels", "render", "sink"):
        shift = 0 if name == "infer" else 40_000_000
        rows["start_ns"][name] = [at + shift for at in rows["start_ns"][name]]
    rows["stages_ns"]["infer"] = [lasted + 40_000_000 for lasted in rows["stages_ns"]["infer"]]
    rows["overlay_ns"] = [at + 40_000_000 for at in rows["overlay_ns"]]
    rows["sink_ns"] = [at + 140_000_000 for at in rows["sink_ns"]]
    events = trace.events(data)
    check_nesting(events)
    named = threads(events)
    assert {"loop", "loop 2", "sinks", "sinks 2"} <= set(named.values())
    for index in (0, 1, 2):
        lanes = {
            named[e["pid"], e["tid"]] for e in slices(events) if e["cat"] == "loop" and e["args"]["frame"] == index
        }
        assert len(lanes) == 1


def test_a_frame_that_no_sink_wrote_is_marked() -> None:
    data = sample(names=("one",), infer_ms=(9.0,), repetitions=1, due=20)
    rows = data["configurations"][0]["repetitions"][0]["trace"]
    rows["sink_ns"][3] = None
    marks = [e for e in trace.events(data) if e["name"] == "not written"]
    assert [e["args"]["frame"] for e in marks] == [rows["index"][3]]
    rows["sink_ns"] = [None] * len(rows["index"])
    assert "sinks" not in threads(trace.events(data)).values()


def test_without_values_of_frames_there_is_no_trace(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="holds no values for each frame"):
        trace.write(sample(trace=False, due=30), tmp_path / "trace.json")
    assert not (tmp_path / "trace.json").exists()
    with pytest.raises(SinkError, match="cannot write trace"):
        trace.write(sample(due=30), tmp_path / "missing" / "trace.json")
