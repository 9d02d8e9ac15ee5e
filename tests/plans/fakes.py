"""A GPU made of host memory and an engine made of NumPy: the inference half of TensorRT without a driver."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from rtseg.plans import build, engine, make
from rtseg.plans.driver import Gpu
from rtseg.plans.library import trt
from tests.onnx_models import reference

Network = Callable[[NDArray[Any]], NDArray[Any]]
GPU = Gpu(0, "NVIDIA GeForce RTX 4090", (8, 9))


class HostDevice:
    """Runs at once what a GPU would queue; counts what is allocated."""

    def __init__(self, device: str | None = None) -> None:
        self.name, self.stream = "cuda:0", 7
        self.memory: dict[int, NDArray[np.uint8]] = {}
        self.allocations = 0
        self.closed = False

    def __enter__(self) -> HostDevice:
        return self

    def __exit__(self, *error: Any) -> None:
        self.close()

    def activate(self) -> None:
        assert not self.closed

    def allocate(self, size: int) -> int:
        array = np.full(size, 0xA5, np.uint8)
        self.memory[array.ctypes.data] = array
        self.allocations += 1
        return array.ctypes.data

    def free(self, address: int) -> None:
        del self.memory[address]

    def pinned(self, size: int) -> NDArray[np.uint8]:
        self.allocations += 1
        array = np.empty(size, np.uint8)
        self.memory[array.ctypes.data] = array
        return array

    def unpin(self, array: NDArray[np.uint8]) -> None:
        del self.memory[array.ctypes.data]

    def upload(self, address: int, array: NDArray[Any]) -> None:
        assert array.nbytes <= self.memory[address].nbytes
        ctypes.memmove(address, array.ctypes.data, array.nbytes)

    def download(self, array: NDArray[Any], address: int) -> None:
        assert array.nbytes <= self.memory[address].nbytes
        ctypes.memmove(array.ctypes.data, address, array.nbytes)

    def record(self) -> str:
        return "event"

    def wait(self, event: Any) -> None:
        assert event == "event"

    def close(self) -> None:
        assert not self.memory, "an execution left its buffers behind"
        self.closed = True


class FakeContext:
    """An execution context that computes `network` on the buffers it was given."""

    def __init__(self, owner: FakeEngine) -> None:
        self._owner, self._shape, self._at = owner, (0,), dict[str, int]()
        self.profile = 0

    def set_optimization_profile_async(self, index: int, stream: int) -> bool:
        self.profile = index
        return stream == 7 and index < self._owner.num_optimization_profiles

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        self._shape = shape
        return name == self._owner.names[0]

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return (1, *self._owner.network(np.zeros(self._shape, np.float32)).shape)

    def set_tensor_address(self, name: str, address: int) -> bool:
        self._at[name] = address
        return name in self._owner.names

    def execute_async_v3(self, stream: int) -> bool:
        source, target = (self._at[name] for name in self._owner.names)
        size = int(np.prod(self._shape))
        tensor = np.frombuffer((ctypes.c_float * size).from_address(source), np.float32).reshape(self._shape)
        answer = self._owner.network(tensor).astype(np.float32)
        ctypes.memmove(target, np.ascontiguousarray(answer).ctypes.data, answer.nbytes)
        self._owner.runs.append((self.profile, self._shape))
        return stream == 7


class FakeEngine:
    """An engine with one input and one output, float32."""

    def __init__(self, names: tuple[str, str] = ("pixels", "scores"), profiles: int = 1) -> None:
        self.names, self.network = names, reference
        self.num_io_tensors, self.num_optimization_profiles = 2, profiles
        self.runs: list[tuple[int, tuple[int, ...]]] = []

    def get_tensor_name(self, index: int) -> str:
        return self.names[index]

    def get_tensor_mode(self, name: str) -> Any:
        return trt.TensorIOMode.INPUT if name == self.names[0] else trt.TensorIOMode.OUTPUT

    def get_tensor_dtype(self, name: str) -> Any:
        return trt.DataType.FLOAT

    def create_execution_context(self) -> FakeContext:
        return FakeContext(self)


def install(monkeypatch: pytest.MonkeyPatch, **options: Any) -> list[FakeEngine]:
    """Put the fakes in the place of driver, device and runtime; returns the engines that are loaded, as they are."""
    from rtseg.backends import tensorrt

    loaded: list[FakeEngine] = []

    def deserialise(plan: bytes, *, host_code: bool = False) -> tuple[FakeEngine, str]:
        assert plan[:4]  # a real plan, which nothing here can run
        loaded.append(FakeEngine(**options))
        return loaded[-1], ""

    def gpu(device: str | None = None) -> Gpu:
        from rtseg.errors import BackendError

        if device not in (None, "cuda", "cuda:0"):
            raise BackendError(f"TensorRT has no device '{device}' here (devices: cuda:0)")
        return GPU

    monkeypatch.setattr(tensorrt, "gpu", gpu)
    monkeypatch.setattr(tensorrt, "CudaDevice", HostDevice)
    monkeypatch.setattr(tensorrt, "deserialise", deserialise)
    for module in (build, make):
        monkeypatch.setattr(module, "gpu", gpu)
    monkeypatch.setattr(engine, "deserialise", deserialise)
    return loaded
