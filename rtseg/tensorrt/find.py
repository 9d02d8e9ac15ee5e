"""The plan of a model file in the cache: what it must be like, and the one that serves a size."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import msgspec

from rtseg.errors import BackendError, ConfigError, nearest
from rtseg.files import file_hash
from rtseg.gpu.driver import Gpu, gpu
from rtseg.packages.onnx_file import is_quantised
from rtseg.packages.spec import ModelSpec
from rtseg.tensorrt import cache
from rtseg.tensorrt.cache import Identity, Sidecar
from rtseg.tensorrt.compile import Options
from rtseg.tensorrt.library import FLAVOUR, IS_RTX, VERSION
from rtseg.tensorrt.profiles import Profile, covering, spelt

__all__ = ["PRECISIONS", "Built", "Precision", "find", "identity_of", "precision_of"]

Precision = Literal["fp32", "fp16", "int8"]
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
    """The precision that a model file is built in: int8 for a quantized one, else `asked` or fp16.

    Errors: ConfigError for an unknown precision or one that does not suit the file.
    """
    if asked is not None and asked not in PRECISIONS:
        raise ConfigError(f"unknown precision '{asked}' for tensorrt: {nearest(asked, PRECISIONS)}")
    quantized = is_quantised(path)
    if asked == "int8" and not quantized:
        raise ConfigError(f"{path} is not quantized: make its int8 twin with rtseg quantize, and build that")
    if quantized and asked not in (None, "int8"):
        raise ConfigError(f"{path} is quantized to int8, so it cannot be built in {asked}: build the float32 model")
    return "int8" if quantized else "fp32" if asked == "fp32" else "fp16"


def find(
    path: Path, spec: ModelSpec, size: tuple[int, int], *, precision: str | None = None, device: str | None = None
) -> Built | None:
    """The plan in the cache that serves `size`, whatever its other sizes and builder options; the narrowest of them.

    One that is not up to date is passed over; one that the user built with a lower or no `--agreement` is not.
    Errors: as of `build`.
    """
    kind = precision_of(path, precision)
    place = None if IS_RTX else gpu(device)
    exact = identity_of(path, spec, (Profile.fixed(size),), kind, Options(), place)
    fitting = []
    for plan in cache.folder_for(path, spec.name).glob("*.plan"):
        if not cache.sidecar_path(plan).is_file():
            continue  # not ours; `build` reports it if it is in the way
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


def identity_of(
    path: Path, spec: ModelSpec, profiles: Sequence[Profile], precision: str, options: Options, place: Gpu | None
) -> Identity:
    """What the plan of a model file must be, to be taken for it."""
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
