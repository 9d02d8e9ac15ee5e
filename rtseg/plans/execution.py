"""An engine at work: contexts, buffers and the calls of one inference, on any `Device`."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rtseg.backends._shared import input_shape
from rtseg.errors import BackendError
from rtseg.plans.device import Device
from rtseg.plans.library import FLAVOUR, trt
from rtseg.plans.profiles import Profile, covering, spelt
from rtseg.spec import ModelSpec

__all__ = ["Execution"]


@dataclass(slots=True)
class _Lane:
    """One profile at work: its context, device buffers for its largest size, and pinned memory for answers in turn."""

    context: trt.IExecutionContext
    addresses: dict[str, int]
    pinned: deque[NDArray[np.uint8]]


class Execution:
    """Runs one engine for the sizes of its profiles, with up to `depth` in flight.

    Upload, network and download are queued in order on the device's one stream, so that a profile's buffers serve any
    number in flight. They are made on first use of a profile, for its largest size. Errors: BackendError.
    """

    def __init__(
        self, engine: trt.ICudaEngine, profiles: Sequence[Profile], spec: ModelSpec, device: Device, depth: int = 1
    ) -> None:
        self._engine, self._profiles, self._spec, self._device = engine, tuple(profiles), spec, device
        self._ring = 2 * depth - 1
        self._lanes: dict[int, _Lane] = {}
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

    def start(self, tensor: NDArray[Any], size: tuple[int, int]) -> NDArray[Any]:
        """Queue upload, network and download; the array that will hold the output once the stream is that far."""
        index = covering(self._profiles, size)
        if index is None:
            raise BackendError(
                f"the plan of {self._spec.name} takes {spelt(self._profiles)}, got {size[0]}x{size[1]}: "
                "build one for that size with rtseg build"
            )
        lane = self._lanes.get(index)
        if lane is None:
            lane = self._lanes[index] = self._make(index)
        shape = self._shapes(lane.context, size)[self._spec.output_name]
        dtype = self._types[self._spec.output_name]
        lane.pinned.rotate(-1)
        out: NDArray[Any] = lane.pinned[-1][: math.prod(shape) * dtype.itemsize].view(dtype).reshape(shape)
        self._device.upload(lane.addresses[self._spec.input_name], tensor)
        if not lane.context.execute_async_v3(self._device.stream):
            raise BackendError(f"{FLAVOUR} failed to run {self._spec.name}: out of memory, or a plan for another GPU")
        self._device.download(out, lane.addresses[self._spec.output_name])
        return out

    def close(self) -> None:
        """Free the buffers; what is in flight must have been waited for."""
        for lane in self._lanes.values():
            for address in lane.addresses.values():
                self._device.free(address)
            for array in lane.pinned:
                self._device.unpin(array)
        self._lanes.clear()

    def _make(self, index: int) -> _Lane:
        context = self._context(index)
        shapes = self._shapes(context, self._profiles[index].largest)
        addresses = {
            name: self._device.allocate(max(1, math.prod(shape) * self._types[name].itemsize))
            for name, shape in shapes.items()
        }
        if not all(context.set_tensor_address(name, address) for name, address in addresses.items()):
            raise BackendError(f"{FLAVOUR} does not accept the buffers of {self._spec.name}: build its plan again")
        name = self._spec.output_name
        size = math.prod(shapes[name]) * self._types[name].itemsize
        return _Lane(context, addresses, deque(self._device.pinned(size) for _ in range(self._ring)))

    def _context(self, index: int) -> trt.IExecutionContext:
        context = self._engine.create_execution_context()
        if context is None:
            raise BackendError(
                f"{FLAVOUR} cannot start {self._spec.name} (most often the GPU's memory is full): use a smaller "
                "--size, or end other programs on the GPU"
            )
        if index and not context.set_optimization_profile_async(index, self._device.stream):
            raise BackendError(f"{FLAVOUR} does not accept profile {index} of {self._spec.name}: build its plan again")
        return context

    def _shapes(self, context: trt.IExecutionContext, size: tuple[int, int]) -> dict[str, tuple[int, ...]]:
        """Tell the context the input's size; the shape of every tensor at it."""
        shapes = {self._spec.input_name: input_shape(self._spec, size)}
        if not context.set_input_shape(self._spec.input_name, shapes[self._spec.input_name]):
            raise BackendError(f"{FLAVOUR} does not accept an input of {size[0]}x{size[1]} for {self._spec.name}")
        found = {name: tuple(context.get_tensor_shape(name)) for name in self._outputs}
        for name, shape in found.items():
            if min(shape, default=0) < 0:
                raise BackendError(f"output '{name}' of {self._spec.name} has a shape that depends on the image")
        return {**shapes, **found}
