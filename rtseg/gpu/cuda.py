"""An NVIDIA GPU through PyCUDA: its context, memory, streams and kernels. The only importer of pycuda.

The context is the device's primary one, which torch and TensorRT share, so that addresses mean the same to all three.
PyCUDA has no graphs and hides an event's handle: those few calls go to the driver by ctypes (`rtseg.gpu.graph`).
"""

from __future__ import annotations

import atexit
import ctypes
import mmap
import threading
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np
import pycuda.driver as cuda
from numpy.typing import DTypeLike, NDArray

from rtseg.errors import BackendError
from rtseg.gpu.driver import REASONS, call, gpu
from rtseg.gpu.graph import Event, Graph, capture
from rtseg.kernels.compile import compiled
from rtseg.kernels.launch import Launch

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["Arena", "Device", "Event", "Graph", "Memory", "Stream"]

ALIGNMENT = 256
"""What every buffer begins at a multiple of, in bytes: as cuMemAlloc's own."""
PAGE = mmap.PAGESIZE
"""Of the host's memory: no two arenas lock the same one."""
UNBLOCKED = 1
"""CU_STREAM_NON_BLOCKING."""


ADVICE = {
    "illegal": 700,
    "misaligned": 716,
    "launch failure": 719,
    "image is invalid": 200,
    "no kernel image": 209,
    "unsupported toolchain": 222,
    "PTX": 218,
    "capturing": 900,
    "launch timed out": 702,
}
"""Codes of errors that a user can do something about, by a part of PyCUDA's text, which does not have them."""


@contextmanager
def _named(device: str, asked: int | None = None) -> Iterator[None]:
    """PyCUDA's errors as BackendError: they name the call; for memory, what was requested and what is free."""
    try:
        yield
    except cuda.MemoryError as exc:
        wanted = "" if asked is None else f"{asked / 2**20:.1f} MiB asked for, "
        raise BackendError(
            f"{device} is out of memory: {wanted}{_free()}: use a smaller --size or --depth, or end other programs on "
            "the GPU (nvidia-smi lists them)"
        ) from exc
    except cuda.Error as exc:
        text = " ".join(str(exc).split()).removesuffix(" -")
        advice = next((REASONS[code] for part, code in ADVICE.items() if part in text), "see docs/gpu.md")
        raise BackendError(f"{device}: {text}: {advice}") from exc


def _free() -> str:
    """How much memory is free, in words; a GPU whose memory does not suffice for a context gives no number."""
    try:
        free, total = cuda.mem_get_info()
    except cuda.Error:
        return "too little free to begin with"
    return f"{free / 2**20:.1f} of {total / 2**20:.0f} MiB free"


class Memory:
    """Bytes on the device; `address` is a multiple of 256. Free when `free` is called or nothing refers to it."""

    def __init__(self, device: str, size: int) -> None:
        with _named(device, size):
            self._allocation = cuda.mem_alloc(max(size, 1))
        self.address, self.size = int(self._allocation), size

    def free(self) -> None:
        """Give the memory back; a second time does nothing."""
        if self._allocation is not None:
            self._allocation.free()
            self._allocation = None


class Stream:
    """Work that the GPU does in order, beside that of other streams; `handle` is the driver's CUstream."""

    def __init__(self, device: str) -> None:
        self._device = device
        with _named(device):
            self.pycuda = cuda.Stream(UNBLOCKED)
        self.handle: int = self.pycuda.handle

    def synchronize(self) -> None:
        """Wait for all work so far."""
        with _named(self._device):
            self.pycuda.synchronize()


class Arena:
    """All buffers of a job, allocated at once: `address` of each device buffer, pinned host memory by `host`.

    Pinned memory is NumPy's own, page-locked by the driver, so that an array outlives the arena as an ordinary one.
    """

    def __init__(self, device: str, on_device: Mapping[str, int], pinned: Mapping[str, int]) -> None:
        places, total = _places(on_device, ALIGNMENT)
        self._memory = Memory(device, total)
        self.address = {name: self._memory.address + place for name, place in places.items()}
        self._sizes = dict(pinned)
        self._places, size = _places(pinned, ALIGNMENT)
        spare = np.empty(-(-max(size, 1) // PAGE) * PAGE + PAGE, np.uint8)
        start = -spare.ctypes.data % PAGE
        self._bytes = spare[start : start + max(size, 1)]
        self._locked = False
        if pinned:
            try:
                # PyCUDA's register_host_memory ends the process with NumPy 2.
                pointer, length = ctypes.c_void_p(self._bytes.ctypes.data), ctypes.c_size_t(self._bytes.nbytes)
                call("cuMemHostRegister_v2", pointer, length, ctypes.c_uint(0))
            except BackendError:
                self._memory.free()
                raise
            self._locked = True

    def host(self, name: str, shape: tuple[int, ...], dtype: DTypeLike = np.uint8) -> NDArray[Any]:
        """A pinned buffer as an array of at most its size.

        Every view of the array keeps the array itself alive, so its reference count says whether it is in use.
        """
        wanted = int(np.prod(shape)) * np.dtype(dtype).itemsize
        assert wanted <= self._sizes[name], f"{name}: {wanted} bytes of {self._sizes[name]}"
        place = self._places[name]
        # NumPy lets views of a view refer to the array at the bottom; it stops at an object of another kind.
        buffer: Any = (ctypes.c_ubyte * wanted).from_buffer(self._bytes.data, place)
        found: NDArray[Any] = np.ndarray(shape, dtype, buffer)
        return found

    def close(self) -> None:
        """Give the device memory back and unlock the host's; nothing of it may be in use by the GPU."""
        if self._locked:
            self._locked = False
            call("cuMemHostUnregister", ctypes.c_void_p(self._bytes.ctypes.data))
        self._memory.free()


def _places(sizes: Mapping[str, int], step: int) -> tuple[dict[str, int], int]:
    """Where each of some buffers begins when they lie one behind the other, and their total."""
    places, total = {}, 0
    for name, size in sizes.items():
        places[name] = total
        total += -(-size // step) * step
    return places, total


class Device:
    """One GPU, its primary context current in the thread that made it, which is the one to use it.

    `device` is cuda or cuda:N; `model` the GPU's name. Errors: BackendError without a driver or GPU, MissingExtra
    without a compiler for the kernels, and BackendError naming the call where one fails.
    """

    def __init__(self, device: str | None = None) -> None:
        place = gpu(device)
        self.name, self.model, self.capability = f"cuda:{place.index}", place.name, place.capability
        with _named(self.name):
            cuda.init()
            self._context = cuda.Device(place.index).retain_primary_context()
            self._context.push()
        self._module: Any = None
        self._functions: dict[str, Any] = {}
        self._arenas: list[Arena] = []
        self._closed = False
        self._index, self._thread = place.index, threading.get_ident()
        atexit.register(self._leave)
        try:
            self._own = Stream(self.name)
        except BaseException:
            self._detach()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def activate(self) -> None:
        """Make the context current again, after a library that may have made another one current."""
        call("cuCtxSetCurrent", ctypes.c_void_p(self._context.handle))

    def memory(self) -> tuple[int, int]:
        """Free and total bytes of the GPU."""
        with _named(self.name):
            free, total = cuda.mem_get_info()
        return int(free), int(total)

    def stream(self) -> Stream:
        """A stream of its own, which does not wait for the default one."""
        return Stream(self.name)

    def event(self, *, timed: bool = False) -> Event:
        """An event, to wait for or, if `timed`, to measure with."""
        return Event(timed=timed)

    def arena(self, on_device: Mapping[str, int], pinned: Mapping[str, int]) -> Arena:
        """Buffers by name and size in bytes, on the device and page-locked on the host."""
        made = Arena(self.name, on_device, pinned)
        self._arenas.append(made)
        return made

    def release(self, arena: Arena) -> None:
        """Close an arena before the device is."""
        self._arenas.remove(arena)
        arena.close()

    def empty(self, size: int) -> Memory:
        """A buffer of `size` bytes, which holds anything."""
        return Memory(self.name, size)

    def upload(self, array: NDArray[Any]) -> Memory:
        """A copy of an array on the device, complete on return."""
        memory, array = self.empty(array.nbytes), np.ascontiguousarray(array)
        if array.nbytes:
            # A plain cuMemcpyHtoD of pageable memory may return before the bytes have arrived, and other streams than
            # the default one do not wait for them.
            self.copy_in(memory.address, array, self._own)
            self._own.synchronize()
        return memory

    def download(self, memory: Memory, out: NDArray[Any]) -> None:
        """Fill a contiguous array from the beginning of a buffer, after all `launch` without a stream."""
        self._own.synchronize()
        if out.nbytes:
            with _named(self.name):
                cuda.memcpy_dtoh(out, memory.address)

    def copy_in(self, address: int, array: NDArray[Any], stream: Stream) -> None:
        """Queue a copy of a pinned array to the device."""
        with _named(self.name):
            cuda.memcpy_htod_async(address, array, stream.pycuda)

    def copy_out(self, array: NDArray[Any], address: int, stream: Stream) -> None:
        """Queue a copy from the device into a pinned array."""
        with _named(self.name):
            cuda.memcpy_dtoh_async(array, address, stream.pycuda)

    def launch(self, launch: Launch, stream: Stream | None = None) -> None:
        """Start a kernel of kernels.cu, on a stream of the device's own where none is given."""
        function, queue = self.function(launch.kernel), (stream or self._own).pycuda
        with _named(self.name):
            # PyCUDA's public calls do this behind a cuFuncSetBlockShape, which has been deprecated since CUDA 4.
            function._launch_kernel(launch.grid, launch.block, launch.params.tobytes(), 0, queue)

    def function(self, kernel: str) -> Any:
        """A kernel of kernels.cu as PyCUDA's function, compiled for this GPU on first use."""
        if self._module is None:
            version = ctypes.c_int()
            call("cuDriverGetVersion", ctypes.byref(version))
            self._module = self.module(compiled(self.capability, cuda=version.value // 1000))
        if kernel not in self._functions:
            with _named(self.name):
                self._functions[kernel] = self._module.get_function(kernel)
        return self._functions[kernel]

    def module(self, image: bytes) -> Any:
        """PyCUDA's module of a cubin or PTX."""
        with _named(self.name):
            return cuda.module_from_buffer(image)

    def capture(self, stream: Stream) -> AbstractContextManager[Graph]:
        """Record what is queued on `stream` inside the block; see `rtseg.gpu.graph.capture`."""
        return capture(stream.handle)

    def close(self) -> None:
        """Wait for the GPU and give everything back; a second time does nothing."""
        if self._closed:
            return
        self._closed = True
        self.activate()
        with _named(self.name):
            cuda.Context.synchronize()
        for arena in self._arenas:
            arena.close()
        self._arenas.clear()
        self._functions.clear()
        self._module = None
        del self._own
        self._detach()

    def _detach(self) -> None:
        self._closed = True
        atexit.unregister(self._leave)
        self._context.detach()  # which releases it, and leaves it current
        call("cuCtxPopCurrent_v2", ctypes.byref(ctypes.c_void_p()))

    def _leave(self) -> None:
        """For a process that ends without closing the device: PyCUDA aborts it where a context is left current.

        The context itself lives on, for what TensorRT will free in it.
        """
        if threading.get_ident() == self._thread:
            call("cuDevicePrimaryCtxRetain", ctypes.byref(ctypes.c_void_p()), ctypes.c_int(self._index))
            self._detach()
