"""An engine at work on the GPU: contexts, buffers and the calls of one inference."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

import numpy as np

from rtseg.errors import BackendError
from rtseg.packages.shapes import answer_shape, input_shape
from rtseg.packages.spec import ModelSpec
from rtseg.tensorrt.library import FLAVOUR, trt
from rtseg.tensorrt.profiles import Profile, covering, spelt

if TYPE_CHECKING:
    from rtseg.gpu.cuda import Device, Graph, Memory, Stream

__all__ = ["Execution", "PlanExecutionContext"]


class Execution:
    """Makes the execution contexts of one engine: each runs it at one size on one stream. Errors: BackendError."""

    def __init__(self, engine: trt.ICudaEngine, profiles: Sequence[Profile], spec: ModelSpec, gpu: Device) -> None:
        self._engine, self._profiles, self._spec, self._gpu = engine, tuple(profiles), spec, gpu
        self._outputs = [
            engine.get_tensor_name(index)
            for index in range(engine.num_io_tensors)
            if engine.get_tensor_mode(engine.get_tensor_name(index)) == trt.TensorIOMode.OUTPUT
        ]
        if engine.num_optimization_profiles != len(self._profiles) or spec.output_name not in self._outputs:
            raise BackendError(f"the plan of {spec.name} is not what its sidecar says: build it again")
        self._types = {
            name: np.dtype(trt.nptype(engine.get_tensor_dtype(name))) for name in (spec.input_name, *self._outputs)
        }
        found = self._types[spec.input_name].name
        if found != spec.dtype:
            raise BackendError(f"the plan of {spec.name} takes {found}, its spec says {spec.dtype}: build it again")

    def covers(self, size: tuple[int, int]) -> bool:
        """Whether a profile serves the network size (height, width)."""
        return covering(self._profiles, size) is not None

    def execution_context(self, size: tuple[int, int], stream: Stream) -> PlanExecutionContext:
        """The engine at an input of (height, width), run once, so that nothing is left to set up."""
        index = covering(self._profiles, size)
        if index is None:
            raise BackendError(
                f"the plan of {self._spec.name} takes {spelt(self._profiles)}, got {size[0]}x{size[1]}: "
                "build one for that size with rtseg build"
            )
        context = self._context(index, stream)
        shapes = self._shapes(context, size)
        memories: dict[str, Memory] = {}
        execution_context = PlanExecutionContext(self._gpu, self._spec, context, memories, stream)
        try:
            for name, shape in shapes.items():
                memories[name] = self._gpu.empty(max(1, math.prod(shape) * self._types[name].itemsize))
                if not context.set_tensor_address(name, memories[name].address):
                    raise BackendError(
                        f"{FLAVOUR} does not accept the buffers of {self._spec.name}: build its plan again"
                    )
            execution_context.ready(shapes[self._spec.output_name], self._types[self._spec.output_name])
        except BaseException:
            execution_context.close()
            raise
        return execution_context

    def _context(self, index: int, stream: Stream) -> trt.IExecutionContext:
        context = self._engine.create_execution_context()
        if context is None:
            raise BackendError(
                f"{FLAVOUR} cannot start {self._spec.name} (most often the GPU's memory is full): use a smaller "
                "--size, or end other programs on the GPU"
            )
        if index and not context.set_optimization_profile_async(index, stream.handle):
            raise BackendError(f"{FLAVOUR} does not accept profile {index} of {self._spec.name}: build its plan again")
        return context

    def _shapes(self, context: trt.IExecutionContext, size: tuple[int, int]) -> dict[str, tuple[int, ...]]:
        """Tell the context the input's size; the shape of every tensor at it."""
        shapes: dict[str, tuple[int, ...]] = {self._spec.input_name: input_shape(self._spec, size)}
        if not context.set_input_shape(self._spec.input_name, shapes[self._spec.input_name]):
            raise BackendError(f"{FLAVOUR} does not accept an input of {size[0]}x{size[1]} for {self._spec.name}")
        found = {name: tuple(context.get_tensor_shape(name)) for name in self._outputs}
        for name, shape in found.items():
            if min(shape, default=0) < 0:
                raise BackendError(f"output '{name}' of {self._spec.name} has a shape that depends on the image")
        return {**shapes, **found}


class PlanExecutionContext:
    """TensorRT's execution context with its buffers. `whole` is the output's shape as it is."""

    def __init__(
        self,
        gpu: Device,
        spec: ModelSpec,
        context: trt.IExecutionContext,
        memories: dict[str, Memory],
        stream: Stream,
    ) -> None:
        self.takes, self._gpu, self._memories, self._stream = spec, gpu, memories, stream
        self._context: trt.IExecutionContext | None = context
        self.input = 0
        self.whole: tuple[int, ...] = ()
        self.shape: tuple[int, ...] = ()
        self.dtype: np.dtype[Any] = np.dtype(np.float32)

    def ready(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
        """Note the output's shape, and run once: TensorRT sets up what a capture must not."""
        self.input, self.whole, self.dtype = self._memories[self.takes.input_name].address, shape, dtype
        self.shape = answer_shape(self.takes, shape)
        self.enqueue()
        self._stream.synchronize()

    def enqueue(self) -> int:
        """Queue the network on the context's stream; the address of its output."""
        assert self._context is not None
        if not self._context.execute_async_v3(self._stream.handle):
            raise BackendError(f"{FLAVOUR} failed to run {self.takes.name}: out of memory, or a plan for another GPU")
        return self._memories[self.takes.output_name].address

    def capture(self) -> AbstractContextManager[Graph]:
        """Record what is queued on the context's stream."""
        return self._gpu.capture(self._stream)

    def close(self) -> None:
        """Give the context and the buffers back; what runs must have been waited for."""
        self._context = None  # TensorRT must free its own memory before the device's context ends
        for memory in self._memories.values():
            memory.free()
        self._memories.clear()
