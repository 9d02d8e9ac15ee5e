"""An engine made of NumPy, run in the order of a stream by the emulated driver: TensorRT's inference half without it.

TensorRT's own `Runtime` must never be made on the emulated driver, which has none of what it needs.
"""

from __future__ import annotations

import ctypes
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from rtseg.gpu.driver import check, driver
from rtseg.tensorrt import engine
from rtseg.tensorrt.library import trt
from tests.onnx_models import reference

Network = Callable[[NDArray[Any]], NDArray[Any]]
HOST_FUNCTION = ctypes.CFUNCTYPE(None, ctypes.c_void_p)


class FakeContext:
    """An execution context that computes `network` on the buffers it was given, when its stream gets there."""

    def __init__(self, owner: FakeEngine) -> None:
        self._owner, self._shape, self._at = owner, (0,), dict[str, int]()
        self._kept: list[Any] = []
        self.profile = 0

    def set_optimization_profile_async(self, index: int, stream: int) -> bool:
        self.profile = index
        return index < self._owner.num_optimization_profiles

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
        shape, profile, owner = self._shape, self.profile, self._owner

        def run(_: int | None) -> None:
            tensor = np.frombuffer((ctypes.c_float * int(np.prod(shape))).from_address(source), np.float32)
            answer = np.ascontiguousarray(owner.network(tensor.reshape(shape)), np.float32)
            ctypes.memmove(target, answer.ctypes.data, answer.nbytes)
            owner.runs.append((profile, shape))

        function = HOST_FUNCTION(run)
        self._kept.append(function)  # a graph calls it for as long as it is launched
        check(driver().cuLaunchHostFunc(ctypes.c_void_p(stream), function, None), "cuLaunchHostFunc")
        return True


class FakeEngine:
    """An engine with one input and one output, float32."""

    def __init__(self, names: tuple[str, str] = ("pixels", "scores"), profiles: int = 1) -> None:
        self.names, self.network = names, reference
        self.num_io_tensors, self.num_optimization_profiles = 2, profiles
        self.runs: list[tuple[int, tuple[int, ...]]] = []
        self.contexts: weakref.WeakSet[FakeContext] = weakref.WeakSet()
        """Those that are alive."""

    def get_tensor_name(self, index: int) -> str:
        return self.names[index]

    def get_tensor_mode(self, name: str) -> Any:
        return trt.TensorIOMode.INPUT if name == self.names[0] else trt.TensorIOMode.OUTPUT

    def get_tensor_dtype(self, name: str) -> Any:
        return trt.DataType.FLOAT

    def create_execution_context(self) -> FakeContext:
        context = FakeContext(self)
        self.contexts.add(context)
        return context


def install(monkeypatch: pytest.MonkeyPatch, **options: Any) -> list[FakeEngine]:
    """Put fake engines in the place of the runtime; returns those that are loaded, as they are."""
    from rtseg.backends import tensorrt

    loaded: list[FakeEngine] = []

    def deserialise(plan: bytes, *, host_code: bool = False) -> tuple[FakeEngine, str]:
        assert plan[:4]  # a real plan, which nothing here can run
        loaded.append(FakeEngine(**options))
        return loaded[-1], ""

    monkeypatch.setattr(tensorrt, "deserialise", deserialise)
    monkeypatch.setattr(engine, "deserialise", deserialise)
    return loaded
