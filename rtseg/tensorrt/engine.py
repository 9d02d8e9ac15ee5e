"""A plan as an engine that runs: deserialised only once the driver has answered, never before."""

from __future__ import annotations

import functools
import json
import re
from collections import Counter
from typing import Any

from rtseg.errors import BackendError, MissingExtra
from rtseg.gpu.driver import driver
from rtseg.gpu.opening import open_gpu
from rtseg.tensorrt.library import FLAVOUR, Log, trt

__all__ = ["NotLoaded", "deserialise", "inspected", "summary"]

TYPES = {
    "fp32": "fp32", "float": "fp32", "fp16": "fp16", "half": "fp16", "bf16": "bf16", "bfloat16": "bf16",
    "int8": "int8", "fp8": "fp8", "int32": "int32", "int64": "int64", "bool": "bool",
}  # fmt: skip
"""The engine inspector's words for types, of several versions."""


class NotLoaded(BackendError):
    """A plan that TensorRT does not load on this GPU."""


@functools.cache
def _runtime() -> tuple[trt.Runtime, Log]:
    """The process's one `Runtime`; BackendError without a driver, where making one would end the process."""
    driver()
    log = Log()
    try:
        return trt.Runtime(log), log
    except (TypeError, RuntimeError) as exc:  # pybind11's word for a factory that returned nothing
        raise BackendError(f"{FLAVOUR} does not start its runtime: {log.said}") from exc


def deserialise(plan: bytes, *, host_code: bool = False) -> tuple[trt.ICudaEngine | None, str]:
    """The engine of a plan, or None and TensorRT's reason where it does not fit this GPU or version.

    The device's context must be current. `host_code` lets a version-compatible plan run the code it brings along.
    Errors: BackendError without a working driver.
    """
    runtime, log = _runtime()
    log.errors.clear()
    runtime.engine_host_code_allowed = host_code
    return runtime.deserialize_cuda_engine(plan), log.said


def inspected(plan: bytes) -> tuple[list[str] | None, str]:
    """One line for each layer of the engine, or None and why there is none here."""
    try:
        with open_gpu():
            engine, reason = deserialise(plan)
            if engine is None:
                return None, reason
            text = engine.create_engine_inspector().get_engine_information(trt.LayerInformationFormat.JSON)
    except (BackendError, MissingExtra) as exc:
        return None, str(exc)
    return [_line(layer) for layer in json.loads(text).get("Layers", [])], ""


def summary(layers: list[str]) -> str:
    """How many layers the engine has, and how many of them answer in which type."""
    counts: Counter[str] = Counter()
    for line in layers:
        found = re.search(r"\b(" + "|".join(TYPES) + r")\b", line.rpartition(" -> ")[2], re.IGNORECASE)
        counts[TYPES[found[1].lower()] if found else "other"] += 1
    told = ", ".join(f"{count} {kind}" for kind, count in counts.most_common())
    return f"{len(layers)} layers of the engine as fused, by what they answer in: {told}"


def _line(layer: Any) -> str:
    """A layer in one line; plans built without details have names only."""
    if isinstance(layer, str):
        return layer
    outputs = ", ".join(
        f"{'x'.join(map(str, out.get('Dimensions', [])))} {out.get('Format/Datatype', '')}"
        for out in layer.get("Outputs", [])
    )
    return f"{layer.get('Name')}: {layer.get('LayerType')} -> {outputs}"
