"""Measure networks beside PIDNet-S on this machine and write one JSON per network: size, cost, parity and speed.

    python tools/bench_zoo.py pidnet-s segnet engines/my-model --out docs/zoo
    python tools/bench_zoo.py --own-size engines/fast engines/best --out docs/zoo

A name of the registry is exported with random weights and 11 classes; a package folder is measured as it is. Each is
timed in turn with PIDNet-S in one loop, frame by frame: preprocess, network and labels of one 4:3 frame that has the
network's size. With --own-size the packages are timed beside each other instead, on a 480x360 frame, each at the
network size that it was made for and is scored at, into own-size.json. What is there already is measured again only
with --again.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import torch

from rtseg.backends import Backend, open_backend
from rtseg.backends.torch import rebuild
from rtseg.errors import RtsegError
from rtseg.export.checkpoint import check_parity, spec_of, write_onnx
from rtseg.files import file_hash, write_text
from rtseg.geometry import follow_aspect
from rtseg.models import build
from rtseg.models.blocks import count_macs, count_parameters, enliven
from rtseg.packages.onnx_file import is_quantised
from rtseg.packages.spec import ModelSpec, find_package
from rtseg.report import machine
from rtseg.segmenter.host import HostSegmenter
from rtseg.training.data import CAMVID

FRAMES = ((360, 480), (720, 960))
RUNS = (("openvino", "fp32"), ("openvino", "bf16"), ("onnxruntime", "fp32"))
REFERENCE = "pidnet-s"
OWN_SIZE = "own-size.json"
SECONDS, FEWEST, MOST = 2.5, 7, 60
"""How long one pair is timed, and within how many frames of each."""


def export(name: str, folder: Path) -> tuple[Path, dict[str, Any]]:
    """Write a network of the registry with random weights; the file, and how far it is from torch."""
    torch.manual_seed(0)
    classes = 2 if name == "unet-binary" else len(CAMVID.classes)
    base = msgspec.structs.replace(CAMVID, classes=CAMVID.classes[:classes], palette=CAMVID.palette[:classes])
    network = enliven(build(name, classes))
    spec = spec_of(network, base, name=name, network=name)
    path = folder / f"{name}.onnx"
    write_onnx(network, spec, path)
    return path, parity(network, spec, path)


def parity(network: torch.nn.Module, spec: ModelSpec, path: Path) -> dict[str, Any]:
    """How far each runtime is from torch on noise, beside the largest logit of such noise."""
    height, width = follow_aspect(FRAMES[0], FRAMES[0][0], spec.multiple)
    with torch.inference_mode():
        peak = float(network(torch.randn(1, 3, height, width, generator=torch.Generator().manual_seed(0))).abs().max())
    errors = check_parity(network, spec, path)
    return {
        runtime: {"largest_logit_difference": error, "largest_logit": peak, "labels_equal": equal}
        for runtime, (error, equal) in errors.items()
    }


def cost(name: str, classes: int) -> dict[str, Any]:
    """Parameters, and 10^9 multiply-adds at the network sizes that are timed."""
    with torch.device("meta"):
        network = build(name, classes).eval()
        found: dict[str, Any] = {"parameters": count_parameters(network), "gmac": {}}
        for size in FRAMES:
            found["gmac"][label(size)] = count_macs(network, *follow_aspect(size, size[0], network.multiple)) / 1e9
    return found


def speed(model: str, reference: str) -> dict[str, Any]:
    """Milliseconds per frame by backend and precision, then by frame size, each with its ratio to the reference."""
    found: dict[str, Any] = {}
    for run, opened in runs_of([model, reference]):
        sizes = found[run] = {}
        for size in FRAMES:
            row, other = timed([HostSegmenter(backend, short_side=size[0]) for backend in opened], size)
            sizes[label(size)] = {
                **row,
                "reference_median_ms": other["median_ms"],
                "ratio_to_reference": row["median_ms"] / other["median_ms"],
            }
    return found


def own_size(packages: list[str]) -> dict[str, Any]:
    """Packages beside each other on a frame of data-set size, each at its own network size."""
    found: dict[str, Any] = {}
    for run, opened in runs_of([str(find_package(name).path) for name in packages]):
        rows = timed([HostSegmenter(backend) for backend in opened], FRAMES[0])
        found[run] = {Path(name).name: row for name, row in zip(packages, rows, strict=True)}
    return {"frame": label(FRAMES[0]), "speed": found, "machine": machine(), "revision": revision()}


def runs_of(models: list[str]) -> Iterator[tuple[str, list[Backend]]]:
    """The models opened together, for every backend and precision that takes them all."""
    for backend, precision in RUNS:
        with ExitStack() as stack:
            try:
                opened = [stack.enter_context(open_backend(backend, path, precision=precision)) for path in models]
                for each in opened:
                    each.prepare((8 * each.spec.multiple, 8 * each.spec.multiple))
            except RtsegError as exc:
                print(f"  {backend} {precision}: {exc}", file=sys.stderr)
                continue
            yield f"{backend} {precision}", opened


def timed(segmenters: list[HostSegmenter], size: tuple[int, int]) -> list[dict[str, Any]]:
    """Medians over frames that all label in turn."""
    frame = np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)
    for segmenter in segmenters:
        segmenter.warm_up(size)
        segmenter(frame)
    whole: list[list[float]] = [[] for _ in segmenters]
    network: list[list[float]] = [[] for _ in segmenters]
    end = time.monotonic() + SECONDS
    while len(whole[0]) < FEWEST or (time.monotonic() < end and len(whole[0]) < MOST):
        for index, segmenter in enumerate(segmenters):
            start = time.perf_counter()
            tensor, place = segmenter.preprocess(frame)
            ready = time.perf_counter()
            segmenter.backend.submit(tensor)
            scores = segmenter.backend.collect()
            done = time.perf_counter()
            segmenter.labels(scores, place)
            whole[index].append(1e3 * (time.perf_counter() - start))
            network[index].append(1e3 * (done - ready))
    return [
        {
            "network_size": list(segmenter.place(size).network),
            "samples": len(times),
            "median_ms": statistics.median(times),
            "p90_ms": float(np.percentile(times, 90)),
            "network_median_ms": statistics.median(inner),
        }
        for segmenter, times, inner in zip(segmenters, whole, network, strict=True)
    ]


def label(size: tuple[int, int]) -> str:
    """WxH, as videos are named."""
    return f"{size[1]}x{size[0]}"


def revision() -> str:
    """The git revision of the code."""
    command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty=+", "--abbrev=12"]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip() or "unknown"


def measure(name: str, reference: str, folder: Path) -> dict[str, Any]:
    """One row."""
    package = "/" in name
    path, errors = (find_package(name).path, {}) if package else export(name, folder)
    spec = open_backend("null", str(path)).spec
    network = spec.network or name
    quantised = is_quantised(path)
    if package and not quantised:
        errors = parity(rebuild(path, spec), spec, path)
    return {
        "name": Path(name).name,
        "network": network,
        "weights": "trained" if package else "random",
        "arithmetic": "int8" if quantised else "float",
        "sha256": file_hash(path) if package else None,
        "bytes": path.stat().st_size,
        "classes": len(spec.classes),
        "multiple": spec.multiple,
        "output_stride": spec.output_stride,
        **cost(network, len(spec.classes)),
        "parity": errors,
        "reference": REFERENCE,
        "speed": speed(str(path), reference),
        "machine": machine(),
        "revision": revision(),
    }


def main() -> int:
    """Measure what is named."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("names", nargs="+", help="networks of the registry and package folders")
    parser.add_argument("--out", type=Path, default=Path("docs/zoo"))
    parser.add_argument("--again", action="store_true", help="measure what has a file already")
    parser.add_argument("--own-size", action="store_true", help="time packages beside each other at their own sizes")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    if args.own_size:
        write_text(args.out / OWN_SIZE, json.dumps(own_size(args.names), indent=2) + "\n")
        return 0
    failed = 0
    with tempfile.TemporaryDirectory() as temporary:
        reference, _ = export(REFERENCE, Path(temporary))
        for name in args.names:
            result = args.out / f"{Path(name).name}.json"
            if result.exists() and not args.again:
                continue
            with tempfile.TemporaryDirectory() as folder:
                try:
                    row = measure(name, str(reference), Path(folder))
                except RtsegError as exc:
                    print(f"{name}: {exc}", file=sys.stderr)
                    failed += 1
                    continue
            write_text(result, json.dumps(row, indent=2) + "\n")
            times = {
                run: {size: round(t["median_ms"], 1) for size, t in by.items()} for run, by in row["speed"].items()
            }
            print(f"{row['name']}: {row['parameters'] / 1e6:.2f} M, {times}", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
