"""Time the CPU kernels beside torch and OpenCV/NumPy doing the same work, in one run.

    python tools/bench_kernels.py --out bench-out/kernels.json --clip drive.mp4 --model unet-fast0-camvid

Repetitions are interleaved (every contender once per round), so that a busy machine slows all alike; medians and
their ratios are printed and, with samples, written as JSON. The frame is the clip's first, upscaled to 1080p; the
logits are those of `--model` on it, and synthetic ones from smooth to pure noise, the worst case there is.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from rtseg import geometry
from rtseg.backends import open_backend
from rtseg.kernels import cpu
from rtseg.packages.spec import ModelSpec
from rtseg.report import machine
from rtseg.segmenter.host import HostSegmenter
from rtseg.sources.file import FileSource

Work = Callable[[], Any]
FRAME = (1080, 1920)
NETWORK = (512, 1024)


PAUSE_S = 0.004
"""Before each timing, so that the last contender's worker threads have stopped spinning."""


def interleaved(work: dict[str, Work], rounds: int) -> dict[str, list[tuple[float, float]]]:
    """Wall-clock and CPU milliseconds of each contender in each round; the first round is not counted."""
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in work}
    for turn in range(rounds + 1):
        for name, function in work.items():
            time.sleep(PAUSE_S)
            wall, processor = time.perf_counter(), time.process_time()
            function()
            if turn:
                times[name].append(((time.perf_counter() - wall) * 1e3, (time.process_time() - processor) * 1e3))
    return times


def first_frame(clip: Path) -> np.ndarray[Any, Any]:
    """The first frame of a clip."""
    with FileSource(str(clip)) as source:
        return next(iter(source)).image


def scene(frame: np.ndarray[Any, Any] | None) -> np.ndarray[Any, Any]:
    """A 1080p picture: the one given, upscaled, or smooth colours with grain."""
    if frame is not None:
        return np.ascontiguousarray(cv2.resize(frame, FRAME[::-1], interpolation=cv2.INTER_CUBIC))
    rng = np.random.default_rng(0)
    coarse = cv2.resize(rng.uniform(0, 255, (9, 16, 3)), FRAME[::-1], interpolation=cv2.INTER_CUBIC)
    return np.clip(coarse + rng.normal(0, 6, coarse.shape), 0, 255).astype(np.uint8)


def synthetic(classes: int, grid: tuple[int, int], noisy: bool) -> np.ndarray[Any, Any]:
    """Logits whose classes form regions of a tenth of the frame, or change from sample to sample."""
    rng = np.random.default_rng(1)
    if noisy:
        return rng.normal(0, 3, (classes, *grid)).astype(np.float32)
    coarse = rng.normal(0, 5, (classes, 6, 10)).astype(np.float32)
    regions = np.stack([cv2.resize(plane, grid[::-1], interpolation=cv2.INTER_CUBIC) for plane in coarse])
    return np.ascontiguousarray(regions + rng.normal(0, 0.15, regions.shape).astype(np.float32))


def model_logits(name: str, image: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """The output of a model package on the frame."""
    with open_backend("openvino", name) as backend:
        segmenter = HostSegmenter(backend)
        tensor, _ = segmenter.preprocess(image)
        backend.submit(tensor)
        return np.array(backend.collect(), np.float32)


def label_contenders(logits: np.ndarray[Any, Any]) -> dict[str, Work]:
    """Three ways from logits to full-size labels, each as well as its library allows."""
    tensor = torch.from_numpy(logits)[None]
    pixels = np.ascontiguousarray(logits.transpose(1, 2, 0))
    out, level = np.empty(FRAME, np.uint8), np.empty(FRAME, np.uint8)

    def by_torch() -> Any:
        with torch.inference_mode():
            full = torch.nn.functional.interpolate(tensor, size=FRAME, mode="bilinear", align_corners=False)
            return full.argmax(dim=1).to(torch.uint8)

    def by_opencv() -> Any:
        return np.argmax(cv2.resize(pixels, FRAME[::-1], interpolation=cv2.INTER_LINEAR), axis=2).astype(np.uint8)

    return {
        "rtseg labels": lambda: cpu.labels(logits, FRAME, out=out),
        "rtseg labels + confidence": lambda: cpu.labels(logits, FRAME, out=out, confidence=level),
        "torch interpolate + argmax": by_torch,
        "cv2.resize + np.argmax": by_opencv,
    }


def preprocess_contenders(image: np.ndarray[Any, Any], spec: ModelSpec) -> dict[str, Work]:
    """Two ways from the frame to a 1x3x512x1024 tensor."""
    place = geometry.fit(FRAME, NETWORK, "stretch")
    out = np.empty((1, 3, *NETWORK), np.float32)
    mean, std = np.array(spec.mean, np.float32), np.array(spec.std, np.float32)

    def by_opencv(interpolation: int) -> Any:
        small = cv2.resize(image, NETWORK[::-1], interpolation=interpolation)
        rgb = cv2.cvtColor(small, cv2.COLOR_BGR2RGB).astype(np.float32)
        rgb *= np.float32(spec.scale)
        rgb -= mean
        rgb /= std
        return np.ascontiguousarray(rgb.transpose(2, 0, 1)[None])

    return {
        "rtseg preprocess": lambda: cpu.preprocess(image, spec, place, out),
        "cv2 linear + numpy": lambda: by_opencv(cv2.INTER_LINEAR),
        "cv2 area + numpy": lambda: by_opencv(cv2.INTER_AREA),
    }


def frame_contenders(image: np.ndarray[Any, Any], spec: ModelSpec, logits: np.ndarray[Any, Any]) -> dict[str, Work]:
    """What a frame costs beside the network."""
    place = geometry.fit(FRAME, NETWORK, "stretch")
    tensor, ids, over = np.empty((1, 3, *NETWORK), np.float32), np.empty(FRAME, np.uint8), np.empty_like(image)
    colors = np.random.default_rng(2).integers(0, 256, (256, 3), dtype=np.uint8)
    alpha = np.full(256, 128, np.uint8)

    def whole() -> None:
        cpu.preprocess(image, spec, place, tensor)
        cpu.labels(logits, FRAME, out=ids)
        cpu.blend(image, ids, colors, alpha, over)

    return {
        "preprocess + labels + blend": whole,
        "blend": lambda: cpu.blend(image, ids, colors, alpha, over),
        "contours": lambda: cpu.contours(image, ids, colors, alpha, over),
        "areas": lambda: cpu.areas(ids, logits.shape[0]),
    }


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--out", type=Path, help="write medians, ratios and samples to this JSON file")
    parser.add_argument("--clip", type=Path, help="a clip whose first frame is used, upscaled to 1080p")
    parser.add_argument("--model", help="a model package whose logits on the frame are used too")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args(argv)
    cpu.set_threads(args.threads)
    torch.set_num_threads(args.threads)
    cv2.setNumThreads(args.threads)
    image, spec = scene(first_frame(args.clip) if args.clip else None), ModelSpec(name="bench", classes=("a", "b"))
    cold = cpu.is_cold()
    warm_up = cpu.warm_up()
    print(f"kernels ready in {warm_up:.2f} s ({'compiled' if cold else 'from the cache'})")
    cases = {f"logits of {args.model}": model_logits(args.model, image)} if args.model else {}
    cases |= {
        f"{'noisy' if noisy else 'smooth'} logits 11x{h}x{w}": synthetic(11, (h, w), noisy)
        for h, w in ((45, 80), (64, 128))
        for noisy in (False, True)
    }
    groups = {f"labels, {name}": label_contenders(logits) for name, logits in cases.items()}
    groups["preprocess, 1080p to 512x1024"] = preprocess_contenders(image, spec)
    groups |= {f"frame, {name}": frame_contenders(image, spec, logits) for name, logits in cases.items()}
    report: dict[str, Any] = {
        "command": " ".join(sys.argv),
        "machine": machine(),
        "threads": args.threads,
        "frame": FRAME,
        "clip": args.clip.name if args.clip else None,
        "warm_up_s": round(warm_up, 3),
        "cold": cold,
        "groups": {},
    }
    for title, work in groups.items():
        times = interleaved(work, args.rounds)
        medians = {name: statistics.median(wall for wall, _ in samples) for name, samples in times.items()}
        first = next(iter(medians))
        print(f"\n{title}")
        for name, median in medians.items():
            ratio = f"{median / medians[first]:8.1f}x" if not title.startswith("frame") else " " * 9
            processor = statistics.median(used for _, used in times[name])
            print(f"  {name:32}{median:9.2f} ms{ratio}{processor:9.2f} ms CPU")
        report["groups"][title] = {
            name: {
                "median_ms": round(median, 4),
                "median_cpu_ms": round(statistics.median(used for _, used in times[name]), 4),
                "ratio": round(median / medians[first], 3),
                "samples_ms": [round(wall, 4) for wall, _ in times[name]],
            }
            for name, median in medians.items()
        }
    if args.out:
        args.out.parent.mkdir(parents=True, exist_ok=True)
        args.out.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
        print(f"\nwrote {args.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
