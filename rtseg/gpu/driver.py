"""The NVIDIA driver itself, by its own library: queried before PyCUDA and TensorRT load.

A TensorRT `Runtime` made without a driver ends the process, and PyCUDA does not import.
"""

from __future__ import annotations

import ctypes
import functools
from dataclasses import dataclass
from typing import Any

from rtseg.errors import BackendError

__all__ = ["Gpu", "call", "check", "driver", "gpu", "gpus"]

LIBRARY = "libcuda.so.1"
MAJOR, MINOR = 75, 76
"""CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR and _MINOR."""
BROKEN = "a kernel left its memory: please report it, with what compute-sanitizer says"
NEWER = "NVRTC is newer than the driver: pip install nvidia-cuda-nvrtc-cu12, or update the driver"
RECORDED = "something waited or allocated while a frame was recorded: please report it"
REASONS = {
    2: "the GPU's memory is full: use a smaller --size or --depth, or end other programs on the GPU (nvidia-smi)",
    3: "the driver is shutting down",
    34: "the library found is a stub: the driver itself is not installed",
    35: "the driver is older than this CUDA: update it",
    46: "the GPU is in use by another process in exclusive mode",
    100: "no GPU is visible to the driver: check nvidia-smi, CUDA_VISIBLE_DEVICES, and --gpus of a container",
    101: "no such GPU",
    200: "the kernels on disk are damaged: delete ~/.cache/rtseg/kernels",
    209: "the kernels on disk are for another GPU: delete ~/.cache/rtseg/kernels",
    218: NEWER,
    222: NEWER,
    700: BROKEN,
    702: "the display's watchdog ended a kernel: use a GPU that drives no display, or a smaller --size",
    716: BROKEN,
    719: BROKEN,
    802: "the driver is not ready yet: check nvidia-smi",
    803: "kernel driver and user library have different versions: reboot, or start the container again",
    804: "the forward-compatibility package does not suit this GPU: remove cuda-compat",
    900: RECORDED,
    901: RECORDED,
    906: RECORDED,
    999: "unknown error: check dmesg, and reload the nvidia_uvm module",
}
"""CUDA error codes that a user can do something about."""


@dataclass(frozen=True, slots=True)
class Gpu:
    """A GPU of this machine; `capability` is its compute capability (major, minor)."""

    index: int
    name: str
    capability: tuple[int, int]


@functools.cache
def _library() -> Any:
    try:
        return ctypes.CDLL(LIBRARY)
    except OSError as exc:
        raise BackendError(
            "no NVIDIA driver here (libcuda.so.1 is not found): install the driver, "
            "then pip install 'rtseg[tensorrt,gpu]'"
        ) from exc


def check(code: int, call: str) -> None:
    """BackendError naming the driver call where `code` is not 0."""
    if code:
        text = ctypes.c_char_p()
        _library().cuGetErrorName(code, ctypes.byref(text))
        name = text.value.decode() if text.value else str(code)
        raise BackendError(f"{call} failed with {name}: {REASONS.get(code, 'see docs/gpu.md')}")


def call(name: str, *arguments: Any) -> None:
    """Call the driver, which `driver` has initialised; BackendError naming the call where it fails."""
    check(getattr(_library(), name)(*arguments), name.removesuffix("_v2"))


def driver() -> Any:
    """The initialised driver library; BackendError in one line where there is no working one."""
    library = _library()
    check(library.cuInit(0), "the NVIDIA driver's cuInit")
    return library


def gpus() -> list[Gpu]:
    """The GPUs that the driver shows; BackendError without a working driver."""
    library = driver()
    count = ctypes.c_int()
    check(library.cuDeviceGetCount(ctypes.byref(count)), "cuDeviceGetCount")
    found = []
    for index in range(count.value):
        handle, major, minor = ctypes.c_int(), ctypes.c_int(), ctypes.c_int()
        name = ctypes.create_string_buffer(256)
        check(library.cuDeviceGet(ctypes.byref(handle), index), "cuDeviceGet")
        check(library.cuDeviceGetName(name, len(name), handle), "cuDeviceGetName")
        check(library.cuDeviceGetAttribute(ctypes.byref(major), MAJOR, handle), "cuDeviceGetAttribute")
        check(library.cuDeviceGetAttribute(ctypes.byref(minor), MINOR, handle), "cuDeviceGetAttribute")
        found.append(Gpu(index, name.value.decode(errors="replace"), (major.value, minor.value)))
    return found


def gpu(device: str | None = None) -> Gpu:
    """The GPU called cuda or cuda:N; BackendError where there is none of that name."""
    found = gpus()
    name = (device or "cuda").lower()
    kind, _, number = name.partition(":")
    names = ", ".join(f"cuda:{each.index}" for each in found) or "none"
    if kind != "cuda" or not (number or "0").isdecimal() or int(number or 0) >= len(found):
        raise BackendError(f"the NVIDIA driver has no device '{device}' here (devices: {names})")
    return found[int(number or 0)]
