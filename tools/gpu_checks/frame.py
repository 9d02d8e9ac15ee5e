"""The step `frame`: whole frames on the GPU, from memory to overlay, one at a time and several in flight.

result: rows: {name: network, depth, needs, frames, fps, latency_ms and stages_ms (percentiles; capture to overlay by
the host's clock, gpu-* by events), share_gpu and share_latency (what is neither network nor transfer, of the GPU's
time and of the latency), copies {up_bytes, down_bytes, up, down per frame, expected_up, expected_down}},
ratios: {name: frames per second over those with one in flight}, agreement (see agreement.py)
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

import numpy as np
from numpy.typing import NDArray

from gpu_checks import agreement, loop, pictures
from gpu_checks.check import Options
from gpu_checks.networks import opened
from gpu_checks.record import Record
from rtseg.gpu.cuda import Device
from rtseg.segmenter.device import DeviceSegmenter

__all__ = ["AGREE", "device_of", "run"]

SHARE = 0.05
AGREE = 0.9999
FRAMES, WARM = 1000, 20
"""Frames of each measurement, enough for a p99, and those before it that are not counted."""
COMPARED = 24
SECONDS = 6.0


def run(options: Options, record: Record) -> None:
    """Measure latency, throughput, copies and agreement."""
    images = pictures.drive(options.frame, 3 if options.emulated else COMPARED)
    record.result |= {"rows": {}, "ratios": {}}
    cases: list[tuple[str, tuple[int, int] | None, str, int]] = [
        ("set overlay", options.size, "overlay", 1),
        ("set labels", options.size, "labels", 1),
        ("set areas", options.size, "areas", 1),
        ("own overlay", None, "overlay", 1),
    ]
    cases += [(f"set overlay depth {depth}", options.size, "overlay", depth) for depth in (2, 3)]
    cases += [(f"own overlay depth {depth}", None, "overlay", depth) for depth in (2, 3)]
    for name, size, need, depth in cases:
        if not record.time_for(name, 4.0):
            continue
        with record.part(name):
            row = measured(options, images, size, need, depth)
            record.result["rows"][name] = row
            base = record.result["rows"].get(name.partition(" depth")[0])
            if depth > 1 and base:
                record.result["ratios"][name] = round(row["fps"] / base["fps"], 3)
            record.tell(
                f"    p50 {row['latency_ms']['p50']} ms, {row['fps']} frames/s, beside network and transfers "
                f"{row['share_gpu']:.1%} of the GPU's time, {row['share_latency']:.1%} of the latency"
            )
            copies = row["copies"]
            wrong = abs(copies["up_bytes"] - copies["expected_up"]) + abs(
                copies["down_bytes"] - copies["expected_down"]
            )
            record.target(f"bytes copied beyond the frame and what is needed ({name})", wrong, 0, "B", required=True)
    row = record.result["rows"].get("set overlay")
    if row:
        record.target("share beside network and transfers, of the GPU's time", row["share_gpu"], SHARE, "")
        record.target("share beside network and transfers, of the latency", row["share_latency"], SHARE, "")
    for name, size in (("set", options.size), ("own", None)):
        title = f"agreement with the CPU, {name} size"
        if not record.time_for(title, 4.0):
            continue
        with record.part(title):
            found = compared(options, images, size)
            record.result.setdefault("agreement", {})[name] = found
            record.target(f"equal labels ({name} size)", found["equal"], AGREE, "", sense="least", required=True)


def measured(
    options: Options, images: list[NDArray[np.uint8]], size: tuple[int, int] | None, need: str, depth: int
) -> dict[str, Any]:
    """One row: the loop on frames from memory with results of one kind."""
    needs = frozenset({need})
    with opened(options, size=size, depth=depth) as segmenter:
        gpu = device_of(segmenter)
        painter = loop.painter_for(segmenter, needs)
        with counted(gpu) as copies:
            segmenter.warm_up(options.frame)
        per_frame = per_queue(segmenter, copies)
        painter.warm_up(options.frame)
        loop.frames(segmenter, painter, needs, images, WARM, SECONDS)
        done = loop.frames(segmenter, painter, needs, images, min(options.frames, FRAMES), SECONDS)
        place = segmenter.place(options.frame)
    latency, stages = done.summary["capture_to_overlay_ms"], done.summary["stages_ms"]
    gpu_ms = {name: stages[f"gpu-{name}"]["p50"] for name in ("upload", "preprocess", "infer", "labels", "download")}
    own = gpu_ms["preprocess"] + gpu_ms["labels"]
    outside = gpu_ms["upload"] + gpu_ms["infer"] + gpu_ms["download"]
    pixels = options.frame[0] * options.frame[1]
    expected = {"overlay": 3 * pixels, "labels": pixels, "areas": 4 * 256}[need]
    return {
        "network": list(place.network),
        "depth": depth,
        "needs": [need],
        "frames": done.frames,
        "fps": round(done.rate, 2),
        "latency_ms": latency,
        "stages_ms": stages,
        "share_gpu": round(own / max(own + outside, 1e-9), 4),
        "share_latency": round(1 - outside / max(latency["p50"], 1e-9), 4),
        "copies": {**per_frame, "expected_up": 3 * pixels, "expected_down": expected},
    }


def compared(options: Options, images: list[NDArray[np.uint8]], size: tuple[int, int] | None) -> dict[str, Any]:
    """Labels of the GPU beside those of the CPU from the same logits."""
    with opened(options, size=size) as segmenter:
        loop.painter_for(segmenter, frozenset({"labels"}))
        return agreement.compare(segmenter, device_of(segmenter), images)


def device_of(segmenter: DeviceSegmenter) -> Device:
    """The GPU that a segmenter's frames are on."""
    device_network: Any = segmenter._device_network
    gpu: Device = device_network.gpu
    return gpu


@contextmanager
def counted(gpu: Device) -> Iterator[dict[str, int]]:
    """Counts the copies of frames that are queued or recorded on a GPU inside the block; tables go by a stream of the
    GPU's own."""
    counts = {"up": 0, "up_bytes": 0, "down": 0, "down_bytes": 0}
    copy_in, copy_out = gpu.copy_in, gpu.copy_out

    def counting_in(address: int, array: NDArray[Any], stream: Any) -> None:
        counts["up"] += stream is not gpu._own
        counts["up_bytes"] += array.nbytes if stream is not gpu._own else 0
        copy_in(address, array, stream)

    def counting_out(array: NDArray[Any], address: int, stream: Any) -> None:
        counts["down"] += 1
        counts["down_bytes"] += array.nbytes
        copy_out(array, address, stream)

    with mock.patch.object(gpu, "copy_in", counting_in), mock.patch.object(gpu, "copy_out", counting_out):
        yield counts


def per_queue(segmenter: DeviceSegmenter, copies: dict[str, int]) -> dict[str, float]:
    """The copies of one frame: of all that were recorded, and once for each set of frame buffers unrecorded.

    The colours, which go up when they change, are not of the frame: they went up once with the first one.
    """
    (recorded,) = segmenter._recorded.values()
    queued = sum(1 + len(buffers.results) for buffers in recorded._buffers)
    colormaps = sum(buffers.colormaps.nbytes for buffers in recorded._buffers if buffers.inked)
    up = copies["up"] - sum(1 for buffers in recorded._buffers if buffers.inked)
    return {
        "up": up / queued,
        "down": copies["down"] / queued,
        "up_bytes": (copies["up_bytes"] - colormaps) / queued,
        "down_bytes": copies["down_bytes"] / queued,
    }
