"""kernels.cu on the CPU: compiled by g++ with the built-ins of host.h, and run behind the same seam as a GPU."""

from __future__ import annotations

import ctypes
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rtseg.kernels import launch as plans
from rtseg.kernels.compile import SOURCE as KERNELS
from rtseg.kernels.launch import Launch
from tests.compiling import shared_library

HERE = Path(__file__).parent
FLAGS = ("-std=c++17", "-O2", "-U_FORTIFY_SOURCE", "-ffp-contract=off", "-fno-strict-aliasing", "-DRTSEG_HOST")
"""Without the checks of _FORTIFY_SOURCE, which take a jump between stacks for an attack."""
WARNINGS = ("-Wall", "-Wextra", "-Wno-unknown-pragmas", "-Werror")
EXTRA: tuple[str, ...] = ()
"""Set before the first use to compile with more, as `test_sanitized` does."""
GUARD = 64
"""Bytes before and after each buffer that no kernel may change."""


def compiled(source: Path, *others: Path) -> Path:
    """A library of kernels, made of `source` and what it includes: host.h, host_library.h and `others`."""
    headers = (HERE / "host.h", HERE / "host_library.h", *others)
    return shared_library(source.with_suffix(".so").name, [source], (*FLAGS, *WARNINGS, *EXTRA), headers)


@cache
def library() -> ctypes.CDLL:
    """kernels.cu as a library (compiled in about two seconds)."""
    loaded = ctypes.CDLL(str(compiled(HERE / "host.cpp", KERNELS)))
    loaded.host_size.argtypes = [ctypes.c_char_p]
    loaded.host_launch.argtypes = [ctypes.c_char_p, *[ctypes.c_void_p] * 2, ctypes.c_uint, ctypes.c_int]
    return loaded


class HostMemory:
    """A buffer whose surroundings are watched; new ones are full of rubbish, as a GPU's are."""

    def __init__(self, size: int) -> None:
        self._bytes = np.full(size + 2 * GUARD + 16, 0xA5, np.uint8)
        self._start = GUARD + -(self._bytes.ctypes.data + GUARD) % 16
        self.size, self.address = size, self._bytes.ctypes.data + self._start

    @property
    def content(self) -> NDArray[np.uint8]:
        return self._bytes[self._start : self._start + self.size]

    def check(self) -> None:
        before, after = self._bytes[: self._start], self._bytes[self._start + self.size :]
        assert (before == 0xA5).all() and (after == 0xA5).all(), "a kernel wrote outside its buffer"


class HostDevice:
    """Runs launches one block after the other; `backwards`: the threads of a block in descending order."""

    def __init__(self, *, backwards: bool = False) -> None:
        self.backwards = backwards
        self.launched: list[str] = []

    def upload(self, array: NDArray[Any]) -> HostMemory:
        memory = HostMemory(array.nbytes)
        memory.content[:] = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
        return memory

    def empty(self, size: int) -> HostMemory:
        return HostMemory(size)

    def download(self, memory: Any, out: NDArray[Any]) -> None:
        memory.check()
        out.reshape(-1).view(np.uint8)[:] = memory.content[: out.nbytes]

    def launch(self, launch: Launch) -> None:
        name = launch.kernel.encode()
        assert launch.params.nbytes == library().host_size(name) == plans.KERNELS[launch.kernel].itemsize
        assert launch.block[1:] == (1, 1) and launch.grid[2] == 1
        params, grid = launch.params.copy(), np.array(launch.grid, np.uint32)
        met = library().host_launch(name, params.ctypes.data, grid.ctypes.data, launch.block[0], self.backwards)
        assert met == 0, f"{launch.kernel}: some threads of a block reached a barrier that others did not"
        self.launched.append(launch.kernel)
