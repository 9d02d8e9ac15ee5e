"""The step `timings`: the launches of hot.py, and what an event between two kernels of a graph costs.

result: logits (where the realistic ones come from), rows: {name: {median, min, max, samples} in microseconds of one
launch, on one set of buffers}, events: {plain, marked (us for 20 empty kernels in a graph, without and with an event
after each), each_us (what one event adds)}
"""

from __future__ import annotations

import itertools
import statistics
from typing import Any

from gpu_checks import hot, pictures, timing
from gpu_checks.check import Options
from gpu_checks.record import Record
from rtseg.gpu.cuda import Device, Stream
from rtseg.gpu.opening import open_gpu
from rtseg.kernels import launch as plans

__all__ = ["run"]

COUNT, REPLAYS = 100, 25
EVENTS = 20


def run(options: Options, record: Record) -> None:
    """Time every launch, and the graphs with events."""
    count, replays = (2, 1) if options.emulated else (COUNT, REPLAYS)
    image = hot.picture(emulated=options.emulated)
    base, record.result["logits"] = pictures.logits(options.model, image)
    rows: dict[str, Any] = record.result.setdefault("rows", {})
    with open_gpu() as device:
        with record.part("events between kernels"):
            record.result["events"] = events(device, replays)
        with record.part("launches"):
            for name, make in hot.cases(device, image, base, emulated=options.emulated):
                if not record.time_for(name, 1.0):
                    break
                with hot.held(make) as made:
                    rows[name] = timing.launch_times(device, made.launches, count, replays)
                record.tell(f"    {name}: {rows[name]['median']:.2f} us")
                record.save()


def events(device: Device, replays: int) -> dict[str, float]:
    """Microseconds of a graph of small kernels, alone and with an event that the host could wait for after each."""
    counts = device.empty(4 * 256)
    clear = plans.areas(plans.Plane(counts.address, 16), (1, 16), counts.address)[0]
    marks = [device.event(timed=True) for _ in range(EVENTS)]

    def plain(stream: Stream) -> None:
        for _ in marks:
            device.launch(clear, stream)

    calls = itertools.count()

    def marked(stream: Stream) -> None:
        recorded = next(calls) > 0  # the first call comes before the capture
        for mark in marks:
            device.launch(clear, stream)
            if recorded:
                mark.record(stream.handle, external=True)

    try:
        alone, among = (statistics.median(timing.replayed(device, queue, replays)) / 1e3 for queue in (plain, marked))
    finally:
        for mark in marks:
            mark.close()
        counts.free()
    return {"plain": round(alone, 3), "marked": round(among, 3), "each_us": round((among - alone) / EVENTS, 4)}
