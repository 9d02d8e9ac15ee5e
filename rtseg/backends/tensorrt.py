"""TensorRT 10.3 to 11 and TensorRT-RTX, on NVIDIA GPUs: plans are found beside the model, or built at first use."""

from __future__ import annotations

import logging
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from rtseg import registry
from rtseg.backends._shared import InFlight, Outputs, check_count, input_shape, tensor_size
from rtseg.errors import BackendError
from rtseg.plans import build as plans
from rtseg.plans import cache
from rtseg.plans.device import CudaDevice, Device
from rtseg.plans.driver import gpu, gpus
from rtseg.plans.engine import NotLoaded, deserialise
from rtseg.plans.execution import Execution
from rtseg.plans.library import FLAVOUR
from rtseg.plans.profiles import Profile
from rtseg.spec import ModelSpec

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["TensorRTBackend", "devices"]

logger = logging.getLogger(__name__)

KEPT_PLANS = 4


def devices() -> list[str]:
    """The GPUs that the NVIDIA driver shows, as cuda:N; BackendError without a working driver."""
    return [f"cuda:{each.index}" for each in gpus()]


class TensorRTBackend:
    """Runs a plan of an ONNX file, or a `.plan` file itself, on an NVIDIA GPU.

    `device` is cuda (default) or cuda:N. `precision` is fp16 (default), fp32 or int8; a quantised model is int8. A plan
    that serves the asked size is taken from the model's folder; where there is none, one is built, which takes from
    seconds to minutes and is said. `threads` means nothing here. Errors: BackendError without a driver, for a plan that
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
        self._pending: InFlight[tuple[Any, NDArray[Any]]] = InFlight(self.name, depth)
        check_count("threads", threads)
        if precision == "bf16":
            raise BackendError("tensorrt plans are in fp16, fp32 or int8, not in bf16")
        gpu(device)  # before TensorRT is asked for anything
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
        self._gpu: Device = CudaDevice(device)
        self.device = self._gpu.name
        self._loaded: list[Execution] = []
        self._outputs = Outputs(spec, depth)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def prepare(self, size: tuple[int, int]) -> None:
        """Load or build the plan for an input of (height, width) and run it once."""
        self._pending.check_open()
        tensor = np.zeros(input_shape(self.spec, size), self.spec.dtype)
        done, _ = self._start(size, tensor)
        self._gpu.wait(done)

    def submit(self, tensor: NDArray[Any]) -> None:
        """Queue the network on a tensor, which must stay untouched until its `collect`."""
        self._pending.check_room()
        size = tensor_size(self.spec, tensor)
        input_shape(self.spec, size)
        self._pending.push(self._start(size, tensor))

    def collect(self) -> NDArray[np.float32] | NDArray[np.uint8]:
        """Wait for the oldest submitted one and return its output."""
        done, out = self._pending.pop()
        self._gpu.activate()
        self._gpu.wait(done)
        return self._outputs(out)

    def close(self) -> None:
        """Wait for what runs and free the GPU's memory; a second time does nothing."""
        if self._pending.closed:
            return
        self._gpu.activate()
        for done, _ in self._pending.close():
            self._gpu.wait(done)
        for execution in self._loaded:
            execution.close()
        self._loaded.clear()
        self._gpu.close()

    def _start(self, size: tuple[int, int], tensor: NDArray[Any]) -> tuple[Any, NDArray[Any]]:
        self._gpu.activate()
        out = self._for(size).start(tensor, size)
        return self._gpu.record(), out

    def _for(self, size: tuple[int, int]) -> Execution:
        """The loaded plan that serves a size, the one used last first."""
        for position, execution in enumerate(self._loaded):
            if execution.covers(size):
                if position:
                    self._loaded.insert(0, self._loaded.pop(position))
                return execution
        execution = self._load(size)
        if execution not in self._loaded:
            self._loaded.insert(0, execution)
        while len(self._loaded) > max(KEPT_PLANS, self.depth):
            self._gpu.wait(self._gpu.record())  # nothing of it may be running
            self._loaded.pop().close()
        return execution

    def _load(self, size: tuple[int, int]) -> Execution:
        if self._plan is not None:
            if self._loaded:
                return self._loaded[0]  # which says what sizes it takes
            data, sidecar = cache.read_plan(self._plan, explicit=True)
            engine, reason = deserialise(data, host_code=bool(sidecar.identity.options.get("version_compatible")))
            if engine is None:
                raise NotLoaded(f"{self._plan} does not load on {self.device} with {FLAVOUR}: {reason}")
            return Execution(engine, sidecar.ranges, self.spec, self._gpu, self.depth)
        profiles = (Profile.fixed(size),)
        built = plans.find(self._path, self.spec, size, precision=self._asked, device=self.device)
        if built is None:
            built = plans.build(self._path, self.spec, profiles, precision=self._asked, device=self.device)
        engine, reason = self._deserialise(built)
        if engine is None and not built.fresh:
            why = f"{FLAVOUR} does not load it on {self.device}: {reason}"
            built = plans.build(self._path, self.spec, profiles, precision=self._asked, device=self.device, rebuild=why)
            engine, reason = self._deserialise(built)
        if engine is None:
            raise NotLoaded(f"{built.path} does not load on {self.device} with {FLAVOUR}: {reason}")
        return Execution(engine, built.sidecar.ranges, self.spec, self._gpu, self.depth)

    def _deserialise(self, built: plans.Built) -> tuple[Any, str]:
        self._gpu.activate()  # the builder may have left another context
        trusted = bool(built.sidecar.identity.options.get("version_compatible"))
        return deserialise(built.data, host_code=trusted)
