"""The step `engine`: TensorRT, whichever kind is installed, on this machine.

result: library, version, listed (whether the library lists this GPU's compute capability), build {seconds, bytes,
fresh, agreement, layers}, frames (as rows of frame.py, with the agreement), log (rtseg's warnings), refused (what it
said where it does not run on a GPU that it does not list: known, so no failure)
"""

from __future__ import annotations

import importlib.util
import json
import logging
import tempfile
from pathlib import Path
from typing import Any

from gpu_checks import agreement, loop, pictures
from gpu_checks.check import Options
from gpu_checks.frame import AGREE, device_of
from gpu_checks.networks import segmenter_of
from gpu_checks.record import NotRun, Record
from rtseg.errors import BackendError
from rtseg.gpu.driver import gpu, gpus

__all__ = ["run"]

RTX_LISTED = ((7, 5), (8, 0), (8, 6), (8, 9), (12, 0), (12, 1))
"""Compute capabilities in TensorRT-RTX's support matrices, 1.0 to 1.5."""
FRAMES, WARM = 700, 20
SECONDS = 8.0
NEEDS = frozenset({"overlay"})


def run(options: Options, record: Record) -> None:
    """Build the model's plan and run frames through it."""
    if not any(importlib.util.find_spec(name) for name in ("tensorrt", "tensorrt_rtx")):
        raise NotRun("TensorRT is not installed: pip install tensorrt (or tensorrt-rtx on GeForce RTX)")
    if options.emulated:
        raise NotRun("TensorRT needs a driver that is not emulated")
    gpus()  # a TensorRT runtime without a driver ends the process
    place = gpu()
    with record.part("library"):
        try:
            from rtseg.tensorrt import library
        except ModuleNotFoundError as exc:
            raise NotRun(f"{exc}: pip install tensorrt (or tensorrt-rtx on GeForce RTX)") from exc
        rtx = library.IS_RTX
        listed = not rtx or place.capability in RTX_LISTED
        record.result |= {"library": library.FLAVOUR, "version": library.VERSION, "listed": listed}
    if "library" not in record.result:
        return
    with tempfile.TemporaryDirectory(prefix="rtseg-plan-") as folder:
        plan = Path(folder) / "model.plan"
        logging.getLogger("rtseg").addHandler(_Kept(record.result.setdefault("log", [])))
        for name, step in (("build", _build), ("frames", _frames)):
            if not record.time_for(name, 5.0):
                break
            with record.part(name):
                if name == "frames" and "build" not in record.result:
                    if "refused" in record.result:
                        continue
                    raise NotRun("there is no plan")
                try:
                    record.result[name] = step(options, plan)
                except BackendError as exc:
                    if record.result["listed"]:
                        raise
                    told = f"{type(exc).__name__}: {exc}"
                    record.result.setdefault("refused", {})[name] = told
                    record.tell(f"    not listed for compute capability {place.capability}, and so it is: {told}")
        frames = record.result.get("frames")
        if frames:
            equal = frames["agreement"]["equal"]
            record.target("equal labels (TensorRT)", equal, AGREE, "", sense="least", required=True)


class _Kept(logging.Handler):
    """Keeps what rtseg logs as warnings: why a plan does not load is among it."""

    def __init__(self, lines: list[str]) -> None:
        super().__init__(logging.WARNING)
        self._lines = lines

    def emit(self, record: logging.LogRecord) -> None:
        self._lines.append(record.getMessage())


def _build(options: Options, plan: Path) -> dict[str, Any]:
    """Compile the model in fp16 for the network's size, with the labels' agreement checked."""
    from rtseg.export.build import build
    from rtseg.packages.spec import find_package
    from rtseg.tensorrt.profiles import Profile

    package = find_package(options.model)
    if package.spec is None:
        raise BackendError(f"{package.path} has no spec.json: give a model package")
    built = build(package.path, package.spec, (Profile.fixed(options.size),), precision="fp16", device="cuda", out=plan)
    report = json.loads(json.dumps(built.sidecar.report, default=str))
    return {
        "fresh": built.fresh,
        "bytes": built.sidecar.bytes,
        "seconds": report.get("seconds"),
        "agreement": report.get("agreement"),
        "layers": report.get("layers"),
    }


def _frames(options: Options, plan: Path) -> dict[str, Any]:
    """Whole frames with the plan as the network, one at a time."""
    from rtseg.backends import open_backend

    images = pictures.drive(options.frame, 4)
    backend = open_backend("tensorrt", str(plan), device="cuda")
    with segmenter_of(backend, size=options.size) as segmenter:
        painter = loop.painter_for(segmenter, NEEDS)
        segmenter.warm_up(options.frame)
        loop.frames(segmenter, painter, NEEDS, images, WARM, SECONDS)
        done = loop.frames(segmenter, painter, NEEDS, images, FRAMES, SECONDS)
        loop.painter_for(segmenter, frozenset({"labels"}))
        equal = agreement.compare(segmenter, device_of(segmenter), images)
    return {
        "frames": done.frames,
        "fps": round(done.rate, 2),
        "latency_ms": done.summary["capture_to_overlay_ms"],
        "stages_ms": done.summary["stages_ms"],
        "agreement": equal,
    }
