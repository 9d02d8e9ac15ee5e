"""kernels.cu on the CPU: compiled by g++ with the built-ins of host.h, and run behind the same seam as a GPU."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from rtseg.kernels import plans
from rtseg.kernels.plans import Launch

HERE = Path(__file__).parent
FLAGS = ("-std=c++17", "-O2", "-ffp-contract=off", "-fno-strict-aliasing", "-shared", "-fPIC", "-DRTSEG_HOST")
WARNINGS = ("-Wall", "-Wextra", "-Wno-unknown-pragmas", "-Werror")
EXTRA: tuple[str, ...] = ()
"""Set before the first use to compile with more, as `test_sanitized` does."""
GUARD = 64
"""Bytes before and after each buffer that no kernel may change."""


@cache
def library() -> ctypes.CDLL:
    """The kernels as a library, compiled once per run of the tests (about two seconds)."""
    compiler = shutil.which("g++")
    if compiler is None:
        pytest.skip("needs g++ to compile kernels.cu for the CPU")
    target = Path(mkdtemp(prefix="rtseg-host-")) / "kernels.so"
    command = [compiler, *FLAGS, *WARNINGS, *EXTRA, str(HERE / "host.cpp"), "-o", str(target)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=150)
    assert done.returncode == 0, f"g++ cannot compile kernels.cu:\n{done.stderr}"
    loaded = ctypes.CDLL(str(target))
    shutil.rmtree(target.parent)
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
