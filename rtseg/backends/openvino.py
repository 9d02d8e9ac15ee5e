"""OpenVINO: the default on CPUs. The only importer of openvino."""

from __future__ import annotations

import contextlib
import functools
from collections import OrderedDict
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from rtseg.backends._shared import WAIT_S, InFlight, Outputs, Ring, check_count, one_line
from rtseg.errors import BackendError, ConfigError, nearest
from rtseg.imports import TELEMETRY, without
from rtseg.packages.shapes import input_shape, tensor_size
from rtseg.packages.spec import ModelSpec

with without(TELEMETRY):
    import openvino as ov

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["OpenVINOBackend", "core", "devices", "output_shapes"]

PRECISIONS = {"fp32": "f32", "bf16": "bf16", "fp16": "f16"}
SPELT = {value: key for key, value in PRECISIONS.items()}
KEPT_SIZES = 4


@functools.cache
def core() -> Any:
    """The process's one `openvino.Core`.

    Each Core's CPU plugin installs a signal stack and, when freed, puts back the one it found: of two with overlapping
    lives the later leaves the main thread with freed memory for a stack, and the next Ctrl-C is a segmentation fault
    (seen with OpenVINO 2026.4, intel_cpu/src/plugin.cpp).
    """
    return ov.Core()


def devices() -> list[str]:
    """The devices OpenVINO finds here, such as CPU and GPU.0."""
    return [str(name) for name in core().available_devices]


def output_shapes(path: Path, name: str, shape: tuple[int, ...]) -> dict[str, tuple[int | None, ...] | None]:
    """The shape of every output when the input `name` has `shape`; None where it depends on the data.

    Errors: BackendError, with the operators' names where some are not supported.
    """
    model = _read(path)
    try:
        model.reshape({name: list(shape)})
    except RuntimeError as exc:
        asked = "x".join(map(str, shape))
        raise BackendError(
            f"{path} does not accept an input of {asked}: {one_line(exc)}: pass --multiple N if it takes only "
            "multiples of N, or re-export"
        ) from exc
    found: dict[str, tuple[int | None, ...] | None] = {}
    for output in model.outputs:
        partial = output.partial_shape
        known = None
        if partial.rank.is_static:
            known = tuple(dim.get_length() if dim.is_static else None for dim in partial)
        found.update(dict.fromkeys(output.get_names(), known))
    return found


def _read(path: Path) -> Any:
    try:
        return core().read_model(path)
    except RuntimeError as exc:
        text = one_line(exc)
        if "No conversion rule" in text:
            operators = text.partition("operations:")[2].strip()
            raise BackendError(
                f"OpenVINO does not support operator {operators} of {path}: re-export without it, "
                "or try --backend onnxruntime"
            ) from exc
        raise BackendError(f"OpenVINO cannot read {path}: {text}") from exc


class _Compiled:
    """The network compiled for one input size, with a request per place in flight."""

    def __init__(self, model: Any, depth: int, output_name: str) -> None:
        self.model = model
        self.output = next(index for index, out in enumerate(model.outputs) if output_name in out.get_names())
        partial = model.output(self.output).partial_shape
        self.shape = tuple(partial.to_shape()) if partial.is_static else None
        self.dtype = np.dtype(model.output(self.output).element_type.to_dtype()).name
        self.requests = [model.create_infer_request() for _ in range(depth)]
        self.turn = 0

    def next_request(self) -> Any:
        self.turn = (self.turn + 1) % len(self.requests)
        return self.requests[self.turn]


class OpenVINOBackend:
    """Runs an ONNX file with OpenVINO, asynchronously and without copying tensors in or out.

    `device` is CPU (default), GPU, GPU.1 or AUTO. `precision` is fp32, bf16 or fp16; left out, the device picks, and
    `precision` says what it picked (bf16 on CPUs that have it). `threads` limits the CPU threads. A compiled size is
    kept; the four used last stay. Errors: BackendError for a device, precision, operator or size that does not work.
    """

    name = "openvino"

    def __init__(
        self,
        path: Path,
        spec: ModelSpec,
        *,
        device: str | None = None,
        precision: str | None = None,
        threads: int | None = None,
        depth: int = 1,
    ) -> None:
        self.spec, self.depth = spec, depth
        self._pending: InFlight[tuple[Any, _Compiled, NDArray[Any] | None, NDArray[Any]]] = InFlight(self.name, depth)
        target = _device(device)
        self._target, self.device = target, target.lower()
        self._config: dict[str, Any] = {"PERFORMANCE_HINT": "LATENCY"}
        if check_count("threads", threads) is not None:
            self._config["INFERENCE_NUM_THREADS"] = threads
        self.precision = _precision(target, precision)
        if precision is not None:
            self._config["INFERENCE_PRECISION_HINT"] = PRECISIONS[precision]
        self._asked = precision
        self._model = _read(path)
        self._compiled: OrderedDict[tuple[int, int], _Compiled] = OrderedDict()
        self._ring = Ring(depth)
        self._outputs = Outputs(spec, depth)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def prepare(self, size: tuple[int, int]) -> None:
        """Compile for an input of (height, width) and run once."""
        self._pending.check_open()
        compiled = self._for(size)
        request = compiled.next_request()
        tensor = np.zeros(input_shape(self.spec, size), self.spec.dtype)
        request.set_tensor(self.spec.input_name, ov.Tensor(tensor, shared_memory=True))
        request.start_async()
        _wait(request)

    def submit(self, tensor: NDArray[Any]) -> None:
        """Start the network on a tensor, which must stay untouched until its `collect`."""
        self._pending.check_room()
        compiled = self._for(tensor_size(self.spec, tensor))
        request = compiled.next_request()
        out = None
        request.set_tensor(self.spec.input_name, ov.Tensor(tensor, shared_memory=True))
        if compiled.shape is not None:
            out = self._ring.next(compiled.shape, compiled.dtype)
            request.set_output_tensor(compiled.output, ov.Tensor(out, shared_memory=True))
        request.start_async()
        # OpenVINO holds the tensor's address, not the array: this keeps it alive until it has been read.
        self._pending.push((request, compiled, out, tensor))

    def collect(self) -> NDArray[np.float32] | NDArray[np.uint8]:
        """Wait for the oldest submitted one and return its output."""
        request, compiled, out, _ = self._pending.pop()
        _wait(request)
        if out is None:  # a shape that depends on the data: the request owns the memory
            out = np.array(request.get_output_tensor(compiled.output).data)
        return self._outputs(out)

    def close(self) -> None:
        """Wait for what runs and free the compiled networks; a second time does nothing."""
        for request, *_ in (left := self._pending.close()):  # whose tensors must live until their requests are done
            with contextlib.suppress(RuntimeError):  # the failure of a request that is never collected
                request.wait_for(int(WAIT_S * 1000))
        left.clear()
        self._compiled.clear()

    def _for(self, size: tuple[int, int]) -> _Compiled:
        compiled = self._compiled.get(size)
        if compiled is None:
            compiled = self._compile(size)
            self._compiled[size] = compiled
            # What is in flight uses at most `depth` sizes, the newest ones, so none of them is dropped.
            while len(self._compiled) > max(KEPT_SIZES, self.depth):
                self._compiled.popitem(last=False)
        self._compiled.move_to_end(size)
        return compiled

    def _compile(self, size: tuple[int, int]) -> _Compiled:
        shape = input_shape(self.spec, size)
        try:
            model = self._model.clone()
            model.reshape({self.spec.input_name: list(shape)})
            compiled = core().compile_model(model, self._target, self._config)
        except RuntimeError as exc:
            raise BackendError(
                f"OpenVINO cannot compile {self.spec.name} for {size[0]}x{size[1]} on {self._target}: {one_line(exc)}"
            ) from exc
        used = SPELT.get(compiled.get_property("INFERENCE_PRECISION_HINT").to_string())
        if self._asked is not None and used != self._asked:
            raise BackendError(f"OpenVINO on {self._target} runs in {used}, not in {self._asked} as requested")
        self.precision = used or self.precision
        devices_used = compiled.get_property("EXECUTION_DEVICES")
        self.device = "+".join(str(name).strip("()") for name in devices_used).lower() or self.device
        return _Compiled(compiled, self.depth, self.spec.output_name)


def _device(device: str | None) -> str:
    target = (device or "CPU").upper()
    found = [str(name) for name in core().available_devices]
    if target != "AUTO" and target not in found and not any(name.startswith(f"{target}.") for name in found):
        raise BackendError(f"OpenVINO has no device {target} here (devices: {', '.join([*found, 'AUTO'])})")
    return target


def _precision(target: str, precision: str | None) -> str:
    """The precision that will be used, checked against what the device can do; AUTO answers once compiled."""
    if precision is not None and precision not in PRECISIONS:
        raise ConfigError(f"unknown precision '{precision}' for openvino: {nearest(precision, PRECISIONS)}")
    if target == "AUTO":
        return precision or "auto"
    can = [name for name in PRECISIONS if name.upper() in core().get_property(target, "OPTIMIZATION_CAPABILITIES")]
    if precision is not None and precision not in can:
        raise BackendError(f"OpenVINO cannot run {precision} on {target} here (it can: {', '.join(can)})")
    default = core().get_property(target, "INFERENCE_PRECISION_HINT").to_string()
    return precision or SPELT.get(default, "fp32")


def _wait(request: Any) -> None:
    try:
        done = request.wait_for(int(WAIT_S * 1000))
    except RuntimeError as exc:
        raise BackendError(f"OpenVINO failed while running: {one_line(exc)}") from exc
    if not done:
        raise BackendError(f"openvino gave no answer within {WAIT_S:.0f} s")
