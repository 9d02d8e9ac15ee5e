"""The step `memory`: many frames, two in flight, with memory looked at twenty times on the way.

result: frames, seconds, fps, depth, free_bytes and resident_bytes (one for each look), growth_device_bytes,
growth_host_bytes (last look less the first, which comes after the first twentieth)
"""

from __future__ import annotations

import resource
import time
from pathlib import Path

from gpu_checks import loop, pictures
from gpu_checks.check import Options
from gpu_checks.frame import device_of
from gpu_checks.networks import opened
from gpu_checks.record import Record

__all__ = ["run"]

LOOKS = 20
DEPTH = 2
GROWTH_BYTES = 16 << 20
"""What the host's memory may grow by: allocators keep some."""
NEEDS = frozenset({"overlay", "areas"})


def run(options: Options, record: Record) -> None:
    """Run the frames and compare memory."""
    result = record.result
    images = pictures.drive(options.frame, 2 if options.emulated else 16)
    with record.part("frames"), opened(options, size=options.size, depth=DEPTH) as segmenter:
        gpu, painter = device_of(segmenter), loop.painter_for(segmenter, NEEDS)
        before = gpu.memory()[0]
        segmenter.warm_up(options.frame)
        painter.warm_up(options.frame)
        free: list[int] = []
        resident: list[int] = []
        done, begin = 0, time.monotonic()
        per_look = max(1, options.frames // LOOKS)
        seconds = record.left - 2
        for look in range(LOOKS):
            # What is left of the time is shared by the looks that are left.
            share = (seconds - (time.monotonic() - begin)) / (LOOKS - look)
            done += loop.frames(segmenter, painter, NEEDS, images, per_look, max(share, 0.05)).frames
            free.append(gpu.memory()[0])
            resident.append(_resident())
        elapsed = time.monotonic() - begin
        result |= {
            "frames": done,
            "wanted": options.frames,
            "seconds": round(elapsed, 2),
            "fps": round(done / elapsed, 1),
            "depth": DEPTH,
            "free_bytes_before": before,
            "free_bytes": free,
            "resident_bytes": resident,
            "growth_device_bytes": free[0] - min(free),
            "growth_host_bytes": resident[-1] - resident[0],
        }
        record.target("growth of the GPU's memory", result["growth_device_bytes"], 0, "B", required=True)
        record.target("growth of the host's memory", result["growth_host_bytes"], GROWTH_BYTES, "B", required=True)
        record.target("frames", done, options.frames, "", sense="least")


def _resident() -> int:
    """Bytes of this process in memory."""
    statm = Path("/proc/self/statm")
    if statm.is_file():
        return int(statm.read_text(encoding="ascii").split()[1]) * resource.getpagesize()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
