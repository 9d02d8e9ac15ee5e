"""A plan for a model package: found in the cache, or converted, checked, compiled and kept."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import msgspec
from rich.console import Console

from rtseg.errors import BackendError, ConfigError, nearest
from rtseg.nvidia import Gpu, gpu
from rtseg.onnx_file import is_quantised
from rtseg.plans import cache
from rtseg.plans.agreement import ENOUGH, SYNTHETIC
from rtseg.plans.cache import Identity, Sidecar
from rtseg.plans.compile import Options, check_options
from rtseg.plans.library import FLAVOUR, IS_RTX, VERSION, check_version
from rtseg.plans.make import Check, Job, Precision, make
from rtseg.plans.profiles import Profile, covering, spelt
from rtseg.report import file_hash
from rtseg.spec import ModelSpec

__all__ = ["PRECISIONS", "Built", "build", "find", "precision_of"]

logger = logging.getLogger(__name__)

PRECISIONS = ("fp32", "fp16", "int8")


@dataclass(frozen=True, slots=True)
class Built:
    """A plan in the cache; `fresh` where it was built just now, `reason` why the one that was there is not used."""

    path: Path
    data: bytes
    sidecar: Sidecar
    fresh: bool
    reason: str | None = None


def precision_of(path: Path, asked: str | None) -> Precision:
    """The precision that a model file is built in: int8 for a quantised one, else `asked` or fp16.

    Errors: ConfigError for an unknown precision or one that does not suit the file.
    """
    if asked is not None and asked not in PRECISIONS:
        raise ConfigError(f"unknown precision '{asked}' for tensorrt: {nearest(asked, PRECISIONS)}")
    quantised = is_quantised(path)
    if asked == "int8" and not quantised:
        raise ConfigError(f"{path} is not quantised: make its int8 twin with rtseg quantize, and build that")
    if quantised and asked not in (None, "int8"):
        raise ConfigError(f"{path} is quantised to int8, so it cannot be built in {asked}: build the float32 model")
    return "int8" if quantised else "fp32" if asked == "fp32" else "fp16"


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
    identity = _identity(path, spec, profiles, kind, options, None if IS_RTX else gpu(device))
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


def find(
    path: Path, spec: ModelSpec, size: tuple[int, int], *, precision: str | None = None, device: str | None = None
) -> Built | None:
    """The plan in the cache that serves `size`, whatever its other sizes and builder options; the narrowest of them.

    One that is not up to date is passed over; one that the user built with a lower or no `--agreement` is not.
    Errors: as of `build`.
    """
    kind = precision_of(path, precision)
    place = None if IS_RTX else gpu(device)
    exact = _identity(path, spec, (Profile.fixed(size),), kind, Options(), place)
    fitting = []
    for plan in cache.folder_for(path, spec.name).glob("*.plan"):
        if not cache.sidecar_path(plan).is_file():
            continue  # not ours; `build` tells if it is in the way
        sidecar = cache.read_sidecar(plan)
        had = sidecar.identity
        capability, name = _place(place, had.options.get("hardware_compatible"))
        here = msgspec.structs.replace(exact, sizes=had.sizes, options=had.options, capability=capability, gpu=name)
        index = covering(sidecar.ranges, size)
        if index is not None and cache.mismatch(had, here) is None:
            fitting.append((sidecar.ranges[index].area, had != exact, plan))
    if not fitting:
        return None
    plan = min(fitting)[2]
    try:
        data, sidecar = cache.read_plan(plan)
    except BackendError:
        if plan.exists():
            raise
        return None  # another process is replacing it: `build` waits for that one
    return Built(plan, data, sidecar, fresh=False)


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


def _identity(
    path: Path, spec: ModelSpec, profiles: Sequence[Profile], precision: str, options: Options, place: Gpu | None
) -> Identity:
    capability, name = _place(place, options.hardware_compatible)
    settings = {key: value for key, value in asdict(options).items() if value and key != "timing_cache"}
    return Identity(
        model=spec.name,
        onnx=file_hash(path),
        sizes=spelt(profiles),
        precision=precision,
        library=FLAVOUR,
        version=VERSION,
        capability=capability,
        gpu=name,
        options=settings,
    )


def _place(place: Gpu | None, compatible: str | None) -> tuple[str, str]:
    """What a plan is built for: compute capability and GPU, "portable" where it runs on others too."""
    if place is None or compatible == "ampere+":
        return cache.PORTABLE, cache.PORTABLE
    capability = f"sm{place.capability[0]}{place.capability[1]}"
    return capability, cache.PORTABLE if compatible else place.name
