"""GPU time of launches by events, and what the device's memory could do in that time."""

from __future__ import annotations

import ctypes
import statistics
from collections.abc import Callable, Sequence
from typing import Any

from rtseg.gpu.cuda import Device, Stream
from rtseg.gpu.driver import check, driver
from rtseg.kernels.launch import Launch

__all__ = ["attribute", "copy_rate", "launch_times", "peak_rate", "spread"]

MEMORY_KHZ, BUS_BITS = 36, 37
"""CU_DEVICE_ATTRIBUTE_MEMORY_CLOCK_RATE and _GLOBAL_MEMORY_BUS_WIDTH."""
WARM_UP = 3
"""Most replays that are not counted."""


def attribute(device: Device, number: int) -> int:
    """A device attribute by its number in cuda.h."""
    value = ctypes.c_int()
    index = int(device.name.partition(":")[2] or 0)
    check(driver().cuDeviceGetAttribute(ctypes.byref(value), number, index), "cuDeviceGetAttribute")
    return value.value


def peak_rate(device: Device) -> float | None:
    """The memory's peak rate in GB/s: two transfers per clock over the whole bus; None if the driver does not tell."""
    kilohertz, bits = attribute(device, MEMORY_KHZ), attribute(device, BUS_BITS)
    return round(2 * kilohertz * 1e3 * bits / 8 / 1e9, 1) if kilohertz and bits else None


def replayed(device: Device, queue: Callable[[Stream], Any], replays: int) -> list[int]:
    """Nanoseconds of each of some replays of what `queue` puts on a stream, recorded once as a graph."""
    stream = device.stream()
    begin, end = device.event(timed=True), device.event(timed=True)
    queue(stream)  # loads kernels, which a capture must not
    stream.synchronize()
    with device.capture(stream) as graph:
        queue(stream)
    times, warm_up = [], min(WARM_UP, replays)
    try:
        for index in range(warm_up + replays):
            begin.record(stream.handle)
            graph.launch(stream.handle)
            end.record(stream.handle).wait()
            if index >= warm_up:
                times.append(end.since(begin))
    finally:
        stream.synchronize()
        graph.close()
        begin.close()
        end.close()
    return times


def launch_times(device: Device, launches: Sequence[Launch], count: int, replays: int) -> dict[str, float]:
    """Microseconds per launch of `count` launches, taken in turn from `launches`, over some replays."""

    def queue(stream: Stream) -> None:
        for index in range(count):
            device.launch(launches[index % len(launches)], stream)

    return spread([nanoseconds / count / 1e3 for nanoseconds in replayed(device, queue, replays)])


def copy_rate(device: Device, size: int, count: int, replays: int) -> float:
    """GB/s, read and written bytes counted, of copies of `size` bytes from the device to the device."""
    source, target = device.empty(size), device.empty(size)
    copy = driver().cuMemcpyDtoDAsync_v2

    def queue(stream: Stream) -> None:
        places = ctypes.c_uint64(target.address), ctypes.c_uint64(source.address)
        for _ in range(count):
            check(copy(*places, ctypes.c_size_t(size), ctypes.c_void_p(stream.handle)), "cuMemcpyDtoDAsync")

    try:
        times = replayed(device, queue, replays)
    finally:
        source.free()
        target.free()
    return round(2 * size * count / max(statistics.median(times), 1), 1)


def spread(values: Sequence[float]) -> dict[str, float]:
    """Median, least and most."""
    return {
        "median": round(statistics.median(values), 4),
        "min": round(min(values), 4),
        "max": round(max(values), 4),
        "samples": len(values),
    }
