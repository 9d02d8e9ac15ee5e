"""How kernels are compiled and kept."""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, cast

import numba
from llvmlite import binding

__all__ = ["jit"]

Function = TypeVar("Function", bound=Callable[..., Any])
SHARED = Path(__file__).with_name("simd.py")
"""What kernels inline from outside their own file."""


def _edition(function: Callable[..., Any]) -> str:
    """Names what a kernel is compiled from and for: its file, the shared files, Numba's version and the CPU."""
    digest = hashlib.sha256(f"{numba.__version__} {binding.get_host_cpu_name()}".encode())
    for file in (inspect.getfile(function), __file__, str(SHARED)):
        digest.update(Path(file).read_bytes())
    return digest.hexdigest()[:12]


def jit(function: Function) -> Function:
    """Compile on first call, run without the GIL, keep the machine code on disk where a folder for it is writable.

    Numba renews a cached kernel when the kernel's own file changes, but not when a function that it inlines from
    another file does. So the edition is made part of the name under which the code is kept.
    """
    function.__qualname__ += f"_{_edition(function)}"
    try:
        compiled = numba.njit(nogil=True, cache=True, error_model="numpy")(function)
    except RuntimeError:  # Numba found neither the package's folder nor the user's cache folder writable.
        compiled = numba.njit(nogil=True, error_model="numpy")(function)
    return cast(Function, compiled)
