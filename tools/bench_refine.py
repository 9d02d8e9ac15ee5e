"""Score and time dense CRF refinement beside none, beside its torch twin, and beside pydensecrf if that is installed.

    python tools/bench_refine.py --data CAMVID --model unet-fast0-camvid --out docs/bench/refine.json

The network runs once per image; every refinement then gets the same scores in turn, so that a busy machine slows all
alike. Times are wall-clock and CPU medians of the refinement alone, without `labels`. pydensecrf (Krähenbühl's own
code, permutohedral lattice) works on the full image with the settings of its documentation and of DeepLab's authors.
"""

from __future__ import annotations

import argparse
import importlib.util
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
from numpy.typing import NDArray

from rtseg.backends import open_backend
from rtseg.datasets import open_dataset
from rtseg.evaluation.metrics import BoundaryScore, Confusion
from rtseg.files import file_hash
from rtseg.geometry import Fit
from rtseg.kernels import cpu
from rtseg.kernels.crf_settings import Crf
from rtseg.kernels.crf_torch import mean_field
from rtseg.packages.spec import find_package
from rtseg.report import machine
from rtseg.segmenter.host import HostSegmenter

SETTINGS = (
    "none",
    "crf",
    "crf:radius=3",
    "crf:iterations=2",
    "crf:appearance=4,smoothness=1",
    "crf:upsample=4,radius=6,appearance=2.9,smoothness=0.3,theta_alpha=5,theta_beta=6,theta_gamma=0.5",
)
DENSE = {
    "pydensecrf, its documentation": {"near": (3, 3), "far": (80, 13, 10), "iterations": 5},
    "pydensecrf, DeepLab": {"near": (3, 3), "far": (67, 3, 4), "iterations": 10},
}
"""Smoothness (deviation in pixels, weight); appearance (deviation in pixels and in colour, weight); iterations."""
TWIN, TWIN_EVERY = "crf, torch twin on every 20th image", 20
"""Its scores are the kernel's (tests/kernels/test_crf_torch.py), and it is slow on a CPU."""

Scores = NDArray[Any]
Refine = Callable[[Scores, NDArray[Any], Fit, NDArray[np.uint8]], Scores]


def own(segmenter: HostSegmenter) -> Refine:
    """The pipeline's refinement."""
    return lambda scores, tensor, place, image: segmenter.refine(scores, tensor, place)


def by_torch(segmenter: HostSegmenter) -> Refine:
    """The same by the torch twin, on the CPU."""

    def refine(scores: Scores, tensor: NDArray[Any], place: Fit, image: NDArray[np.uint8]) -> Scores:
        picture = cpu.average(tensor, segmenter.spec, place, (scores.shape[1], scores.shape[2]))
        with torch.inference_mode():
            return mean_field(torch.from_numpy(scores)[None], torch.from_numpy(picture)[None], Crf())[0].numpy()

    return refine


def by_pydensecrf(near: tuple[int, int], far: tuple[int, int, int], iterations: int) -> Refine:
    """Full-size scores through pydensecrf; the result has the image's size."""
    from pydensecrf import densecrf

    def refine(scores: Scores, tensor: NDArray[Any], place: Fit, image: NDArray[np.uint8]) -> Scores:
        height, width = image.shape[:2]
        full = cv2.resize(np.ascontiguousarray(scores.transpose(1, 2, 0)), (width, height)).transpose(2, 0, 1)
        energy = np.ascontiguousarray((full.max(0) - full).reshape(len(full), -1), np.float32)
        field = densecrf.DenseCRF2D(width, height, len(full))
        field.setUnaryEnergy(energy)
        field.addPairwiseGaussian(sxy=near[0], compat=near[1])
        field.addPairwiseBilateral(sxy=far[0], srgb=far[1], rgbim=np.ascontiguousarray(image), compat=far[2])
        shares = np.array(field.inference(iterations)).reshape(full.shape)
        return np.log(np.maximum(shares, 1e-20)).astype(np.float32)

    return refine


def bench(model: str, args: argparse.Namespace) -> dict[str, Any]:
    """Every refinement of one model on the images of a split."""
    images = open_dataset(args.data, args.split, limit=args.limit)
    rows: dict[str, dict[str, Any]] = {}
    with open_backend("openvino", model, precision="fp32") as backend:
        classes = len(backend.spec.classes)
        plain = HostSegmenter(backend)
        work = {text: own(HostSegmenter(backend, refine=text)) for text in SETTINGS}
        work[TWIN] = by_torch(plain)
        if importlib.util.find_spec("pydensecrf"):
            work |= {name: by_pydensecrf(**settings) for name, settings in DENSE.items()}
        confusion = {name: Confusion(classes, images.ignore_index) for name in work}
        boundary = {name: BoundaryScore(classes, images.ignore_index) for name in work}
        times: dict[str, list[tuple[float, float]]] = {name: [] for name in work}
        for index in range(-1, len(images)):  # the first image is refined twice, the first time to warm up
            image, truth = images.read(max(index, 0))
            tensor, place = plain.preprocess(image)
            backend.submit(tensor)
            scores = np.array(backend.collect(), np.float32)
            for name, refine in work.items():
                if name == TWIN and index % TWIN_EVERY and index >= 0:
                    continue
                wall, processor = time.perf_counter(), time.process_time()
                refined = refine(scores, tensor, place, image)
                took = (time.perf_counter() - wall) * 1e3, (time.process_time() - processor) * 1e3
                if index >= 0:
                    labels = cpu.labels(refined, truth.shape, fit=place)
                    confusion[name].add(labels, truth)
                    boundary[name].add(labels, truth)
                    times[name].append(took)
        for name in work:
            rows[name] = {
                "images": len(times[name]),
                "miou": round(confusion[name].mean_iou(), 4),
                "boundary_f": round(boundary[name].mean(), 4),
                "pixel_accuracy": round(confusion[name].pixel_accuracy(), 4),
                "ms_p50": round(statistics.median(wall for wall, _ in times[name]), 3),
                "cpu_ms_p50": round(statistics.median(used for _, used in times[name]), 3),
                "iou": dict(
                    zip(backend.spec.classes, (round(float(x), 4) for x in confusion[name].iou()), strict=True)
                ),
            }
        for key in ("miou", "boundary_f", "pixel_accuracy", "iou"):  # of a few images only: nothing to compare with
            del rows[TWIN][key]
        grid = list(scores.shape[1:])
    return {"sha256": file_hash(find_package(model).path), "images": len(images), "grid": grid, "refinements": rows}


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of the data set")
    parser.add_argument("--split", default="val")
    parser.add_argument("--model", action="append", help="a model package; may be given several times")
    parser.add_argument("--limit", type=int, help="only the first N images")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path, help="write the figures to this JSON file")
    args = parser.parse_args(argv)
    cpu.set_threads(args.threads)
    torch.set_num_threads(args.threads)
    report: dict[str, Any] = {
        "command": f"tools/bench_refine.py --data {args.data.name} --split {args.split} "
        + " ".join(f"--model {model}" for model in args.model or ["unet-fast0-camvid"]),
        "machine": machine(),
        "threads": args.threads,
        "models": {},
    }
    for model in args.model or ["unet-fast0-camvid"]:
        found = report["models"][model] = bench(model, args)
        rows = found["refinements"]
        print(f"\n{model}, {found['images']} images, grid {found['grid'][0]}x{found['grid'][1]}")
        for name, row in rows.items():
            shown = "mIoU and boundary F as crf".ljust(46)
            if "miou" in row:
                gains = [100 * (row[key] - rows["none"][key]) for key in ("miou", "boundary_f")]
                shown = (
                    f"mIoU {row['miou']:.4f} ({gains[0]:+.2f})  boundary F {row['boundary_f']:.4f} ({gains[1]:+.2f})"
                )
            print(f"  {shown}  {row['ms_p50']:8.2f} ms  {row['cpu_ms_p50']:8.2f} ms CPU  {name}")
    if args.out:
        args.out.parent.mkdir(parents=True, exist_ok=True)
        args.out.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
        print(f"\nwrote {args.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
