"""Measure the whole pipeline beside the backend alone, and its memory; the pipeline half of `make bench`.

The rate of the backend on a resident input, the rate of the pipeline with overlays made from frames in memory, and the
same with decoding are measured in turn, several times, in one run; ratios are medians over the repetitions.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from contextlib import ExitStack
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import psutil

from rtseg.backends import Backend, open_backend
from rtseg.drawing.palette import resolve_palette
from rtseg.drawing.render import Renderer
from rtseg.drawing.view import View
from rtseg.packages.spec import find_package
from rtseg.pipeline.capture import Capture
from rtseg.pipeline.delivery import Delivery
from rtseg.pipeline.loop import Pipeline, run
from rtseg.report import machine
from rtseg.segmenter.host import HostSegmenter
from rtseg.sinks import open_sink
from rtseg.sources import Source
from rtseg.sources.file import FileSource
from rtseg.sources.memory import MemorySource

FRAME = (1080, 1920)


def upscaled_frames(clip: Path, count: int) -> list[np.ndarray]:
    """The first `count` frames of a clip at 1080p."""
    with FileSource(str(clip)) as source:
        images = [frame.image for _, frame in zip(range(count), source, strict=False)]
    return [cv2.resize(image, (FRAME[1], FRAME[0]), interpolation=cv2.INTER_CUBIC) for image in images]


def write_clip(path: Path, images: list[np.ndarray]) -> None:
    """The frames as an H.264 file, so that decoding 1080p is part of one figure."""
    with av.open(str(path), "w") as out:
        stream = out.add_stream("libx264", rate=25, options={"preset": "veryfast", "crf": "23"})
        stream.width, stream.height, stream.pix_fmt = FRAME[1], FRAME[0], "yuv420p"
        stream.codec_context.time_base = Fraction(1, 25)
        for image in images:
            for packet in stream.encode(av.VideoFrame.from_ndarray(image, "bgr24")):
                out.mux(packet)
        for packet in stream.encode(None):
            out.mux(packet)


def pipeline_rate(backend: Backend, source: Source, size: tuple[int, int]) -> tuple[float, dict]:
    """Frames per second of the whole pipeline with overlays made and thrown away, and the stage medians."""
    with ExitStack() as stack:
        segmenter = HostSegmenter(backend, size=size)
        view = View()
        capture = stack.enter_context(Capture(source))
        sink = open_sink("null:", capture.info, backend.spec, view)
        renderer = Renderer(backend.spec, resolve_palette(None, backend.spec), view)
        segmenter.warm_up(FRAME)
        delivery = stack.enter_context(Delivery([sink], "wait:4", lambda frame, t: None))
        pipeline = Pipeline(capture, segmenter, renderer, delivery, frozenset({"overlay"}))
        start = time.perf_counter()
        run(pipeline)
        seconds = time.perf_counter() - start
    stages = pipeline.recorder.summary()["stages_ms"]
    return len(pipeline.recorder.to_overlay) / seconds, {name: row["p50"] for name, row in stages.items()}


def backend_rate(backend: Backend, size: tuple[int, int], count: int) -> float:
    """Inferences per second on one resident input, each collected before the next is submitted."""
    tensor = np.random.default_rng(0).standard_normal((1, 3, *size)).astype(np.float32)
    start = time.perf_counter()
    for _ in range(count):
        backend.submit(tensor)
        backend.collect()
    return count / (time.perf_counter() - start)


def memory_growth(frames: list[np.ndarray], count: int) -> dict[str, float]:
    """Resident memory in MiB after a tenth of `count` frames and after all of them, null backend, overlays made."""
    spec = find_package("unet-fast0-camvid")
    process, samples = psutil.Process(), []
    with open_backend("null", str(spec.path)) as backend, ExitStack() as stack:
        view = View(hud=True, legend=True)
        capture = stack.enter_context(Capture(MemorySource(frames, count=count)))
        sinks = [open_sink("null:", capture.info, backend.spec, view)]
        delivery = stack.enter_context(
            Delivery(sinks, "wait:4", lambda frame, t: samples.append(process.memory_info().rss / 2**20))
        )
        renderer = Renderer(backend.spec, resolve_palette(None, backend.spec), view)
        run(Pipeline(capture, HostSegmenter(backend), renderer, delivery, frozenset({"overlay", "areas"})))
    early, late = samples[count // 10], samples[-1]
    return {
        "frames": count,
        "mb_early": round(early, 1),
        "mb_late": round(late, 1),
        "growth_mb": round(late - early, 1),
    }


def main() -> int:
    """Run the measurements and write them as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clip", type=Path, default=Path("../shared/data/video/highway_960x540.mp4"))
    parser.add_argument("--model", default="unet-fast0-camvid")
    parser.add_argument("--backend", default="openvino")
    parser.add_argument("--size", default="512x1024")
    parser.add_argument("--frames", type=int, default=60)
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    if not args.clip.is_file():
        print(f"no clip at {args.clip}: name one with --clip", file=sys.stderr)
        return 1
    height, width = (int(side) for side in args.size.split("x"))
    size = (height, width)
    images = upscaled_frames(args.clip, min(args.frames, 100))
    rows: dict[str, list[float]] = {"backend": [], "memory": [], "file": []}
    stages: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as folder, open_backend(args.backend, args.model) as backend:
        clip = Path(folder) / "clip.mp4"
        write_clip(clip, images)
        backend.prepare(size)
        for _ in range(args.repeat):
            rows["backend"].append(backend_rate(backend, size, args.frames))
            rate, medians = pipeline_rate(backend, MemorySource(images, count=args.frames), size)
            rows["memory"].append(rate)
            for name, value in medians.items():
                stages.setdefault(name, []).append(value)
            rows["file"].append(pipeline_rate(backend, FileSource(str(clip)), size)[0])
        names = {"name": args.backend, "device": backend.device, "precision": backend.precision}
    ratios = {
        kind: [rate / alone for rate, alone in zip(rows[kind], rows["backend"], strict=True)]
        for kind in ("memory", "file")
    }
    result = {
        "command": " ".join(sys.argv),
        "machine": machine(),
        "backend": names,
        "frame": FRAME,
        "network": size,
        "rates": {kind: [round(rate, 2) for rate in values] for kind, values in rows.items()},
        "ratio_to_backend": {
            kind: {"median": round(statistics.median(v), 3), "min": round(min(v), 3), "max": round(max(v), 3)}
            for kind, v in ratios.items()
        },
        "stages_p50_ms": {name: round(statistics.median(values), 3) for name, values in stages.items()},
        "memory": memory_growth(images[:8], 2000),
    }
    args.out.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps({key: result[key] for key in ("rates", "ratio_to_backend", "stages_p50_ms", "memory")}, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
