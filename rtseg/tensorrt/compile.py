"""From an ONNX graph to a TensorRT plan."""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import Future, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from rich.console import Console

from rtseg.errors import BackendError, ConfigError, ModelError
from rtseg.files import write_bytes
from rtseg.packages.spec import ModelSpec
from rtseg.tensorrt.library import FLAVOUR, IS_RTX, Log, trt
from rtseg.tensorrt.profiles import Profile
from rtseg.tensorrt.progress import Monitor, progress

__all__ = ["Compatible", "Compiled", "Layer", "Options", "check_options", "compile_plan"]

logger = logging.getLogger(__name__)

QUIET = 15.0
"""Seconds between two lines about a build that no terminal shows."""
Compatible = Literal["ampere+", "same-capability"]
LEVELS = {"ampere+": "AMPERE_PLUS", "same-capability": "SAME_COMPUTE_CAPABILITY"}
PRECISIONS = {"FLOAT": "fp32", "HALF": "fp16", "BF16": "bf16", "INT8": "int8", "INT32": "int32", "INT64": "int64"}


@dataclass(frozen=True, slots=True)
class Options:
    """Builder options beside precision and sizes; `workspace` is in MiB, None leaves each to TensorRT."""

    workspace: int | None = None
    hardware_compatible: Compatible | None = None
    version_compatible: bool = False
    timing_cache: Path | None = None


@dataclass(frozen=True, slots=True)
class Layer:
    """One layer of the network as parsed, before TensorRT fuses it with others."""

    name: str
    kind: str
    precision: str


@dataclass(frozen=True, slots=True)
class Compiled:
    """A plan and what is known of it. `tensors` is name -> (input or output, precision, shape with -1 for dynamic)."""

    plan: bytes
    seconds: float
    tensors: dict[str, tuple[str, str, tuple[int, ...]]]
    layers: tuple[Layer, ...]

    def counts(self) -> dict[str, dict[str, int]]:
        """Layers by kind and precision, for those that compute."""
        found: dict[str, Counter[str]] = {}
        for layer in self.layers:
            if layer.kind not in ("constant", "shape"):
                found.setdefault(layer.kind, Counter())[layer.precision] += 1
        return {kind: dict(counts) for kind, counts in sorted(found.items())}


def check_options(options: Options) -> None:
    """ConfigError for an option that the installed flavour does not have, or a value that means nothing."""
    if options.workspace is not None and options.workspace < 1:
        raise ConfigError(f"--workspace is {options.workspace} MiB: it must be at least 1")
    if options.hardware_compatible is not None and options.hardware_compatible not in LEVELS:
        raise ConfigError(f"unknown level '{options.hardware_compatible}' (choices: {', '.join(LEVELS)})")
    if not IS_RTX:
        return
    why = {
        "--hardware-compatible": "its plans run on every RTX GPU as they are",
        "--version-compatible": "it has no lean runtime",
        "--timing-cache": "it times nothing when it builds",
    }
    given = {
        "--hardware-compatible": options.hardware_compatible is not None,
        "--version-compatible": options.version_compatible,
        "--timing-cache": options.timing_cache is not None,
    }
    for flag, is_given in given.items():
        if is_given:
            raise ConfigError(f"TensorRT-RTX does not have {flag} ({why[flag]}): leave it out")


def compile_plan(
    model: bytes,
    spec: ModelSpec,
    profiles: Sequence[Profile],
    options: Options,
    *,
    tf32: bool = False,
    activate: Callable[[], None] | None = None,
    console: Console | None = None,
) -> Compiled:
    """Compile the ONNX graph `model`, whose input and output `spec` names, for the sizes of `profiles`.

    Progress is shown on `console` if that is a terminal, else logged now and then. `tf32` allows TensorFloat-32 in
    float32 convolutions. `activate` makes the GPU to build on current in a thread; None leaves that to TensorRT.
    Errors: ModelError where TensorRT cannot read the graph or its tensors are not the spec's, BackendError where it
    cannot build it, ConfigError as of `check_options`. KeyboardInterrupt stops the build.
    """
    check_options(options)
    activate = activate or _nothing
    activate()
    log = Log()
    builder = _builder(log)
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, log)
    if not parser.parse(model):
        raise ModelError(f"{FLAVOUR} cannot read {spec.name}: {_parse_errors(parser)}")
    tensors = _tensors(network, spec)
    config = builder.create_builder_config()
    _configure(config, options, log)
    if not tf32:
        config.clear_flag(trt.BuilderFlag.TF32)
    for profile in profiles:
        shapes = [_shape(spec, size) for size in (profile.smallest, profile.usual, profile.largest)]
        made = builder.create_optimization_profile()
        made.set_shape(spec.input_name, *shapes)
        if config.add_optimization_profile(made) < 0:
            raise BackendError(f"{FLAVOUR} does not accept the sizes {profile}: {log.said}")
    start = time.perf_counter()
    with progress(console) as bars:
        plan = _build(builder, network, config, Monitor(bars), activate)
    seconds = time.perf_counter() - start
    if plan is None:
        hint = "" if options.workspace is None else f"; --workspace {options.workspace} may be too little"
        raise BackendError(f"{FLAVOUR} cannot build {spec.name}: {log.said}{hint}")
    if options.timing_cache is not None:
        _keep(options.timing_cache, config.get_timing_cache())
    return Compiled(bytes(memoryview(plan)), seconds, tensors, _layers(network))


def _builder(log: Log) -> trt.Builder:
    try:
        return trt.Builder(log)
    except (TypeError, RuntimeError) as exc:  # pybind11's word for a factory that returned nothing
        raise BackendError(f"{FLAVOUR} does not start its builder: {log.said}") from exc


def _keep(path: Path, cache: trt.ITimingCache) -> None:
    """Write the timing cache; the plan is there even if that fails."""
    try:
        write_bytes(path, memoryview(cache.serialize()))
    except OSError as exc:
        logger.warning("the timing cache is not kept: cannot write %s (%s)", path, exc.strerror or exc)


def _shape(spec: ModelSpec, size: tuple[int, int]) -> tuple[int, int, int, int]:
    return (1, 3, *size) if spec.layout == "NCHW" else (1, *size, 3)


def _parse_errors(parser: trt.OnnxParser) -> str:
    """The parser's errors in one line, the first three of them."""
    found = []
    for index in range(min(parser.num_errors, 3)):
        error = parser.get_error(index)
        node = f"node '{error.node_name()}' ({error.node_operator()}): " if error.node_name() else ""
        found.append(node + " ".join(error.desc().split())[:200])
    return "; ".join(found) or "it gave no reason"


def _tensors(network: trt.INetworkDefinition, spec: ModelSpec) -> dict[str, tuple[str, str, tuple[int, ...]]]:
    """Inputs and outputs by name, checked against the spec."""
    found = {}
    for index in range(network.num_inputs):
        tensor = network.get_input(index)
        found[tensor.name] = ("input", _precision(tensor), tuple(tensor.shape))
    for index in range(network.num_outputs):
        tensor = network.get_output(index)
        found[tensor.name] = ("output", _precision(tensor), tuple(tensor.shape))
    for name, kind in ((spec.input_name, "input"), (spec.output_name, "output")):
        if found.get(name, ("",))[0] != kind:
            raise ModelError(f"{FLAVOUR} finds no {kind} '{name}' in {spec.name} (tensors: {', '.join(found)})")
    return found


def _precision(tensor: trt.ITensor) -> str:
    return PRECISIONS.get(tensor.dtype.name, tensor.dtype.name.lower())


def _layers(network: trt.INetworkDefinition) -> tuple[Layer, ...]:
    """The parsed layers; one that dequantizes or is fed by that counts as int8."""
    found, dequantized = [], set()
    for index in range(network.num_layers):
        layer = network.get_layer(index)
        precision = _precision(layer.get_output(0))
        inputs = [layer.get_input(at) for at in range(layer.num_inputs)]
        kind = layer.type.name.lower()
        if kind == "dequantize":
            dequantized.add(layer.get_output(0).name)
        elif kind in ("convolution", "deconvolution", "matrix_multiply") and all(
            tensor is None or tensor.name in dequantized for tensor in inputs[:2]
        ):
            precision = "int8"
        found.append(Layer(layer.name, kind, precision))
    return tuple(found)


def _configure(config: trt.IBuilderConfig, options: Options, log: Log) -> None:
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED  # lets the engine inspector name every layer
    if options.workspace is not None:
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, options.workspace << 20)
    if options.hardware_compatible is not None:
        level = LEVELS[options.hardware_compatible]
        if not hasattr(trt.HardwareCompatibilityLevel, level):
            raise ConfigError(f"this {FLAVOUR} has no level {options.hardware_compatible}: update it")
        config.hardware_compatibility_level = getattr(trt.HardwareCompatibilityLevel, level)
    if options.version_compatible:
        config.set_flag(trt.BuilderFlag.VERSION_COMPATIBLE)
    if options.timing_cache is not None:
        path = options.timing_cache
        if not path.parent.is_dir():
            raise ConfigError(f"cannot keep the timing cache {path}: there is no folder {path.parent}")
        try:
            held = path.read_bytes() if path.is_file() else b""
        except OSError as exc:
            raise ConfigError(f"cannot read the timing cache {path}: {exc.strerror}") from exc
        cache = config.create_timing_cache(held)
        if cache is None or not config.set_timing_cache(cache, ignore_mismatch=False):
            raise ConfigError(f"{path} is not a timing cache of this GPU and {FLAVOUR}: delete it ({log.said})")


def _build(
    builder: trt.Builder,
    network: trt.INetworkDefinition,
    config: trt.IBuilderConfig,
    monitor: Monitor,
    activate: Callable[[], None],
) -> trt.IHostMemory | None:
    """Build in a thread of its own, so that Ctrl-C is heard: a raise inside the builder's callbacks would end it."""
    config.progress_monitor = monitor
    built: Future[trt.IHostMemory | None] = Future()

    def work() -> None:
        try:
            activate()
            built.set_result(builder.build_serialized_network(network, config))
        except BaseException as exc:  # noqa: BLE001 - raised again by the thread that waits
            built.set_exception(exc)

    thread = threading.Thread(target=work, name="rtseg-build", daemon=True)
    start = told = time.monotonic()
    try:
        thread.start()
        while not wait([built], 0.1).done:
            now = time.monotonic()
            if monitor.bars is None and now - told >= QUIET:
                told = now
                logger.info("still building after %.0f s: %s", now - start, monitor.at or "starting")
    except BaseException:
        monitor.stopped.set()
        wait([built], 30)  # not for the thread, which may be between its start and being known to run
        raise
    return built.result()


def _nothing() -> None: ...
