"""What a plan needs of a GPU: memory, pinned memory, one stream, and a way to wait. `Device` is the seam.

`CudaDevice` is the plain member, on the driver's own library; anything else that has these methods runs plans too.
The context is the device's primary one, which torch and PyCUDA share.
"""

from __future__ import annotations

import ctypes
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from rtseg.errors import BackendError
from rtseg.plans.driver import check, driver, gpu

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["CudaDevice", "Device"]


class Device(Protocol):
    """One GPU and one stream; every method but `close` queues on the stream or returns at once, but `wait`.

    Addresses are device pointers. `activate` makes the context current in the calling thread.
    """

    name: str
    stream: int

    def activate(self) -> None: ...

    def allocate(self, size: int) -> int: ...

    def free(self, address: int) -> None: ...

    def pinned(self, size: int) -> NDArray[np.uint8]: ...

    def unpin(self, array: NDArray[np.uint8]) -> None: ...

    def upload(self, address: int, array: NDArray[Any]) -> None: ...

    def download(self, array: NDArray[Any], address: int) -> None: ...

    def record(self) -> Any: ...

    def wait(self, event: Any) -> None: ...

    def close(self) -> None: ...


class CudaDevice:
    """A GPU by the driver's library. Everything that is allocated is freed by `close`.

    Errors: BackendError without a driver or GPU, and where a call of the driver fails, by the call's name.
    """

    def __init__(self, device: str | None) -> None:
        place = gpu(device)
        self.name, self.gpu = f"cuda:{place.index}", place
        self._library = driver()
        self._index = ctypes.c_int()
        self._call("cuDeviceGet", ctypes.byref(self._index), place.index)
        context, stream = ctypes.c_void_p(), ctypes.c_void_p()
        self._call("cuDevicePrimaryCtxRetain", ctypes.byref(context), self._index)
        self._context = context
        self._device: set[int] = set()
        self._host: set[int] = set()
        self._events: list[ctypes.c_void_p] = []
        self._closed = False
        self.activate()
        self._call("cuStreamCreate", ctypes.byref(stream), ctypes.c_uint(1))  # does not wait for the default stream
        self.stream = stream.value or 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def activate(self) -> None:
        """Make the context current in this thread."""
        self._call("cuCtxSetCurrent", self._context)

    def allocate(self, size: int) -> int:
        """The address of `size` bytes on the device; BackendError with what was asked for and what is free."""
        address = ctypes.c_uint64()
        code = self._library.cuMemAlloc_v2(ctypes.byref(address), ctypes.c_size_t(size))
        if code == 2:
            free, total = ctypes.c_size_t(), ctypes.c_size_t()
            self._call("cuMemGetInfo_v2", ctypes.byref(free), ctypes.byref(total))
            raise BackendError(
                f"{self.name} is out of memory: {size / 2**20:.1f} MiB asked for, {free.value / 2**20:.1f} of "
                f"{total.value / 2**20:.0f} MiB free: use a smaller --size, or end other programs on the GPU"
            )
        check(code, "cuMemAlloc")
        self._device.add(address.value)
        return address.value

    def free(self, address: int) -> None:
        """Give device memory back."""
        self._device.discard(address)
        self._call("cuMemFree_v2", ctypes.c_uint64(address))

    def pinned(self, size: int) -> NDArray[np.uint8]:
        """`size` bytes of page-locked memory, valid until `unpin` or `close`."""
        pointer = ctypes.c_void_p()
        self._call("cuMemHostAlloc", ctypes.byref(pointer), ctypes.c_size_t(max(size, 1)), ctypes.c_uint(0))
        self._host.add(pointer.value or 0)
        return np.ctypeslib.as_array((ctypes.c_ubyte * size).from_address(pointer.value or 0))

    def unpin(self, array: NDArray[np.uint8]) -> None:
        """Give page-locked memory back."""
        self._host.discard(array.ctypes.data)
        self._call("cuMemFreeHost", ctypes.c_void_p(array.ctypes.data))

    def upload(self, address: int, array: NDArray[Any]) -> None:
        """Queue a copy to the device."""
        source = ctypes.c_void_p(array.ctypes.data)
        self._call(
            "cuMemcpyHtoDAsync_v2", ctypes.c_uint64(address), source, ctypes.c_size_t(array.nbytes), self._stream()
        )

    def download(self, array: NDArray[Any], address: int) -> None:
        """Queue a copy from the device."""
        target = ctypes.c_void_p(array.ctypes.data)
        self._call(
            "cuMemcpyDtoHAsync_v2", target, ctypes.c_uint64(address), ctypes.c_size_t(array.nbytes), self._stream()
        )

    def record(self) -> ctypes.c_void_p:
        """An event behind everything queued so far; `wait` takes it back."""
        event = self._events.pop() if self._events else ctypes.c_void_p()
        if not event:
            self._call("cuEventCreate", ctypes.byref(event), ctypes.c_uint(2))  # without timing
        self._call("cuEventRecord", event, self._stream())
        return event

    def wait(self, event: ctypes.c_void_p) -> None:
        """Wait until the event has happened."""
        self._call("cuEventSynchronize", event)
        self._events.append(event)

    def close(self) -> None:
        """Wait for the stream and free everything; a second time does nothing."""
        if self._closed:
            return
        self._closed = True
        self.activate()
        self._call("cuStreamSynchronize", self._stream())
        for event in self._events:
            self._call("cuEventDestroy_v2", event)
        for address in tuple(self._device):
            self.free(address)
        for pointer in self._host:
            self._call("cuMemFreeHost", ctypes.c_void_p(pointer))
        self._call("cuStreamDestroy_v2", self._stream())
        self._call("cuDevicePrimaryCtxRelease_v2", self._index)

    def _stream(self) -> ctypes.c_void_p:
        return ctypes.c_void_p(self.stream)

    def _call(self, name: str, *arguments: Any) -> None:
        check(getattr(self._library, name)(*arguments), name.removesuffix("_v2"))
