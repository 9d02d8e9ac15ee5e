"""An engine at work: contexts, buffers and the calls of one inference, on any `Device`."""

from __future__ import annotations

import math
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


@dataclass(frozen=True, slots=True)
class _Bound:
    """What one input size needs: its context, where its tensors are, and the shape and type of the output."""

    context: trt.IExecutionContext
    input: int
    input_shape: tuple[int, ...]
    output: int
    output_shape: tuple[int, ...]
    dtype: np.dtype[Any]
    addresses: dict[str, int]


class Execution:
    """Runs one engine for the sizes of its profiles.

    Upload, network and download are queued in order on the device's one stream, so that the buffers of a size serve
    any number in flight. Buffers are made on first use of a size. Errors: BackendError.
    """

    def __init__(self, engine: trt.ICudaEngine, profiles: Sequence[Profile], spec: ModelSpec, device: Device) -> None:
        self._engine, self._profiles, self._spec, self._device = engine, tuple(profiles), spec, device
        self._contexts: dict[int, trt.IExecutionContext] = {}
        self._bound: dict[tuple[int, int], _Bound] = {}
        self._outputs = [
            engine.get_tensor_name(index)
            for index in range(engine.num_io_tensors)
            if engine.get_tensor_mode(engine.get_tensor_name(index)) == trt.TensorIOMode.OUTPUT
        ]
        if engine.num_optimization_profiles != len(self._profiles) or spec.output_name not in self._outputs:
            raise BackendError(f"the plan of {spec.name} is not what its sidecar says: build it again")
        found = np.dtype(trt.nptype(engine.get_tensor_dtype(spec.input_name))).name
        if found != spec.dtype:
            raise BackendError(f"the plan of {spec.name} takes {found}, its spec says {spec.dtype}: build it again")

    def covers(self, size: tuple[int, int]) -> bool:
        """Whether a profile serves the network size (height, width)."""
        return covering(self._profiles, size) is not None

    def bind(self, size: tuple[int, int]) -> _Bound:
        """Context and buffers for a network size, made on first use."""
        bound = self._bound.get(size)
        if bound is None:
            bound = self._bound[size] = self._make(size)
        return bound

    def start(self, bound: _Bound, tensor: NDArray[Any], out: NDArray[Any]) -> None:
        """Queue upload, network and download."""
        self._device.upload(bound.input, tensor)
        self._address(bound)
        if not bound.context.execute_async_v3(self._device.stream):
            raise BackendError(f"{FLAVOUR} failed to run {self._spec.name}: out of memory, or a plan for another GPU")
        self._device.download(out, bound.output)

    def close(self) -> None:
        """Free the buffers; what is in flight must have been waited for."""
        for bound in self._bound.values():
            for address in bound.addresses.values():
                self._device.free(address)
        self._bound.clear()
        self._contexts.clear()

    def _address(self, bound: _Bound) -> None:
        """Sizes of one profile share its context, so shape and addresses are set before each run."""
        context = bound.context
        fits = context.set_input_shape(self._spec.input_name, bound.input_shape)
        if not fits or not all(context.set_tensor_address(name, at) for name, at in bound.addresses.items()):
            raise BackendError(f"{FLAVOUR} does not accept the buffers of {self._spec.name}: build its plan again")

    def _make(self, size: tuple[int, int]) -> _Bound:
        index = covering(self._profiles, size)
        if index is None:
            raise BackendError(
                f"the plan of {self._spec.name} takes {spelt(self._profiles)}, got {size[0]}x{size[1]}: "
                "build one for that size with rtseg build"
            )
        context = self._context(index)
        shape = input_shape(self._spec, size)
        if not context.set_input_shape(self._spec.input_name, shape):
            raise BackendError(f"{FLAVOUR} does not accept an input of {size[0]}x{size[1]} for {self._spec.name}")
        shapes = {name: tuple(context.get_tensor_shape(name)) for name in self._outputs}
        unknown = [name for name, found in shapes.items() if min(found, default=0) < 0]
        if unknown:
            raise BackendError(f"output '{unknown[0]}' of {self._spec.name} has a shape that depends on the image")
        types = {name: self._type(name) for name in (self._spec.input_name, *self._outputs)}
        shapes[self._spec.input_name] = shape
        addresses = {
            name: self._device.allocate(max(1, math.prod(found) * types[name].itemsize))
            for name, found in shapes.items()
        }
        name = self._spec.output_name
        return _Bound(
            context, addresses[self._spec.input_name], shape, addresses[name], shapes[name], types[name], addresses
        )

    def _context(self, index: int) -> trt.IExecutionContext:
        context = self._contexts.get(index)
        if context is None:
            context = self._engine.create_execution_context()
            if context is None:
                raise BackendError(
                    f"{FLAVOUR} cannot start {self._spec.name} (most often the GPU's memory is full): use a smaller "
                    "--size, or end other programs on the GPU"
                )
            if index and not context.set_optimization_profile_async(index, self._device.stream):
                raise BackendError(f"{FLAVOUR} does not accept profile {index} of {self._spec.name}: build it again")
            self._contexts[index] = context
        return context

    def _type(self, name: str) -> np.dtype[Any]:
        return np.dtype(trt.nptype(self._engine.get_tensor_dtype(name)))
