"""TensorRT 10.3 to 11 and TensorRT-RTX, on NVIDIA GPUs: plans are found beside the model, or built at first use."""

from __future__ import annotations

import logging
import math
from collections import OrderedDict, deque
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from rtseg import registry
from rtseg.backends._shared import InFlight, Outputs, check_count
from rtseg.errors import BackendError
from rtseg.gpu.driver import gpu, gpus
from rtseg.gpu.opening import open_gpu
from rtseg.packages.shapes import input_shape, tensor_size
from rtseg.packages.spec import ModelSpec
from rtseg.tensorrt import cache
from rtseg.tensorrt import find as plans
from rtseg.tensorrt.engine import NotLoaded, deserialise
from rtseg.tensorrt.execution import Execution, PlanExecutionContext
from rtseg.tensorrt.library import FLAVOUR
from rtseg.tensorrt.profiles import Profile

if TYPE_CHECKING:
    from typing_extensions import Self

    from rtseg.gpu.cuda import Arena, Event, Stream

__all__ = ["TensorRTBackend", "devices"]

logger = logging.getLogger(__name__)

KEPT_SIZES = 4


@dataclass(slots=True, eq=False)
class _Hosted:
    """An execution context whose outputs go to pinned arrays in turn, with an event each."""

    execution_context: PlanExecutionContext
    arena: Arena
    answers: deque[tuple[NDArray[Any], Event]]


def devices() -> list[str]:
    """The GPUs that the NVIDIA driver shows, as cuda:N; BackendError without a working driver."""
    return [f"cuda:{each.index}" for each in gpus()]


class TensorRTBackend:
    """Runs a plan of an ONNX file, or a `.plan` file itself, on an NVIDIA GPU.

    `device` is cuda (default) or cuda:N. `precision` is fp16 (default), fp32 or int8; a quantized model is int8. A plan
    that serves the requested size is taken from the model's folder; where there is none, one is built, which takes from
    seconds to minutes and is logged. `threads` has no effect. Errors: BackendError without a driver, for a plan that
    cannot be trusted or loaded, and for sizes that a `.plan` does not serve; MissingExtra without what building needs.
    """

    name = "tensorrt"

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
        self.spec, self.depth, self._path = spec, depth, path
        self._pending: InFlight[tuple[Event, NDArray[Any]]] = InFlight(self.name, depth)
        check_count("threads", threads)
        if precision == "bf16":
            raise BackendError("tensorrt plans are in fp16, fp32 or int8, not in bf16")
        gpu(device)  # before the first call of TensorRT
        self._plan = path if path.suffix == ".plan" else None
        if self._plan is not None:
            self.precision = cache.read_sidecar(self._plan).identity.precision
            if precision not in (None, self.precision):
                raise BackendError(f"{path} is a plan in {self.precision}, not in {precision}: build one in that")
        else:
            registry.require("onnx", "building a TensorRT plan", "tensorrt")
            registry.require("onnxruntime", "checking a TensorRT plan", "tensorrt")
            self.precision = plans.precision_of(path, precision)
        self._asked = precision
        self.gpu = open_gpu(device)
        self.device = self.gpu.name
        self._stream: Stream | None = self.gpu.stream()
        self._loaded: list[Execution] = []
        self._hosted: OrderedDict[tuple[int, int], _Hosted] = OrderedDict()
        self._outputs = Outputs(spec, depth)

    @property
    def device_network(self) -> TensorRTBackend:
        """Itself, as `rtseg.gpu.network.DeviceNetwork`."""
        return self

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def prepare(self, size: tuple[int, int]) -> None:
        """Load or build the plan for an input of (height, width) and run it once."""
        self._pending.check_open()
        input_shape(self.spec, size)
        self._host(size)

    def submit(self, tensor: NDArray[Any]) -> None:
        """Queue the network on a tensor, which must stay untouched until its `collect`."""
        self._pending.check_room()
        size = tensor_size(self.spec, tensor)
        input_shape(self.spec, size)
        hosted, stream = self._host(size), self._own_stream()
        hosted.answers.rotate(-1)
        answer, done = hosted.answers[-1]
        self.gpu.copy_in(hosted.execution_context.input, tensor, stream)
        self.gpu.copy_out(answer, hosted.execution_context.enqueue(), stream)
        self._pending.push((done.record(stream.handle), answer))

    def collect(self) -> NDArray[np.float32] | NDArray[np.uint8]:
        """Wait for the oldest submitted one and return its output."""
        done, answer = self._pending.pop()
        done.wait()
        return self._outputs(answer)

    def execution_context(self, size: tuple[int, int], stream: Stream) -> PlanExecutionContext:
        """The network on the GPU's tensors at an input of (height, width), by a plan that is found or built."""
        self._pending.check_open()
        input_shape(self.spec, size)
        self.gpu.activate()
        return self._for(size).execution_context(size, stream)

    def close(self) -> None:
        """Wait for what runs and free the GPU's memory; a second time does nothing."""
        if self._pending.closed:
            return
        self._pending.close()
        self.gpu.activate()
        self._own_stream().synchronize()
        for hosted in self._hosted.values():
            self._drop(hosted)
        self._hosted.clear()
        self._loaded.clear()
        self._stream = None
        self.gpu.close()

    def _own_stream(self) -> Stream:
        assert self._stream is not None
        return self._stream

    def _host(self, size: tuple[int, int]) -> _Hosted:
        """The execution context for the host's tensors of a size, one of the KEPT_SIZES used last."""
        hosted = self._hosted.get(size)
        if hosted is None:
            stream = self._own_stream()
            execution_context = self.execution_context(size, stream)
            count, nbytes = 2 * self.depth - 1, math.prod(execution_context.whole) * execution_context.dtype.itemsize
            try:
                arena = self.gpu.arena({}, {f"answer{index}": nbytes for index in range(count)})
            except BaseException:
                execution_context.close()
                raise
            arrays = (
                arena.host(f"answer{index}", execution_context.whole, execution_context.dtype) for index in range(count)
            )
            hosted = _Hosted(execution_context, arena, deque((array, self.gpu.event()) for array in arrays))
            self._hosted[size] = hosted
            while len(self._hosted) > max(KEPT_SIZES, self.depth):
                stream.synchronize()  # nothing of it may be running
                self._drop(self._hosted.popitem(last=False)[1])
        self._hosted.move_to_end(size)
        return hosted

    def _drop(self, hosted: _Hosted) -> None:
        hosted.execution_context.close()
        for _, event in hosted.answers:
            event.close()
        self.gpu.release(hosted.arena)

    def _for(self, size: tuple[int, int]) -> Execution:
        """The loaded plan that serves a size, or the one that now is."""
        found = next((execution for execution in self._loaded if execution.covers(size)), None)
        if found is None:
            found = self._load(size)
            if found not in self._loaded:
                self._loaded.append(found)
        return found

    def _load(self, size: tuple[int, int]) -> Execution:
        if self._plan is not None:
            if self._loaded:
                return self._loaded[0]  # which says what sizes it takes
            data, sidecar = cache.read_plan(self._plan, explicit=True)
            engine, reason = self._deserialise(data, sidecar)
            if engine is None:
                raise NotLoaded(f"{self._plan} does not load on {self.device} with {FLAVOUR}: {reason}")
            return Execution(engine, sidecar.ranges, self.spec, self.gpu)
        profiles = (Profile.fixed(size),)
        built = plans.find(self._path, self.spec, size, precision=self._asked, device=self.device)
        if built is None:
            built = self._build(profiles)
        engine, reason = self._deserialise(built.data, built.sidecar)
        if engine is None and not built.fresh:
            why = f"{FLAVOUR} does not load it on {self.device}: {reason}"
            built = self._build(profiles, rebuild=why)
            engine, reason = self._deserialise(built.data, built.sidecar)
        if engine is None:
            raise NotLoaded(f"{built.path} does not load on {self.device} with {FLAVOUR}: {reason}")
        return Execution(engine, built.sidecar.ranges, self.spec, self.gpu)

    def _build(self, profiles: tuple[Profile, ...], rebuild: str | None = None) -> plans.Built:
        # The builder compares labels on other backends, so it stands above them and is loaded by name.
        build = registry.load(registry.BUILDERS, self.name, "plan builder")
        built: plans.Built = build(
            self._path, self.spec, profiles, precision=self._asked, device=self.device, rebuild=rebuild
        )
        return built

    def _deserialise(self, data: bytes, sidecar: cache.Sidecar) -> tuple[Any, str]:
        self.gpu.activate()  # the builder may have left another context
        return deserialise(data, host_code=bool(sidecar.identity.options.get("version_compatible")))
