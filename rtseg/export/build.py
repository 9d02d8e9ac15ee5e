"""A plan for a model package: found in the cache, or converted, checked, compiled and kept."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from rtseg.export.agreement import ENOUGH, SYNTHETIC
from rtseg.export.make_plan import Check, Job, make
from rtseg.gpu.driver import gpu
from rtseg.packages.spec import ModelSpec
from rtseg.tensorrt import cache
from rtseg.tensorrt.cache import Sidecar
from rtseg.tensorrt.compile import Options, check_options
from rtseg.tensorrt.find import Built, Precision, identity_of, precision_of
from rtseg.tensorrt.library import FLAVOUR, IS_RTX, VERSION, check_version
from rtseg.tensorrt.profiles import Profile, spelt

__all__ = ["build"]

logger = logging.getLogger(__name__)


def build(
    path: Path,
    spec: ModelSpec,
    profiles: Sequence[Profile],
    *,
    precision: str | None = None,
    options: Options | None = None,
    check: Check | None = None,
    device: str | None = None,
    out: Path | None = None,
    rebuild: str | None = None,
    console: Console | None = None,
) -> Built:
    """Find or make the plan of an ONNX file for `profiles`; `spec` is complete.

    `out` is where the plan goes instead of the cache, `rebuild` says why to make it even if it is there. TensorRT
    needs the GPU `device`, TensorRT-RTX none unless one is named. Errors: ModelError for the model, ConfigError for
    options, BackendError without a driver, for a plan on disk that cannot be trusted, or where the conversion changes
    too many labels.
    """
    options, check = options or Options(), check or Check()
    check_version()
    check_options(options)
    if device is not None:
        gpu(device)  # a name means that device, even where building takes none
    kind = precision_of(path, precision)
    identity = identity_of(path, spec, profiles, kind, options, None if IS_RTX else gpu(device))
    plan = out if out is not None else cache.folder_for(path, spec.name) / identity.file

    job = Job(path, spec, tuple(profiles), kind, options, check, identity, device)

    def waiting() -> None:
        logger.warning("another process builds %s: waiting for it", plan)

    with cache.locked(plan, waiting):
        reason = None
        if plan.exists():
            reason = rebuild
            if reason is None:
                held = cache.read_sidecar(plan)
                reason = cache.mismatch(held.identity, identity) or _unproved(held, kind, check)
            if reason is None:
                data, sidecar = cache.read_plan(plan, explicit=out is not None)
                return Built(plan, data, sidecar, fresh=False)
            logger.warning("building %s again: %s", plan, reason)
        logger.info("building %s with %s %s (%s, %s)", plan, FLAVOUR, VERSION, kind, spelt(profiles))
        data, sidecar = make(job, console)
        cache.store(plan, data, sidecar)
    return Built(plan, data, sidecar, fresh=True, reason=reason)


def _unproved(sidecar: Sidecar, precision: Precision, check: Check) -> str | None:
    """Why the agreement that a plan was accepted with is not enough now; None where it is."""
    if precision == "fp32" or check.enough == 0:
        return None
    known = sidecar.report.get("agreement")
    if known is None:
        return "its labels were not compared with fp32"
    if check.frames not in (SYNTHETIC, known["source"]):
        return f"its labels were compared with fp32 on {known['source']} only"
    enough = ENOUGH[precision] if check.enough is None else check.enough
    if known["equal"] < enough and check.enough is not None:
        return f"its labels are equal to fp32 on {known['equal']:.3%} of the pixels, {enough:.3%} is asked for"
    return None
