"""ONNX Runtime: the portable reference. The only importer of onnxruntime."""

from __future__ import annotations

import re
from concurrent.futures import Future, wait
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from rtseg.backends._shared import WAIT_S, InFlight, Outputs, Ring, Worker, check_count, one_line
from rtseg.errors import BackendError
from rtseg.packages.shapes import input_shape, tensor_size
from rtseg.packages.spec import ModelSpec

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["OnnxRuntimeBackend", "devices", "output_shapes"]

PROVIDERS = {
    "cpu": "CPUExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "tensorrt": "TensorrtExecutionProvider",
    "openvino": "OpenVINOExecutionProvider",
    "coreml": "CoreMLExecutionProvider",
    "directml": "DmlExecutionProvider",
    "rocm": "ROCMExecutionProvider",
}
REMOTE = ("AzureExecutionProvider",)
"""Listed by every build, but calls a server."""
FATAL = 4


def devices() -> list[str]:
    """The execution providers of this build of ONNX Runtime, by the names that `device` takes."""
    short = {provider: name for name, provider in PROVIDERS.items()}
    return [short.get(name, name) for name in ort.get_available_providers() if name not in REMOTE]


def output_shapes(
    path: Path, name: str, shape: tuple[int, ...], dtype: str
) -> dict[str, tuple[int | None, ...] | None]:
    """The shape of every output for an input `name` of zeros, found by running the network; BackendError otherwise."""
    session = _session(path, ort.SessionOptions(), PROVIDERS["cpu"])
    with _one_line_errors(path.name):
        arrays = session.run(None, {name: np.zeros(shape, dtype)})
    return {output.name: array.shape for output, array in zip(session.get_outputs(), arrays, strict=True)}


def _session(path: Path, options: Any, provider: str) -> Any:
    options.log_severity_level = FATAL  # errors are raised; the log would only repeat them
    try:
        return ort.InferenceSession(str(path), options, providers=[provider])
    except Exception as exc:  # its error classes share no other base
        raise BackendError(f"onnxruntime cannot run {path}: {_explained(exc)}") from exc


class OnnxRuntimeBackend:
    """Runs an ONNX file with ONNX Runtime in a worker thread, writing into arrays that are made once.

    `device` is cpu (default), cuda, or any execution provider of the installed build. The network computes in the
    precision it was exported in, so `precision` can only confirm it. `threads` limits the CPU threads.
    Errors: BackendError for a provider that is not there or does not start, and for a model it cannot run.
    """

    name = "onnxruntime"

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
        self._pending: InFlight[Future[NDArray[Any]]] = InFlight(self.name, depth)
        self.precision = "fp16" if spec.dtype == "float16" else "fp32"
        if precision not in (None, self.precision):
            raise BackendError(f"onnxruntime runs {spec.name} in {self.precision}, as exported, not in {precision}")
        self.device, provider = _provider(device)
        options = ort.SessionOptions()
        options.intra_op_num_threads = check_count("threads", threads) or 0
        self._session = _session(path, options, provider)
        if provider not in self._session.get_providers():
            # ONNX Runtime would go on with the CPU when a provider's libraries do not load.
            raise BackendError(f"onnxruntime could not start {provider}; left: {self._session.get_providers()}")
        self._worker = Worker(self.name)
        self._ring = Ring(depth)
        self._outputs = Outputs(spec, depth)
        self._shapes: dict[tuple[int, int], tuple[tuple[int, ...], str]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def prepare(self, size: tuple[int, int]) -> None:
        """Run once for an input of (height, width) and learn the output's shape."""
        self._pending.check_open()
        tensor = np.zeros(input_shape(self.spec, size), self.spec.dtype)
        self._worker.result(self._worker.submit(partial(self._learn, size, tensor)))

    def submit(self, tensor: NDArray[Any]) -> None:
        """Queue the network on a tensor, which must stay untouched until its `collect`."""
        self._pending.check_room()
        size = tensor_size(self.spec, tensor)
        input_shape(self.spec, size)
        if size not in self._shapes:
            self.prepare(size)
        shape, dtype = self._shapes[size]
        self._pending.push(self._worker.submit(partial(self._run, tensor, self._ring.next(shape, dtype))))

    def collect(self) -> NDArray[np.float32] | NDArray[np.uint8]:
        """Wait for the oldest submitted one and return its output."""
        return self._outputs(self._worker.result(self._pending.pop()))

    def close(self) -> None:
        """Let what runs finish and drop the rest; a second time does nothing."""
        left = self._pending.close()
        self._worker.close()
        wait([future for future in left if not future.cancel()], WAIT_S)

    def _learn(self, size: tuple[int, int], tensor: NDArray[Any]) -> None:
        with _one_line_errors(self.spec.name):
            output = self._session.run([self.spec.output_name], {self.spec.input_name: tensor})[0]
        self._shapes[size] = output.shape, output.dtype.name

    def _run(self, tensor: NDArray[Any], out: NDArray[Any]) -> NDArray[Any]:
        with _one_line_errors(self.spec.name):
            binding = self._session.io_binding()
            binding.bind_input(
                self.spec.input_name, "cpu", 0, tensor.dtype.type, tensor.shape, tensor.__array_interface__["data"][0]
            )
            binding.bind_output(
                self.spec.output_name, "cpu", 0, out.dtype.type, out.shape, out.__array_interface__["data"][0]
            )
            self._session.run_with_iobinding(binding)
        return out


class _one_line_errors:  # noqa: N801 - reads as a function
    """Turns whatever ONNX Runtime raises into a BackendError."""

    def __init__(self, model: str) -> None:
        self._model = model

    def __enter__(self) -> None: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(error, Exception):
            raise BackendError(f"onnxruntime failed while running {self._model}: {one_line(error)}") from error


def _provider(device: str | None) -> tuple[str, str]:
    asked = device or "cpu"
    provider = PROVIDERS.get(asked.lower(), asked)
    if provider not in ort.get_available_providers():
        raise BackendError(f"onnxruntime has no device '{asked}' here (devices: {', '.join(devices())})")
    return asked.lower() if asked.lower() in PROVIDERS else asked, provider


def _explained(error: Exception) -> str:
    text = one_line(error)
    if opset := re.search(r"Opset (\d+) is under development", text):
        text = f"opset {opset[1]} is newer than this onnxruntime"
    if "Unsupported model IR version" in text or opset:
        text += ": upgrade onnxruntime or export with an older onnx"
    return text
