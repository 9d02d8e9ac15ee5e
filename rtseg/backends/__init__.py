"""Backends: what runs the network. One file each; a name means that backend or an error."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rtseg import registry
from rtseg.backends.contract import Backend
from rtseg.errors import BackendError, ConfigError, MissingExtra, ModelError, nearest
from rtseg.packages.spec import ModelSpec, find_package

__all__ = ["AUTO", "Backend", "open_backend"]

logger = logging.getLogger(__name__)

AUTO = (("tensorrt", "cuda"), ("torch", "cuda"), ("openvino", None), ("onnxruntime", None))
"""What `auto` tries in turn: backend and device."""
DRIVERS = ("/dev/nvidiactl", "/dev/nvgpu", "/dev/dxg")
"""Device nodes of the NVIDIA driver on a PC, on a Jetson, and under WSL 2."""


def open_backend(
    name: str,
    model: str,
    *,
    device: str | None = None,
    precision: str | None = None,
    threads: int | None = None,
    depth: int = 1,
    spec_file: str | None = None,
    overrides: Mapping[str, Any] | None = None,
) -> Backend:
    """Open `model` (package name, folder, ONNX file; may be empty for null) on the backend called `name`.

    `auto` takes the first that works of TensorRT, torch on CUDA, OpenVINO and ONNX Runtime, and logs which and why.
    `overrides` are fields of ModelSpec by name. Errors: ModelError for the file or its spec, BackendError or
    MissingExtra where the backend cannot run here, ConfigError for a name or option that does not exist.
    """
    if name != "auto" and name not in registry.BACKENDS:
        raise ConfigError(f"unknown backend '{name}': {nearest(name, ['auto', *registry.BACKENDS])}")
    if depth < 1:
        raise ConfigError(f"depth is {depth}: it must be at least 1")
    if name == "null" and not model:
        from rtseg.backends.null import NullBackend

        return NullBackend(device=device, precision=precision, threads=threads, depth=depth)
    if name != "auto":
        registry.load(registry.BACKENDS, name, "backend")  # says what is missing before the model is read
    path, spec = _model(name, model, spec_file, overrides)
    options = {"precision": precision, "threads": threads, "depth": depth}
    if name != "auto":
        return _open(name, path, spec, device, options)
    if device is not None:
        raise ConfigError(
            f"--device {device} needs a --backend: auto chooses both (backends: {', '.join(registry.BACKENDS)})"
        )
    reasons = []
    for candidate, place in AUTO:
        try:
            _check_driver(place)
            if place == "cuda":
                registry.require("pycuda", "keeping frames on the GPU", "gpu")
            backend = _open(candidate, path, spec, place, options)
        except (BackendError, MissingExtra) as exc:
            reasons.append(f"{candidate}{f' on {place}' if place else ''}: {exc}")
            continue
        logger.info("auto chose %s on %s%s", candidate, backend.device, f" ({'; '.join(reasons)})" if reasons else "")
        return backend
    raise BackendError(f"no backend can run {path}: {'; '.join(reasons)}")


def _model(name: str, model: str, spec_file: str | None, given: Mapping[str, Any] | None) -> tuple[Path, ModelSpec]:
    """The model's file and its complete spec."""
    from rtseg.packages.complete import complete_spec

    package = find_package(model, spec_file)
    if name == "null" and package.spec is not None and not given:
        return package.path, package.spec
    if package.path.suffix == ".plan":
        return package.path, _plan_spec(package.path, spec_file, given)
    if package.path.suffix != ".pt2":
        return package.path, complete_spec(package.path, package.spec, given, written=package.written)
    if package.spec is None or given:
        raise ModelError(
            f"{package.path} is a torch export, which carries no spec: pass all of it with --spec spec.json"
        )
    return package.path, package.spec


def _plan_spec(path: Path, spec_file: str | None, given: Mapping[str, Any] | None) -> ModelSpec:
    """The spec that a TensorRT plan was built with, out of its sidecar."""
    from rtseg.tensorrt.cache import read_sidecar

    if spec_file or given:
        raise ConfigError(f"{path} has its spec in its sidecar: leave out --spec and the flags that describe a model")
    return read_sidecar(path).spec


def _open(name: str, path: Path, spec: ModelSpec, device: str | None, options: Mapping[str, Any]) -> Backend:
    if path.suffix == ".pt2" and name not in ("torch", "null"):
        raise BackendError(f"{name} does not run {path}: a torch export (.pt2) runs with --backend torch")
    if path.suffix == ".plan" and name not in ("tensorrt", "null"):
        raise BackendError(f"{name} does not run {path}: a TensorRT plan runs with --backend tensorrt")
    backend: Backend = registry.load(registry.BACKENDS, name, "backend")(path, spec, device=device, **options)
    return backend


def _check_driver(device: str | None) -> None:
    """BackendError where `device` is cuda and there is no NVIDIA driver: cheaper to know than by importing torch."""
    if device == "cuda" and not any(Path(node).exists() for node in DRIVERS):
        raise BackendError("no NVIDIA driver")
