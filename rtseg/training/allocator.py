"""Keep freed memory in the process: on Linux, large tensors of every step otherwise go back to the kernel and return as
zeroed pages, which takes longer than many of the operators that fill them."""

from __future__ import annotations

import ctypes
import sys

__all__ = ["keep_memory"]

M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_MAX = -1, -2, -4  # malloc.h of glibc
TOP_PAD = 256 << 20


def keep_memory() -> bool:
    """Make glibc serve large blocks from the heap and never to give it back; False where there is no glibc."""
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except AttributeError:  # another C library
        return False
    settings = ((M_MMAP_MAX, 0), (M_TRIM_THRESHOLD, 2**31 - 1), (M_TOP_PAD, TOP_PAD))
    return all(mallopt(option, value) == 1 for option, value in settings)
