"""The step `kernels`: GPU time of every launch of a frame, and the bytes moved as a share of what the memory can do.

Each launch is recorded 100 times in a row into a graph, which is replayed; events around a replay, divided by 100, give
the time of one launch with the gap to the next. `cold_us` rotates over buffers of more than twice the L2 cache, so that
neither frame nor logits are in it; `warm_us` uses one set of buffers, as when the upload has just passed the cache.

    result: logits (where the realistic ones come from), clocks (by nvidia-smi, right after), l2_bytes, peak_gb_s,
    copy_gb_s (device to device), floor_us (the smallest kernel), rows: {name: cold_us, warm_us: {median, min, max,
    samples}, sets, beyond_l2 (whether these sets are), bytes, gb_s, of_peak, of_copy (by cold), kernels, limit_us, met}
"""

from __future__ import annotations

import statistics
from typing import Any

import numpy as np

from gpu_checks import launches, pictures, timing
from gpu_checks.check import Options
from gpu_checks.environment import nvidia_smi
from gpu_checks.launches import Make
from gpu_checks.record import Record
from rtseg.gpu.cuda import Device
from rtseg.gpu.opening import open_gpu
from rtseg.kernels import launch as plans
from rtseg.packages.spec import ModelSpec

__all__ = ["run"]

L2_BYTES = 38
"""CU_DEVICE_ATTRIBUTE_L2_CACHE_SIZE."""
MOST_SETS = 64
COPY_BYTES = 256 << 20
PREPROCESS_US, LABELS_US = 15.0, 20.0
"""What must hold on an H100 at 1080p with a network of 512x1024."""
OUTPUTS = (
    ("labels",),
    ("overlay",),
    ("labels", "overlay"),
    ("labels", "overlay", "contours"),
    ("labels", "overlay", "confidence"),
)
CLOCKS = ("clocks.sm", "clocks.mem", "pstate", "clocks_throttle_reasons.active")
HEADLINES = ("preprocess bgr8 NHWC float16", "labels+overlay model 19")


def run(options: Options, record: Record) -> None:
    """Time every launch."""
    image = pictures.drive(options.frame, 1)[0]
    with open_gpu() as device:
        bench = Bench(device, options, record)
        bench.limits()
        for pixels in ("bgr8", "nv12"):
            luma, chroma = pictures.nv12(image) if pixels == "nv12" else (image, None)
            for layout, dtype in (("NCHW", "float16"), ("NHWC", "float16"), ("NCHW", "float32")):
                spec = ModelSpec(name="check", classes=("a", "b"), layout=layout, dtype=dtype)  # type: ignore[arg-type]
                make = launches.preprocess(device, luma, chroma, options.size, spec)
                bench.row(f"preprocess {pixels} {layout} {dtype}", make, PREPROCESS_US)
        height, width = options.size
        base, record.result["logits"] = pictures.logits(options.model, image)
        for classes, stride, kind in ((19, 8, "float16"), (12, 4, "float16"), (19, 8, "float32")):
            grid = (height // stride, width // stride)
            contents = {
                "model": pictures.to_grid(base, classes, grid, kind),
                "noise": pictures.noise(classes, grid, kind),
            }
            for content, logits in contents.items():
                for wanted in OUTPUTS if kind == "float16" else OUTPUTS[2:3]:
                    suffix = "" if kind == "float16" else f" {kind}"
                    limit = LABELS_US if wanted == ("labels", "overlay") else None
                    name = f"{'+'.join(wanted)} {content} {classes}{suffix}"
                    bench.row(name, launches.label(device, logits, image, wanted), limit)
        labels = np.argmax(pictures.to_grid(base, 11, options.frame, np.float32), 0).astype(np.uint8)
        bench.row("areas model", launches.areas(device, labels), None)
        noisy = np.random.default_rng(2).integers(0, 19, options.frame, dtype=np.uint8)
        bench.row("areas noise", launches.areas(device, noisy), None)
        record.result["clocks"] = nvidia_smi(CLOCKS)
    for name in HEADLINES:
        row = record.result.get("rows", {}).get(name)
        if row is not None:
            record.target(f"GPU time of {name}", row["cold_us"]["median"], row["limit_us"], "us")


class Bench:
    """Times launches on a device and notes rows."""

    def __init__(self, device: Device, options: Options, record: Record) -> None:
        self._device, self._record = device, record
        self._count, self._replays = (2, 1) if options.emulated else (100, 25)
        self._copy = (1 << 20) if options.emulated else COPY_BYTES
        self._l2 = timing.attribute(device, L2_BYTES)
        self._peak: float | None = None
        self._rate: float | None = None
        record.result["rows"] = {}

    def limits(self) -> None:
        """What the device could do: peak and measured rates, and the time of a kernel that does next to nothing."""
        result = self._record.result
        result |= {"l2_bytes": self._l2, "launches": self._count, "replays": self._replays}
        with self._record.part("limits"):
            self._peak = result["peak_gb_s"] = timing.peak_rate(self._device)
            self._rate = result["copy_gb_s"] = timing.copy_rate(self._device, self._copy, 4, self._replays)
            counts = self._device.empty(4 * 256)
            clear = plans.areas(plans.Plane(counts.address, 16), (1, 16), counts.address)[0]
            result["floor_us"] = timing.launch_times(self._device, [clear], self._count, self._replays)
            counts.free()

    def row(self, name: str, make: Make, limit: float | None) -> None:
        """Time one kind of launch, cold and warm."""
        if not self._record.time_for(name, 1.0):
            return
        with self._record.part(name):
            sets = [make()]
            try:
                wanted = 2 if not self._l2 else 1 + -(-2 * self._l2 // sets[0].held)
                while len(sets) < min(wanted, MOST_SETS):
                    sets.append(make())
                self._record.result["rows"][name] = self._timed(sets, limit)
            finally:
                for each in sets:
                    each.free()

    def _timed(self, sets: list[Any], limit: float | None) -> dict[str, Any]:
        """The figures of launches that do the same on several sets of buffers."""
        cold, warm = (
            _together(
                [
                    timing.launch_times(
                        self._device, [each.launches[part] for each in some], self._count, self._replays
                    )
                    for part in range(len(sets[0].launches))
                ]
            )
            for some in (sets, sets[:1])
        )
        moved = sets[0].moved
        rate = moved / max(cold["median"], 1e-3) / 1e3
        return {
            "cold_us": cold,
            "warm_us": warm,
            "sets": len(sets),
            "beyond_l2": len(sets) * sets[0].held > 2 * self._l2 > 0,
            "kernels": [launch.kernel for launch in sets[0].launches],
            "bytes": moved,
            "gb_s": round(rate, 1),
            "of_peak": round(rate / self._peak, 4) if self._peak else None,
            "of_copy": round(rate / self._rate, 4) if self._rate else None,
            "limit_us": limit,
            "met": None if limit is None else cold["median"] <= limit,
        }


def _together(parts: list[dict[str, float]]) -> dict[str, float]:
    """The sum of launches that follow one another."""
    summed = {name: round(sum(part[name] for part in parts), 4) for name in ("median", "min", "max")}
    return {**summed, "samples": int(statistics.median(part["samples"] for part in parts))}
