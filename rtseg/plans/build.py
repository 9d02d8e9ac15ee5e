"""A plan for a model package: found in the cache, or converted, checked, compiled and kept."""

from __future__ import annotations

import hashlib
import logging
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from rich.console import Console

from rtseg import __version__, registry
from rtseg.errors import BackendError, ConfigError, ModelError, nearest
from rtseg.onnx_file import is_quantised
from rtseg.plans import cache
from rtseg.plans.agreement import ENOUGH, FRAMES, SYNTHETIC, Agreement, compare, frames, run_onnx
from rtseg.plans.cache import Identity, Sidecar
from rtseg.plans.compile import Options, check_options, compile_plan
from rtseg.plans.driver import Gpu, gpu
from rtseg.plans.library import FLAVOUR, IS_RTX, VERSION, check_version
from rtseg.plans.profiles import Profile, covering, spelt
from rtseg.report import file_hash
from rtseg.spec import ModelSpec, packages

__all__ = ["PRECISIONS", "Built", "Check", "build", "find", "precision_of"]

logger = logging.getLogger(__name__)

Precision = Literal["fp32", "fp16", "int8"]
PRECISIONS = ("fp32", "fp16", "int8")


@dataclass(frozen=True, slots=True)
class Check:
    """How a conversion is checked: on how many frames of what, and the fraction of equal labels that is enough.

    `reference` is the float32 model of a quantised one, None to look for it among the packages.
    """

    frames: str = SYNTHETIC
    count: int = FRAMES
    enough: float | None = None
    reference: Path | None = None


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
    needs the GPU `device`, TensorRT-RTX none. Errors: ModelError for the model, ConfigError for options, BackendError
    without a driver, for a plan on disk that cannot be trusted, or where the conversion changes too many labels.
    """
    options, check = options or Options(), check or Check()
    check_version()
    check_options(options)
    kind = precision_of(path, precision)
    identity = _identity(path, spec, profiles, kind, options, None if IS_RTX else gpu(device))
    plan = out if out is not None else cache.folder_for(path, spec.name) / identity.file

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
        data, sidecar = _make(path, spec, profiles, kind, options, check, identity, console)
        cache.store(plan, data, sidecar)
    return Built(plan, data, sidecar, fresh=True, reason=reason)


def find(
    path: Path, spec: ModelSpec, size: tuple[int, int], *, precision: str | None = None, device: str | None = None
) -> Built | None:
    """The plan in the cache that serves `size`, whatever its other sizes and builder options; the narrowest of them.

    One that is not up to date is passed over. Errors: as of `build`.
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
        here = _identity(path, spec, sidecar.ranges, kind, Options(**{**had.options, "timing_cache": None}), place)
        index = covering(sidecar.ranges, size)
        if index is not None and cache.mismatch(had, here) is None and _unproved(sidecar, kind, Check()) is None:
            fitting.append((sidecar.ranges[index].area, had != exact, plan))
    if not fitting:
        return None
    plan = min(fitting)[2]
    data, sidecar = cache.read_plan(plan)
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
    capability = name = cache.PORTABLE
    if place is not None:
        if options.hardware_compatible is None:
            name = place.name
        if options.hardware_compatible != "ampere+":
            capability = f"sm{place.capability[0]}{place.capability[1]}"
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


def _make(
    path: Path,
    spec: ModelSpec,
    profiles: Sequence[Profile],
    precision: Precision,
    options: Options,
    check: Check,
    identity: Identity,
    console: Console | None,
) -> tuple[bytes, Sidecar]:
    registry.require("onnx", "building a TensorRT plan", "tensorrt")
    from rtseg.plans import fold, half

    model = fold.load(path)
    fold.fold(model)
    report: dict[str, Any] = {}
    agreement = None
    if precision == "fp16":
        wide = model.SerializeToString()
        done = half.halve(model)
        report["fp16"] = asdict(done)
        typed = model.SerializeToString()
        if done.half and spec.dtype != "float16":  # else it is in half precision as it was exported
            half.rounded(model)
        agreement = _agreement(
            wide, model.SerializeToString(), spec, profiles, check, "fp16 rounding emulated on the CPU"
        )
    else:
        typed = model.SerializeToString()
        if precision == "int8":
            wide = _reference(path, spec, check).read_bytes()
            agreement = _agreement(wide, typed, spec, profiles, check, "int8 on the CPU")
    if agreement is not None:
        report["agreement"] = agreement.to_dict()
        _accept(agreement, spec, precision, check)
    compiled = compile_plan(typed, spec, profiles, options, console=console)
    report |= {
        "seconds": round(compiled.seconds, 2),
        "tensors": {name: list(value) for name, value in compiled.tensors.items()},
        "layers": compiled.counts(),
        "network": [[layer.name, layer.kind, layer.precision] for layer in compiled.layers],
        "rtseg": __version__,
    }
    return compiled.plan, Sidecar(
        identity=identity,
        sha256=hashlib.sha256(compiled.plan).hexdigest(),
        bytes=len(compiled.plan),
        profiles=[(profile.smallest, profile.usual, profile.largest) for profile in profiles],
        spec=spec,
        report=report,
    )


def _agreement(
    reference: bytes, candidate: bytes, spec: ModelSpec, profiles: Sequence[Profile], check: Check, where: str
) -> Agreement | None:
    """The agreement of two ONNX graphs, run on the CPU at the first profile's usual size."""
    if check.enough == 0:
        return None
    images = frames(check.frames, check.count)
    with tempfile.TemporaryDirectory(prefix="rtseg-build-") as folder:
        first = run_onnx(reference, spec, Path(folder))
        second = run_onnx(candidate, spec, Path(folder))
        with first, second:
            return compare(first, second, images, profiles[0].usual, check.frames, where)


def _accept(agreement: Agreement, spec: ModelSpec, precision: Precision, check: Check) -> None:
    """Log the agreement; BackendError where it is too low."""
    enough = ENOUGH[precision] if check.enough is None else check.enough
    if not agreement.equal >= enough:
        raise BackendError(
            f"{spec.name} in {precision}: {agreement}, {enough:.3%} is asked for: build it in another precision, "
            "or pass --agreement"
        )
    logger.info("%s in %s: %s", spec.name, precision, agreement)


def _reference(path: Path, spec: ModelSpec, check: Check) -> Path:
    """The float32 model that a quantised one was made of."""
    if check.reference is not None:
        return check.reference
    made_from = spec.provenance.get("quantised", {}).get("from")
    for model in packages().values():
        if made_from is not None and file_hash(model) == made_from:
            return model
    raise ModelError(
        f"the float32 model that {path} was quantised from is not among the packages: give --reference MODEL"
    )
