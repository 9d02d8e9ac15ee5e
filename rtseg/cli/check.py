"""`rtseg check`: what is installed, what it can run on, and whether a tiny network comes out right on each backend."""

from __future__ import annotations

import argparse
import base64
import importlib
import json
import re
import tempfile
import time
from collections.abc import Iterator, Sequence
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rtseg import platforms, registry
from rtseg.cli.parser import add_command
from rtseg.errors import BackendError, RtsegError
from rtseg.imports import TELEMETRY, without

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from rich.console import Console

    from rtseg.packages.spec import ModelSpec

__all__ = ["add_check", "check", "print_check"]

# 8x8 average pooling, then a 1x1 convolution from 3 to 4 channels: ONNX opset 11, dynamic size. tests/cli/test_check.py
# rebuilds it.
TINY_ONNX = base64.b64decode(
    "CAY6hAIKQAoFaW1hZ2USAXAiC0F2ZXJhZ2VQb29sKhUKDGtlcm5lbF9zaGFwZUAIQAigAQcqEAoHc3RyaWRlc0AIQAigAQcKFwoBcAoBdwoBYhIG"
    "bG9naXRzIgRDb252EgR0aW55Kj8IBAgDCAEIARABQgF3SjAAAIA/AAAAAAAAAAAAAAAAAACAPwAAAAAAAAAAAAAAAAAAgD8AAAC/AAAAvwAAAL8q"
    "GQgEEAFCAWJKEAAAAAAAAAAAAAAAAAAAQD9aIQoFaW1hZ2USGAoWCAESEgoCCAEKAggDCgMSAWgKAxIBd2IiCgZsb2dpdHMSGAoWCAESEgoCCAEK"
    "AggECgMSAXkKAxIBeEIECgAQCw=="
)
KERNEL = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0), (-0.5, -0.5, -0.5))
BIAS = (0.0, 0.0, 0.0, 0.75)
SIZE = (64, 96)
TOLERANCE = 0.02
"""Of numbers up to about 1: half precision passes, a wrong answer does not."""
LIBRARIES = {
    "numpy": "numpy", "opencv-python": "cv2", "av": "av", "numba": "numba", "openvino": "openvino",
    "onnxruntime": "onnxruntime", "tensorrt": "tensorrt", "tensorrt-rtx": "tensorrt_rtx", "torch": "torch",
    "onnx": "onnx", "pycuda": "pycuda", "rclpy": "rclpy", "rosbags": "rosbags", "mcap": "mcap",
    "foxglove-sdk": "foxglove", "rerun-sdk": "rerun",
}  # fmt: skip
FLAGS = (
    "avx2", "fma", "avx512f", "avx512_vnni", "avx512_bf16", "avx512_fp16", "avx_vnni", "amx_tile", "amx_bf16",
    "amx_int8", "asimd", "asimddp", "sve", "i8mm", "bf16",
)  # fmt: skip
"""CPU features that decide how fast a network runs."""


def add_check(commands: Any) -> None:
    """`rtseg check`."""
    parser = add_command(
        commands,
        "check",
        check_command,
        purpose="show versions, devices and missing extras, and try every backend",
        usage="rtseg check [--json]",
        examples=("rtseg check  # for people", "rtseg check --json  # for scripts, or for a bug report"),
    )
    parser.add_argument_group("report").add_argument("--json", action="store_true", help="print JSON")


def check_command(args: argparse.Namespace) -> int:
    """`rtseg check`; exits with 1 when no backend works."""
    from rich.console import Console

    report = check()
    if args.json:
        print(json.dumps(report, indent=2))
    else:
        print_check(report, Console())
    return 0 if report["ok"] else 1


def tiny_spec() -> ModelSpec:
    """The spec of the tiny network."""
    from rtseg.packages.spec import ModelSpec

    return ModelSpec(name="tiny", classes=("red", "green", "blue", "dark"), multiple=8, output_stride=8)


def check() -> dict[str, Any]:
    """Look at everything and return it as plain data; nothing that is missing or broken raises.

    `versions` name -> version or what is wrong; `cpu`; `video`; `backends`, one entry for each device with `works`,
    `detail`, `precision` and `milliseconds`; `extras` name -> what is missing and how to install it; `models`; `ok`,
    whether some backend works.
    """
    from rtseg.packages.spec import packages

    backends = list(_backends())
    return {
        "versions": _versions(),
        "cpu": _cpu(),
        "video": _video(),
        "backends": backends,
        "extras": _extras(),
        "models": {name: str(path) for name, path in packages().items()},
        "ok": any(entry["works"] for entry in backends),
    }


def print_check(report: dict[str, Any], console: Console) -> None:
    """Print the report of `check` for a person."""
    from rich.table import Table
    from rich.text import Text

    def show(title: str, rows: Sequence[tuple[str, ...]]) -> None:
        table = Table(box=None, pad_edge=False, show_header=False)
        for _ in range(max(map(len, rows), default=0)):
            table.add_column(overflow="fold")
        for row in rows:
            table.add_row(*map(Text, row))  # Text: 'rtseg[onnx]' is no markup
        console.print(Text(f"\n{title}", style="bold"))
        console.print(table)

    cpu = report["cpu"]
    console.print(Text(f"{cpu['name']}, {cpu['cores']} cores, {' '.join(cpu['flags']) or 'no known vector flags'}"))
    show("versions", list({**report["versions"], **report["video"]}.items()))
    rows: list[tuple[str, ...]] = []
    for entry in report["backends"]:
        works = f"works, {entry['milliseconds']:.1f} ms" if entry["works"] else "does not work"
        rows.append((entry["backend"], entry["device"], entry["precision"], works, entry["detail"]))
    show("backends (with a tiny network)", rows)
    if report["extras"]:
        rows = []
        for name, extra in report["extras"].items():
            missing = ", ".join(extra["missing"])
            rows.append((name, f"lacks {missing}: {extra['install']}" if missing else "complete"))
        show("extras", rows)
    show("models", list(report["models"].items()) or [("none",)])
    if not report["ok"]:
        console.print("no backend works: reinstall with pip install --force-reinstall rtseg", style="bold")


def _versions() -> dict[str, str]:
    import platform

    found = {"python": platform.python_version(), "rtseg": _version("rtseg") or "not installed (a checkout)"}
    for package, module in LIBRARIES.items():
        version = _version(package) or _version(f"{package}-headless") or _version(f"{package}-gpu")
        problem = _import_problem(module) if version else None
        found[package] = f"{version}: {problem}" if problem else version or "not installed"
    return found


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _import_problem(module: str) -> str | None:
    """Why an installed module does not import, in one line (a missing system library, most often)."""
    try:
        with without(TELEMETRY):
            importlib.import_module(module)
    except (ImportError, OSError, RuntimeError) as exc:
        return f"does not import: {' '.join(str(exc).split())[:200]}"
    return None


def _cpu() -> dict[str, Any]:
    from rtseg.report import machine

    here, known = machine(), platforms.cpu_flags()
    return {
        "name": here["cpu"],
        "cores": here["cores"],
        "system": here["system"],
        "flags": [flag for flag in FLAGS if flag in known],
    }


def _video() -> dict[str, str]:
    """FFmpeg inside PyAV, windows of OpenCV, and the cameras that the system shows."""
    found = {}
    if _import_problem("av") is None:
        import av

        found["ffmpeg (in av)"] = str(getattr(av, "ffmpeg_version_info", "unknown"))
    if _import_problem("cv2") is None:
        import cv2

        found["windows (in opencv)"] = cv2.currentUIFramework() or "none: this build is headless"
    found["cameras"] = ", ".join(platforms.camera_files()) or "none"
    return found


def _backends() -> Iterator[dict[str, Any]]:
    """One entry for every device of every backend, or one that says why a backend cannot be loaded."""
    with tempfile.TemporaryDirectory(prefix="rtseg-check-") as folder:
        path = Path(folder) / "tiny.onnx"
        path.write_bytes(TINY_ONNX)
        for name in registry.BACKENDS:
            if name == "null":
                continue
            entry = {"backend": name, "device": "", "precision": "", "works": False, "detail": "", "milliseconds": None}
            try:
                backend = registry.load(registry.BACKENDS, name, "backend")
                devices = importlib.import_module(backend.__module__).devices()
            except (RtsegError, ImportError, OSError) as exc:
                yield {**entry, "detail": " ".join(str(exc).split())}
                continue
            for device in devices:
                yield {**entry, "device": device.lower(), **_try(backend, path, device)}


def _try(backend: Any, path: Path, device: str) -> dict[str, Any]:
    """Run the tiny network and compare its numbers."""
    import numpy as np

    image = np.random.default_rng(0).random((1, 3, *SIZE), np.float32)
    try:
        scores, precision, took = _run(backend, path, device, image)
    except RtsegError as exc:
        return {"detail": str(exc)}
    error = float(np.abs(scores - expected(image)).max())
    if not error <= TOLERANCE:
        return {"precision": precision, "detail": f"wrong numbers: off by {error:.3g}"}
    return {"precision": precision, "works": True, "milliseconds": took * 1e3}


def _run(backend: Any, path: Path, device: str, image: NDArray[np.float32]) -> tuple[NDArray[Any], str, float]:
    import numpy as np

    if backend.name == "torch":  # which rebuilds networks of the registry only
        return _run_torch(device, image)
    if backend.name == "tensorrt":  # whose plan would else be kept under engines/
        path = _tiny_plan(path, device)
    with backend(path, tiny_spec(), device=device) as opened:
        opened.prepare(SIZE)
        start = time.perf_counter()
        opened.submit(image)
        scores = opened.collect()
        return np.array(scores), opened.precision, time.perf_counter() - start


def _tiny_plan(path: Path, device: str) -> Path:
    from rtseg.export.build import build
    from rtseg.tensorrt.profiles import Profile

    sizes = (Profile.fixed(SIZE),)
    return build(path, tiny_spec(), sizes, precision="fp32", device=device, out=path.with_suffix(".plan")).path


def _run_torch(device: str, image: NDArray[np.float32]) -> tuple[NDArray[Any], str, float]:
    import torch
    from torch.nn.functional import avg_pool2d, conv2d

    try:
        with torch.inference_mode():
            kernel = torch.tensor(KERNEL, device=device)[..., None, None]
            bias = torch.tensor(BIAS, device=device)
            start = time.perf_counter()
            scores = conv2d(avg_pool2d(torch.from_numpy(image).to(device), 8), kernel, bias)[0].cpu().numpy()
            return scores, "fp32", time.perf_counter() - start
    except RuntimeError as exc:
        raise BackendError(" ".join(str(exc).split())[:200]) from exc


def expected(image: NDArray[np.float32]) -> NDArray[np.float32]:
    """The tiny network's logits (4, h, w) in NumPy."""
    import numpy as np

    _, channels, height, width = image.shape
    pooled = image[0].reshape(channels, height // 8, 8, width // 8, 8).mean(axis=(2, 4))
    scores: NDArray[np.float32] = np.einsum("kc,chw->khw", np.array(KERNEL, np.float32), pooled)
    return scores + np.array(BIAS, np.float32)[:, None, None]


def _extras() -> dict[str, dict[str, Any]]:
    """Each extra of the installed package, what of it is missing, and the line that installs it."""
    try:
        requirements = metadata.requires("rtseg") or []
    except metadata.PackageNotFoundError:
        return {}
    found: dict[str, dict[str, Any]] = {}
    for requirement in requirements:
        extra = re.search(r"extra\s*==\s*['\"]([\w-]+)['\"]", requirement)
        package = re.match(r"[\w.-]+", requirement)
        if extra is None or package is None or extra[1] == "dev":
            continue
        entry = found.setdefault(extra[1], {"missing": [], "install": f"pip install 'rtseg[{extra[1]}]'"})
        if _version(package[0]) is None:
            entry["missing"].append(package[0])
    return found
