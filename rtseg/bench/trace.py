"""A benchmark as a trace file: Chrome trace events in JSON, which ui.perfetto.dev and chrome://tracing open.

A configuration is a process; its threads are `capture` (a frame's wait until the loop takes it, and the drops), `loop`
(a slice for each frame, its stages inside), `sinks` (from the overlay in hand to the frame written) and `gpu`.
Frames that are under way at once lie on parallel threads of the trace, as slices of a thread nest but never overlap.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from rtseg.errors import ConfigError, SinkError
from rtseg.files import write_text

__all__ = ["events", "write"]

THREADS = ("capture", "loop", "sinks", "gpu")
LANES = 100
"""Thread ids from one thread to the next: as many frames may be under way on it at once."""

Event = dict[str, Any]


def write(data: Mapping[str, Any], path: Path) -> None:
    """Write the trace of a benchmark.

    Errors: ConfigError where the benchmark kept no values for each frame, SinkError where the file cannot be written.
    """
    found = events(data)
    if not found:
        raise ConfigError(f"no trace to write to {path}: the benchmark holds no values for each frame")
    other = {"schema": data["schema"], "created": data["created"], "command": " ".join(data["command"])}
    text = json.dumps({"displayTimeUnit": "ms", "otherData": other, "traceEvents": found}, separators=(",", ":"))
    try:
        write_text(path, text + "\n")
    except OSError as exc:
        raise SinkError(f"cannot write trace {path}: {exc.strerror or exc}") from exc


def events(data: Mapping[str, Any]) -> list[Event]:
    """The trace events of every configuration in order of time, which is microseconds since the benchmark began.

    Names come first. A slice stays before those that it holds, for the sorting is stable.
    """
    return sorted(_events(data), key=lambda event: event.get("ts", -1.0))


def _events(data: Mapping[str, Any]) -> Iterator[Event]:
    for process, configuration in enumerate(data["configurations"], start=1):
        tracks = {name: _Track(process, name) for name in THREADS}
        for number, repetition in enumerate(configuration["repetitions"], start=1):
            if (repetition.get("trace") or {}).get("due_ns"):
                yield from _repetition(process, number, repetition, tracks)
        used = [lane for track in tracks.values() for lane in track.names()]
        if used:
            yield _meta(process, 0, "process_name", name=configuration["name"])
            yield _meta(process, 0, "process_sort_index", sort_index=process)
        for lane, name in used:
            yield _meta(process, lane, "thread_name", name=name)
            yield _meta(process, lane, "thread_sort_index", sort_index=lane)


def _repetition(
    process: int, number: int, repetition: Mapping[str, Any], tracks: Mapping[str, _Track]
) -> Iterator[Event]:
    trace = repetition["trace"]
    dropped = sorted((int(due), int(index)) for index, due in trace.get("dropped", ()))
    first = min([int(due) for due in trace["due_ns"]] + [due for due, _ in dropped])
    zero = first - round(repetition["started_s"] * 1e9)
    starts, lasted = trace["start_ns"], trace["stages_ns"]
    written = trace.get("sink_ns") or [None] * len(trace["index"])
    any_written = any(when is not None for when in written)
    for row, (index, due) in enumerate(zip(trace["index"], trace["due_ns"], strict=True)):
        frame = {"frame": index, "repetition": number}
        due, overlay = int(due) - zero, int(trace["overlay_ns"][row]) - zero
        if "capture" in lasted:
            at = int(starts["capture"][row]) - zero if "capture" in starts else due
            yield tracks["capture"].slice("capture", at, at + int(lasted["capture"][row]), frame)
        yield from _loop(tracks["loop"], trace, row, zero, frame)
        yield from _gpu(tracks["gpu"], trace, row, zero, frame)
        if written[row] is not None:
            yield tracks["sinks"].slice("overlay to sink", overlay, max(int(written[row]) - zero, overlay), frame)
        elif any_written:
            yield tracks["sinks"].drop(overlay, "not written", frame)
        yield _counter(process, "capture-to-overlay", overlay, "ms", round((overlay - due) / 1e6, 3))
    # Counters hold their value until the next: nothing is measured until the next repetition.
    yield _counter(process, "capture-to-overlay", max(map(int, trace["overlay_ns"])) - zero + 1, "ms", 0)
    yield _counter(process, "dropped", first - zero, "frames", 0)
    for count, (due, index) in enumerate(dropped, start=1):
        at = due - zero
        yield tracks["capture"].drop(at, "dropped", {"frame": index, "repetition": number})
        yield _counter(process, "dropped", at, "frames", count)


def _loop(track: _Track, trace: Mapping[str, Any], row: int, zero: int, frame: Mapping[str, Any]) -> Iterator[Event]:
    """The frame and its stages within it; `other`, which begins nowhere, is the gaps."""
    spans = []
    for name, lasted in trace["stages_ns"].items():
        if name in trace["start_ns"] and name != "capture" and not name.startswith("gpu-"):
            at = int(trace["start_ns"][name][row]) - zero
            spans.append((name, at, at + int(lasted[row])))
    if not spans:
        return
    begin, end = min(at for _, at, _ in spans), max(until for _, _, until in spans)
    lane = track.lane(begin, end)
    latency = (int(trace["overlay_ns"][row]) - int(trace["due_ns"][row])) / 1e6
    yield track.slice(f"frame {frame['frame']}", begin, end, {**frame, "latency_ms": latency}, lane=lane)
    for name, at, until in spans:
        yield track.slice(name, at, until, frame, lane=lane)


def _gpu(track: _Track, trace: Mapping[str, Any], row: int, zero: int, frame: Mapping[str, Any]) -> Iterator[Event]:
    """The GPU's stages; where only durations are known they stand one after the other from the start of `infer`."""
    names = [name for name in trace["stages_ns"] if name.startswith("gpu-")]
    if not names:
        return
    starts, at = trace["start_ns"], int(trace["due_ns"][row]) - zero
    if "infer" in starts:
        at = int(starts["infer"][row]) - zero
    spans = []
    for name in names:
        if name in starts:
            at = int(starts[name][row]) - zero
        until = at + int(trace["stages_ns"][name][row])
        spans.append((name, at, until, {} if name in starts else {"start": "assumed"}))
        at = until
    lane = track.lane(min(span[1] for span in spans), max(span[2] for span in spans))
    for name, begin, end, note in spans:
        yield track.slice(name, begin, end, {**frame, **note}, lane=lane)


class _Track:
    """A thread of a process, and those beside it for frames that overlap."""

    def __init__(self, process: int, name: str) -> None:
        self.process, self.name = process, name
        self.first = LANES * (1 + THREADS.index(name))
        self.used = False
        self._ends: list[int] = []

    def lane(self, begin: int, end: int) -> int:
        """The id of a thread that is free from `begin` on, taken until `end`."""
        self.used = True
        for place, until in enumerate(self._ends):
            if until <= begin:
                self._ends[place] = end
                return self.first + place
        self._ends.append(end)
        return self.first + len(self._ends) - 1

    def slice(self, name: str, begin: int, end: int, args: Mapping[str, Any], lane: int | None = None) -> Event:
        """A slice in nanoseconds, on a free thread unless one is given."""
        return {
            "ph": "X",
            "name": name,
            "cat": self.name,
            "ts": begin / 1e3,
            "dur": (end - begin) / 1e3,
            "pid": self.process,
            "tid": self.lane(begin, end) if lane is None else lane,
            "args": dict(args),
        }

    def drop(self, at: int, name: str, args: Mapping[str, Any]) -> Event:
        """An instant in nanoseconds at which a frame was lost."""
        self.used = True
        place = {"ts": at / 1e3, "pid": self.process, "tid": self.first}
        return {"ph": "i", "s": "t", "name": name, "cat": "drop", **place, "args": dict(args)}

    def names(self) -> list[tuple[int, str]]:
        """Id and name of each thread in use."""
        lanes = max(len(self._ends), 1) if self.used else 0
        return [(self.first + place, self.name + (f" {place + 1}" if place else "")) for place in range(lanes)]


def _counter(process: int, name: str, at: int, key: str, value: float) -> Event:
    return {"ph": "C", "name": name, "ts": at / 1e3, "pid": process, "args": {key: value}}


def _meta(process: int, thread: int, kind: str, **args: Any) -> Event:
    return {"ph": "M", "name": kind, "pid": process, "tid": thread, "args": args}
