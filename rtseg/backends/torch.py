"""torch: the eager reference on CPUs; fp16, channels last and CUDA graphs on NVIDIA GPUs."""

from __future__ import annotations

from collections import OrderedDict
from concurrent.futures import Future, wait
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from rtseg.backends._shared import WAIT_S, InFlight, Outputs, Worker, check_count, one_line
from rtseg.backends._torch_shared import WARM_UP_RUNS, failing
from rtseg.errors import BackendError, ConfigError, nearest
from rtseg.gpu.opening import open_gpu
from rtseg.models import build
from rtseg.packages.onnx_file import read_onnx
from rtseg.packages.shapes import input_shape, tensor_size
from rtseg.packages.spec import ModelSpec

if TYPE_CHECKING:
    from typing_extensions import Self

    from rtseg.backends._torch_device import TorchDeviceNetwork

__all__ = ["TorchBackend", "cuda_problem", "devices", "rebuild"]

PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
KEPT_SIZES = 4


def devices() -> list[str]:
    """The devices that torch can run on here, such as cpu and cuda:0."""
    return ["cpu", *(f"cuda:{index}" for index in range(torch.cuda.device_count()))]


def cuda_problem() -> str | None:
    """Why torch cannot use an NVIDIA GPU here; None if it can."""
    if torch.version.cuda is None:
        return "this torch is built without CUDA"
    return None if torch.cuda.is_available() else "torch finds no NVIDIA GPU"


class _Runner(Protocol):
    """Runs the network on one device."""

    def start(self, tensor: NDArray[Any]) -> Any: ...

    def finish(self, token: Any) -> NDArray[Any]: ...

    def close(self, tokens: list[Any]) -> None: ...


class TorchBackend:
    """Rebuilds the spec's `network`, loads the weights out of the ONNX file by name, and runs it eagerly.

    A `.pt2` file written by `torch.export.save` runs too. `device` is cpu (default), cuda or cuda:N. `precision` is
    fp32, bf16 or fp16; the default is fp32 on a CPU and fp16 on a GPU. `threads` limits this backend's CPU threads.
    Errors: BackendError for a model that names no network, weights that do not fit, and a device that is not there.
    """

    name = "torch"

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
        self._pending: InFlight[Any] = InFlight(self.name, depth)
        check_count("threads", threads)
        place = _device(device)
        self.device = str(place)
        self.precision = precision or ("fp16" if place.type == "cuda" else "fp32")
        if self.precision not in PRECISIONS:
            raise ConfigError(f"unknown precision '{precision}' for torch: {nearest(self.precision, PRECISIONS)}")
        dtype = PRECISIONS[self.precision]
        exported = path.suffix == ".pt2"
        network = _load_exported(path) if exported else rebuild(path, spec)
        with failing(place):
            network = network.to(device=place, dtype=dtype, memory_format=torch.channels_last)  # type: ignore[call-overload]
        forward = _Forward(network, spec.layout == "NHWC" and not exported, dtype)
        self._runner: _Runner = (
            _CudaRunner(forward, place, depth) if place.type == "cuda" else _CpuRunner(forward, threads)
        )
        self._outputs = Outputs(spec, depth)
        self._network, self._place, self._dtype = network, place, dtype
        self._nhwc = exported and spec.layout == "NHWC"
        self._device_network: TorchDeviceNetwork | None = None

    @property
    def device_network(self) -> TorchDeviceNetwork | None:
        """The network on the GPU's own tensors; None on a CPU. Errors: MissingExtra without PyCUDA."""
        if self._device_network is None and self._place.type == "cuda":
            gpu = open_gpu(self.device)
            from rtseg.backends._torch_device import TorchDeviceNetwork

            self._device_network = TorchDeviceNetwork(self._network, self.spec, gpu, self._dtype, nhwc=self._nhwc)
        return self._device_network

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def prepare(self, size: tuple[int, int]) -> None:
        """Run once for an input of (height, width); on a GPU this captures its CUDA graph."""
        self._pending.check_open()
        tensor = np.zeros(input_shape(self.spec, size), self.spec.dtype)
        self._runner.finish(self._runner.start(tensor))

    def submit(self, tensor: NDArray[Any]) -> None:
        """Start the network on a tensor, which must stay untouched until its `collect`."""
        self._pending.check_room()
        input_shape(self.spec, tensor_size(self.spec, tensor))
        self._pending.push(self._runner.start(tensor))

    def collect(self) -> NDArray[np.float32] | NDArray[np.uint8]:
        """Wait for the oldest submitted one and return its output."""
        return self._outputs(self._runner.finish(self._pending.pop()))

    def close(self) -> None:
        """Let what runs finish and drop the rest; a second time does nothing."""
        if not self._pending.closed:
            self._runner.close(self._pending.close())
            if self._device_network is not None:
                self._device_network.gpu.close()
                self._device_network = None


class _Forward:
    """The network as a function of the spec's tensor: converted, channels last, in eval mode without gradients."""

    def __init__(self, network: nn.Module, to_nchw: bool, dtype: torch.dtype) -> None:
        self._network, self._to_nchw, self._dtype = network, to_nchw, dtype

    def __call__(self, tensor: Tensor) -> Tensor:
        with torch.inference_mode():
            if self._to_nchw:
                tensor = tensor.permute(0, 3, 1, 2)
            tensor = tensor.to(self._dtype).contiguous(memory_format=torch.channels_last)
            output = self._network(tensor)
            output = output[0] if isinstance(output, (tuple, list)) else output
            # Half precision ends here: the kernels read float32.
            result: Tensor = output.float() if output.is_floating_point() else output
            return result.contiguous()


class _CpuRunner:
    """Eager torch in a worker thread."""

    def __init__(self, forward: _Forward, threads: int | None) -> None:
        self._forward = forward
        # The number of threads belongs to the thread that calls torch, so it is set there.
        start = partial(torch.set_num_threads, threads) if threads else None
        self._worker = Worker("torch", start)

    def start(self, tensor: NDArray[Any]) -> Future[NDArray[Any]]:
        return self._worker.submit(partial(self._run, tensor))

    def finish(self, token: Future[NDArray[Any]]) -> NDArray[Any]:
        return self._worker.result(token)

    def close(self, tokens: list[Future[NDArray[Any]]]) -> None:
        self._worker.close()
        wait([token for token in tokens if not token.cancel()], WAIT_S)

    def _run(self, tensor: NDArray[Any]) -> NDArray[Any]:
        try:
            output: NDArray[Any] = self._forward(torch.from_numpy(tensor)).numpy()
        except RuntimeError as exc:
            raise BackendError(f"torch failed while running: {one_line(exc)}") from exc
        return output


class _Graph:
    """The network captured as a CUDA graph for one input shape, with the buffers it reads and writes."""

    def __init__(self, forward: _Forward, shape: tuple[int, ...], dtype: torch.dtype, place: torch.device) -> None:
        self.input = torch.zeros(shape, dtype=dtype, device=place)
        for _ in range(WARM_UP_RUNS):
            forward(self.input)
        torch.cuda.current_stream(place).synchronize()
        self._graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self._graph, stream=torch.cuda.current_stream(place)):
            self.output = forward(self.input)

    def replay(self) -> None:
        self._graph.replay()


class _CudaRunner:
    """CUDA graphs on a stream of their own; pinned memory on the way out.

    Copy in, replay and copy out are queued on one stream, so the buffers of a graph serve any number in flight.
    """

    def __init__(self, forward: _Forward, place: torch.device, depth: int) -> None:
        self._forward, self._place = forward, place
        self._stream = torch.cuda.Stream(place)  # type: ignore[no-untyped-call]
        self._graphs: OrderedDict[tuple[int, ...], _Graph] = OrderedDict()
        self._pinned: list[Tensor | None] = [None] * (2 * depth - 1)
        self._turn = 0

    def start(self, tensor: NDArray[Any]) -> tuple[torch.cuda.Event, Tensor]:
        with failing(self._place), torch.cuda.device(self._place), torch.cuda.stream(self._stream):
            host = torch.from_numpy(tensor)
            graph = self._graph(tuple(host.shape), host.dtype)
            graph.input.copy_(host, non_blocking=True)
            graph.replay()
            out = self._next_pinned(graph.output)
            out.copy_(graph.output, non_blocking=True)
            done = torch.cuda.Event()  # type: ignore[no-untyped-call]
            done.record(self._stream)
        return done, out

    def finish(self, token: tuple[torch.cuda.Event, Tensor]) -> NDArray[Any]:
        done, out = token
        with failing(self._place):
            done.synchronize()
        array: NDArray[Any] = out.numpy()
        return array

    def close(self, tokens: list[tuple[torch.cuda.Event, Tensor]]) -> None:
        if tokens:
            with failing(self._place):
                tokens[-1][0].synchronize()
        self._graphs.clear()
        self._pinned.clear()

    def _graph(self, shape: tuple[int, ...], dtype: torch.dtype) -> _Graph:
        graph = self._graphs.get(shape)
        if graph is None:
            self._stream.synchronize()  # nothing may be replaying while another graph is recorded or dropped
            graph = self._graphs[shape] = _Graph(self._forward, shape, dtype, self._place)
            while len(self._graphs) > KEPT_SIZES:
                self._graphs.popitem(last=False)
        self._graphs.move_to_end(shape)
        return graph

    def _next_pinned(self, like: Tensor) -> Tensor:
        self._turn = (self._turn + 1) % len(self._pinned)
        out = self._pinned[self._turn]
        if out is None or out.shape != like.shape:
            out = torch.empty(like.shape, dtype=like.dtype, pin_memory=True)
            self._pinned[self._turn] = out
        return out


def _device(device: str | None) -> torch.device:
    try:
        place = torch.device((device or "cpu").lower())
    except RuntimeError as exc:
        raise BackendError(f"torch has no device '{device}' (devices: {', '.join(devices())})") from exc
    if place.type == "cuda":
        problem = cuda_problem()
        if problem is not None:
            raise BackendError(f"device '{device}': {problem} (devices: {', '.join(devices())})")
    if place.type not in ("cpu", "cuda") or (place.index or 0) >= max(1, torch.cuda.device_count()):
        raise BackendError(f"torch has no device '{device}' here (devices: {', '.join(devices())})")
    return place


def _load_exported(path: Path) -> nn.Module:
    try:
        module: nn.Module = torch.export.load(path).module()
    except Exception as exc:
        raise BackendError(f"torch cannot load {path}: {one_line(exc)}") from exc
    return module


def rebuild(path: Path, spec: ModelSpec) -> nn.Module:
    """The spec's network with the weights of the ONNX file, in eval mode; BackendError where they do not fit."""
    if spec.network is None:
        raise BackendError(
            f"model {spec.name} names no network of rtseg, so torch cannot rebuild it: "
            "run it with --backend openvino or onnxruntime"
        )
    if spec.dtype == "uint8" or spec.output_kind != "logits" or spec.output_layout != "NCHW":
        raise BackendError(
            f"model {spec.name} does more in its ONNX file than network {spec.network} does "
            f"({spec.dtype} input, {spec.output_kind} as {spec.output_layout}): run it with --backend openvino"
        )
    network: nn.Module = build(spec.network, len(spec.classes))
    stored = {weight.name: weight for weight in read_onnx(path).weights}
    state = network.state_dict()
    for name, target in state.items():
        if name.endswith("num_batches_tracked"):  # counts training steps; no part of inference
            continue
        if name not in stored:
            raise BackendError(
                f"{path} holds no weight '{name}' of network {spec.network}: export it with rtseg export, "
                "or run it with --backend openvino"
            )
        if stored[name].dims != tuple(target.shape):
            raise BackendError(
                f"{path}: weight '{name}' is {stored[name].dims}, network {spec.network} needs {tuple(target.shape)}"
            )
        state[name] = torch.from_numpy(np.array(stored[name].array(path.parent)))
    network.load_state_dict(state)
    return network.eval()
