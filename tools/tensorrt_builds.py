"""Compile every network with TensorRT-RTX, which needs no GPU for it, and tell build times, sizes and precisions.

    python tools/tensorrt_builds.py            # all of them into docs/results/tensorrt-rtx-builds.json, then the table
    python tools/tensorrt_builds.py pidnet-s   # these alone, anew
    python tools/tensorrt_builds.py --table    # only the table in docs/gpu.md, from the file
    python tools/tensorrt_builds.py --check    # writes nothing, fails if the table is not what the file says

A name of the registry is exported with random weights and 11 classes, a model package is taken as it is, and both are
built for the size that `rtseg build` chooses. Labels are compared with fp32 for packages only: random weights have no
labels to lose.
"""

from __future__ import annotations

import argparse
import gc
import json
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "docs" / "results" / "tensorrt-rtx-builds.json"
PAGE = ROOT / "docs" / "gpu.md"
MARKS = ("<!-- builds -->\n", "<!-- /builds -->\n")
KINDS = ("int8", "fp16", "fp32")
Content = dict[str, Any]


def names() -> list[str]:
    """Every network of the registry, every decoder on its lightest encoder, and the model packages."""
    from rtseg.packages.spec import packages
    from rtseg.registry import DECODERS, NETWORKS

    return [*sorted({*NETWORKS, *(f"{decoder}-efficientnet-lite0" for decoder in DECODERS)}), *sorted(packages())]


def measure(name: str, frames: str | None, folder: Path) -> Content:
    """Build a network or package in every precision that it has; what came of it, by precision."""
    from rtseg.export.agreement import SYNTHETIC
    from rtseg.export.build import build
    from rtseg.export.make_plan import Check
    from rtseg.packages.complete import complete_spec
    from rtseg.packages.onnx_file import is_quantised
    from rtseg.packages.spec import find_package, packages
    from rtseg.tensorrt.profiles import chosen, spelt

    trained = name in packages()
    package = find_package(name if trained else str(export(name, folder)))
    path = package.path
    spec = complete_spec(path, package.spec, written=package.written)
    profiles = chosen(spec)
    check = Check(frames or SYNTHETIC) if trained else Check(enough=0)
    built = {}
    for precision in ("int8",) if is_quantised(path) else ("fp32", "fp16"):
        made = build(path, spec, profiles, precision=precision, check=check, out=folder / f"{precision}.plan")
        built[precision] = row(made.sidecar.bytes, made.sidecar.report, spec)
    weights = "trained" if trained else "random"
    return {"size": spelt(profiles), "weights": weights, "onnx_bytes": path.stat().st_size, "built": built}


def row(size: int, report: Content, spec: Any) -> Content:
    """One build: the network's input and output are what its spec says, or this ends with an error."""
    shapes = {
        spec.input_name: ["input", "fp32", [1, 3, -1, -1]],
        spec.output_name: ["output", "fp32", [1, len(spec.classes), -1, -1]],
    }
    if report["tensors"] != shapes:
        raise SystemExit(f"{spec.name}: {report['tensors']} is not what its spec says, {shapes}")
    layers: Counter[str] = Counter()
    for counts in report["layers"].values():
        layers.update(counts)
    found = {"seconds": report["seconds"], "bytes": size, "layers": dict(sorted(layers.items()))}
    if "agreement" in report:
        told = report["agreement"]
        found["labels_equal_to_fp32"] = {
            "pixels": told["equal"], "worst_frame": told["worst"], "frames": told["frames"],
            "source": Path(told["source"]).name,
        }  # fmt: skip
    if report.get("fp16", {}).get("kept"):
        found["kept_in_fp32"] = dict(sorted(report["fp16"]["kept"].items()))
    return found


def export(name: str, folder: Path) -> Path:
    """Write a network of the registry with random weights."""
    import msgspec
    import torch

    from rtseg.export.checkpoint import spec_of, write_onnx
    from rtseg.models import build
    from rtseg.models.blocks import enliven
    from rtseg.training.data import CAMVID

    torch.manual_seed(0)
    classes = 2 if name == "unet-binary" else len(CAMVID.classes)
    base = msgspec.structs.replace(CAMVID, classes=CAMVID.classes[:classes], palette=CAMVID.palette[:classes])
    network = enliven(build(name, classes))
    path = folder / "model.onnx"
    write_onnx(network, spec_of(network, base, name=name, network=name), path)
    return path


def table(content: Content) -> str:
    """The Markdown tables of a results file: networks with random weights, then packages."""
    host, networks = content["machine"], content["networks"]
    lines = [
        f"By `tools/tensorrt_builds.py` with TensorRT-RTX {content['version']} on {host['cores']} cores of an "
        f"{host['cpu']}: every network of the registry, every decoder on its lightest encoder, random weights, each at "
        "the size that `rtseg build` chooses. Layers are those of the network as parsed; the operators that stay in "
        "float32 on purpose are named as in the ONNX graph.",
        "",
        "| network | size | fp32 s | fp32 MB | fp16 s | fp16 MB | layers in fp16 + fp32 | kept in float32 |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for name, found in networks.items():
        if found["weights"] == "random":
            whole, half = found["built"]["fp32"], found["built"]["fp16"]
            kept = ", ".join(f"{count} {kind}" for kind, count in half.get("kept_in_fp32", {}).items())
            layers = f"{half['layers'].get('fp16', 0)} + {half['layers'].get('fp32', 0)}"
            cells = [name, found["size"], *cost(whole), *cost(half), layers, kept or "–"]
            lines.append(f"| {' | '.join(cells)} |")
    lines += [
        "",
        "The model packages, whose labels can be compared:",
        "",
        "| package | size | precision | s | MB | layers | labels equal to fp32 |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for name, found in networks.items():
        for precision, built in found["built"].items() if found["weights"] == "trained" else ():
            layers = ", ".join(f"{built['layers'][kind]} {kind}" for kind in KINDS if kind in built["layers"])
            cells = [name, found["size"], precision, *cost(built), layers, equal(built.get("labels_equal_to_fp32"))]
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def cost(built: Content) -> tuple[str, str]:
    """Seconds and megabytes."""
    return f"{built['seconds']:.1f}", f"{built['bytes'] / 1e6:.1f}"


def equal(told: Content | None) -> str:
    """The agreement with fp32."""
    if told is None:
        return "–"
    return f"{told['pixels']:.2%}, worst frame {told['worst_frame']:.2%} of {told['frames']} of {told['source']}"


def paged(page: str, content: Content) -> str:
    """The page with the table between its marks."""
    before, _, rest = page.partition(MARKS[0])
    _, _, after = rest.partition(MARKS[1])
    if not after:
        raise SystemExit(f"{PAGE} lacks {MARKS[0].strip()} and {MARKS[1].strip()}")
    return f"{before}{MARKS[0]}{table(content)}{MARKS[1]}{after}"


def main() -> int:
    """Build, write the table, or check it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("names", nargs="*", help="networks and packages (default: all)")
    parser.add_argument("--frames", help="video or image folder to compare labels on (default: a synthetic scene)")
    parser.add_argument("--table", action="store_true", help="build nothing")
    parser.add_argument("--check", action="store_true", help="write nothing")
    args = parser.parse_args()
    content = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.is_file() else {"networks": {}}
    if not args.table and not args.check:
        from rtseg.files import write_text
        from rtseg.report import machine
        from rtseg.tensorrt.library import FLAVOUR, VERSION

        content |= {"library": FLAVOUR, "version": VERSION, "machine": machine()}
        for name in args.names or names():
            with tempfile.TemporaryDirectory(prefix="rtseg-builds-") as folder:
                found = content["networks"][name] = measure(name, args.frames, Path(folder))
            told = (
                f"{kind} {each['seconds']:.1f} s {each['bytes'] / 1e6:.1f} MB" for kind, each in found["built"].items()
            )
            print(f"{name} {found['size']}: {', '.join(told)}", flush=True)
            order = {each: index for index, each in enumerate(names())}
            content["networks"] = dict(sorted(content["networks"].items(), key=lambda item: order.get(item[0], 999)))
            write_text(RESULTS, json.dumps(content, indent=1) + "\n")
            gc.collect()
    page = PAGE.read_text(encoding="utf-8")
    new = paged(page, content)
    if args.check:
        if new != page:
            print(f"{PAGE} is not what {RESULTS} says: run tools/tensorrt_builds.py --table", file=sys.stderr)
        return int(new != page)
    PAGE.write_text(new, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
