"""Arrays on the GPU, handed from one library to another without a copy: the CUDA array interface."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from numpy.typing import DTypeLike

from rtseg.errors import BackendError

__all__ = ["DeviceArray", "device_array"]


class Handle(Protocol):
    """A stream; `handle` is the driver's CUstream."""

    handle: int


class DeviceArray:
    """An array on the device, handed to torch or CuPy without a copy by the CUDA array interface (version 3).

    `torch.as_tensor(array, device="cuda")` reads and writes the very memory, which `owner` keeps alive; `stream` is the
    one on which it is produced, which the consumer waits for.
    """

    def __init__(
        self,
        address: int,
        shape: tuple[int, ...],
        dtype: DTypeLike,
        owner: Any = None,
        stream: Handle | None = None,
        strides: tuple[int, ...] | None = None,
    ) -> None:
        self.address, self.shape, self.dtype, self.owner = address, shape, np.dtype(dtype), owner
        self.strides, self._stream = strides, stream

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        return {
            "shape": self.shape,
            "typestr": self.dtype.str,
            "data": (self.address, False),
            "strides": self.strides,
            "stream": None if self._stream is None else self._stream.handle,
            "version": 3,
        }


def device_array(source: Any) -> DeviceArray:
    """The memory of a torch tensor on CUDA, or of any other holder of the CUDA array interface, without a copy.

    The producer's pending work must be waited for, or be on the same stream. Errors: BackendError for what is not on
    the device.
    """
    try:
        told = source.__cuda_array_interface__
    except (AttributeError, TypeError, RuntimeError) as exc:
        raise BackendError(f"{type(source).__name__} is not an array on the GPU: move it there first") from exc
    return DeviceArray(told["data"][0], tuple(told["shape"]), told["typestr"], source, strides=told.get("strides"))
