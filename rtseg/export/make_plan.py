"""A plan from a model file: the graph converted, compared with float32, compiled, and tried where there is a GPU."""

from __future__ import annotations

import hashlib
import logging
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
from rich.console import Console

from rtseg import __version__, registry
from rtseg.backends.contract import Backend
from rtseg.errors import BackendError, ModelError
from rtseg.export.agreement import ENOUGH, FRAMES, SYNTHETIC, Agreement, compare, frames, run_onnx
from rtseg.files import file_hash
from rtseg.frame import Image
from rtseg.gpu.driver import gpu
from rtseg.gpu.opening import open_gpu
from rtseg.packages.spec import ModelSpec, packages
from rtseg.tensorrt import cache
from rtseg.tensorrt.cache import Identity, Sidecar
from rtseg.tensorrt.compile import Options, compile_plan
from rtseg.tensorrt.engine import NotLoaded
from rtseg.tensorrt.find import Precision
from rtseg.tensorrt.library import IS_RTX
from rtseg.tensorrt.profiles import Profile

__all__ = ["Check", "Job", "make"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Check:
    """How a conversion is checked: on how many frames of what, and the fraction of equal labels that is enough.

    `reference` is the float32 model of a quantized one, None to look for it among the packages.
    """

    frames: str = SYNTHETIC
    count: int = FRAMES
    enough: float | None = None
    reference: Path | None = None


@dataclass(frozen=True, slots=True)
class Job:
    """What is built: the model file, its spec, the profiles and the precision, and how."""

    path: Path
    spec: ModelSpec
    profiles: tuple[Profile, ...]
    precision: Precision
    options: Options
    check: Check
    identity: Identity
    device: str | None


def make(job: Job, console: Console | None) -> tuple[bytes, Sidecar]:
    """Convert, check and compile; the plan is not in the cache yet."""
    registry.require("onnx", "building a TensorRT plan", "tensorrt")
    wide, typed, emulated, report = _typed(job)
    compared = bool(wide) and job.check.enough != 0
    images = frames(job.check.frames, job.check.count) if compared else []
    if compared:  # before the build, which may take minutes
        with _on_cpu(emulated, job.spec) as candidate:
            where = "int8 on the CPU" if job.precision == "int8" else "fp16 rounding emulated on the CPU"
            report["agreement"] = _agreement(job, wide, candidate, images, where).to_dict()
    with ExitStack() as stack:
        activate = None if IS_RTX else stack.enter_context(open_gpu(job.device)).activate
        compiled = compile_plan(typed, job.spec, job.profiles, job.options, activate=activate, console=console)
    report |= {
        "seconds": round(compiled.seconds, 2),
        "tensors": {name: [kind, held, list(shape)] for name, (kind, held, shape) in compiled.tensors.items()},
        "layers": compiled.counts(),
        "network": [[layer.name, layer.kind, layer.precision] for layer in compiled.layers],
        "rtseg": __version__,
    }
    sidecar = Sidecar(
        identity=job.identity,
        sha256=hashlib.sha256(compiled.plan).hexdigest(),
        bytes=len(compiled.plan),
        profiles=[(profile.smallest, profile.usual, profile.largest) for profile in job.profiles],
        spec=job.spec,
        report=report,
    )
    if compared and _has_gpu(job.device):
        told = _tried(job, compiled.plan, sidecar, wide, images)
        if told is not None:
            sidecar = msgspec.structs.replace(sidecar, report={**report, "agreement": told.to_dict()})
    return compiled.plan, sidecar


def _typed(job: Job) -> tuple[bytes, bytes, bytes, dict[str, Any]]:
    """The float32 graph to compare with (empty for none), the one to compile, one that emulates it, and a report."""
    from rtseg.tensorrt import fold, half

    model = fold.load(job.path)
    fold.fold(model)
    plain = model.SerializeToString()
    if job.precision == "fp32":
        return b"", plain, b"", {}
    if job.precision == "int8":
        return (
            (_reference(job.path, job.spec, job.check).read_bytes() if job.check.enough != 0 else b""),
            plain,
            plain,
            {},
        )
    done = half.halve(model)
    typed = model.SerializeToString()
    if done.half and job.spec.dtype != "float16":  # else it is in half precision as it was exported
        half.rounded(model)
    return plain, typed, model.SerializeToString(), {"fp16": done.to_dict()}


@contextmanager
def _on_cpu(model: bytes, spec: ModelSpec) -> Iterator[Backend]:
    with tempfile.TemporaryDirectory(prefix="rtseg-build-") as folder, run_onnx(model, spec, Path(folder)) as backend:
        yield backend


def _agreement(job: Job, reference: bytes, candidate: Backend, images: list[Image], where: str) -> Agreement:
    """The lowest agreement of all profiles' usual sizes, each logged; BackendError where it is too low."""
    enough = ENOUGH[job.precision] if job.check.enough is None else job.check.enough
    logger.info("comparing labels with fp32 on %d frames of %s (%s)", len(images), job.check.frames, where)
    agreements = []
    with _on_cpu(reference, job.spec) as first:
        for size in dict.fromkeys(profile.usual for profile in job.profiles):
            found = compare(first, candidate, images, size, job.check.frames, where)
            if not found.equal >= enough:
                raise BackendError(
                    f"{job.spec.name} in {job.precision}: {found}, {enough:.3%} is asked for: build it in another "
                    "precision, or pass a lower --agreement"
                )
            logger.info("%s in %s: %s", job.spec.name, job.precision, found)
            agreements.append(found)
    return min(agreements, key=lambda found: found.equal)


def _has_gpu(device: str | None) -> bool:
    try:
        gpu(device)
    except BackendError:
        return False
    return True


def _tried(job: Job, plan: bytes, sidecar: Sidecar, reference: bytes, images: list[Image]) -> Agreement | None:
    """The agreement of the plan itself on this machine's GPU; None, with a warning, where that GPU does not load it."""
    from rtseg.backends.tensorrt import TensorRTBackend

    with tempfile.TemporaryDirectory(prefix="rtseg-build-") as folder:
        path = Path(folder) / "check.plan"
        cache.store(path, plan, sidecar)
        try:
            backend = TensorRTBackend(path, job.spec, device=job.device)
            with backend:
                backend.prepare(job.profiles[0].usual)
                return _agreement(job, reference, backend, images, f"on {backend.device}")
        except NotLoaded as exc:
            logger.warning("labels were compared on the CPU only: %s", exc)
            return None


def _reference(path: Path, spec: ModelSpec, check: Check) -> Path:
    """The float32 model that a quantized one was made of."""
    if check.reference is not None:
        return check.reference
    made_from = spec.provenance.get("quantized", {}).get("from")
    for model in packages().values():
        if made_from is not None and file_hash(model) == made_from:
            return model
    raise ModelError(
        f"the float32 model that {path} was quantized from is not among the packages: give --reference MODEL"
    )
