"""An NVIDIA driver that runs on the CPU, for tests of everything between rtseg and the GPU; see driver.cpp.

`load` must come before anything loads `libcuda.so.1`: the dynamic linker then gives this one to whoever asks for it,
PyCUDA included.
"""

from __future__ import annotations

import ctypes
import json
from functools import cache
from pathlib import Path
from typing import Any

from tests.compiling import shared_library

__all__ = ["add_kernels", "counters", "fault", "load", "reset", "set_capability", "set_delay", "set_memory"]

HERE = Path(__file__).parent
SONAME = "libcuda.so.1"
FLAGS = ("-std=c++17", "-O1", "-U_FORTIFY_SOURCE", "-Wall", "-Wextra", "-Werror", "-static-libstdc++", "-static-libgcc")
"""Without the checks of _FORTIFY_SOURCE, which take a jump from a fiber's stack to its thread's for an attack."""
LINKING = (f"-Wl,-soname,{SONAME}", f"-Wl,--version-script={HERE / 'exports.map'}", "-ldl", "-lpthread")
OTHERS = sorted([*HERE.glob("*.h"), *HERE.glob("*.cpp"), HERE / "exports.map"])
MAJOR, MINOR = 75, 76
"""CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR and _MINOR."""


@cache
def load() -> Any:
    """The driver, compiled on first use (about three seconds); again and again the same one."""
    sources = [HERE / "driver.cpp", HERE / "unsupported.cpp"]
    library = ctypes.CDLL(str(shared_library(SONAME, sources, (*FLAGS, *LINKING), OTHERS)), ctypes.RTLD_GLOBAL)
    library.emulator_set_delay.argtypes = [ctypes.c_uint64, ctypes.c_uint, ctypes.c_uint]
    library.emulator_set_memory.argtypes = [ctypes.c_uint64]
    library.emulator_add_kernels.argtypes, library.emulator_add_kernels.restype = [ctypes.c_char_p], ctypes.c_char_p
    for name in ("emulator_counters", "emulator_fault"):
        function = getattr(library, name)
        function.argtypes, function.restype = [ctypes.c_char_p, ctypes.c_size_t], ctypes.c_size_t
    return library


def add_kernels(path: Path) -> None:
    """Make the kernels of a library (`tests.kernels.host.compiled`) known to the driver."""
    problem = load().emulator_add_kernels(str(path).encode())
    assert problem is None, f"{path}: {problem.decode()}"


def set_delay(seed: int, most_us: int, least_us: int = 0) -> None:
    """Wait `least_us` to `most_us` microseconds, at random, before whatever a stream does; with a seed other than 0
    also run the threads of some launches' blocks in descending order."""
    load().emulator_set_delay(seed, least_us, most_us)


def set_attribute(which: int, value: int) -> None:
    """Answer `value` to cuDeviceGetAttribute, by the attribute's number in cuda.h."""
    load().emulator_set_attribute(which, value)


def set_capability(major: int, minor: int) -> None:
    """The device's compute capability, (9, 0) at first."""
    set_attribute(MAJOR, major)
    set_attribute(MINOR, minor)


def set_memory(total_bytes: int) -> None:
    """The device's memory, 8 GiB at first; what is allocated already counts."""
    load().emulator_set_memory(total_bytes)


def counters() -> dict[str, Any]:
    """What is alive now (device_bytes, device_ranges, pinned, contexts, streams, events, graphs, graph_execs, modules)
    and what has happened since the last `reset`: allocations, bytes_up, bytes_down, copies_up, copies_down,
    graph_launches, and launches, by the kernels' names."""
    found: dict[str, Any] = json.loads(_text(load().emulator_counters))
    return found


def fault() -> str:
    """What a stream did wrong, in words; empty if nothing."""
    return _text(load().emulator_fault)


def reset() -> None:
    """Wait for all work; then settings and counters are as at first and errors are forgotten. What lives goes on."""
    load().emulator_reset()


def _text(function: Any) -> str:
    size = 1 << 16
    buffer = ctypes.create_string_buffer(size)
    assert function(buffer, size) < size
    return buffer.value.decode()
