"""The allocator's settings hold in the process that asks for them."""

from __future__ import annotations

import subprocess
import sys

import pytest

from rtseg.training import allocator

CHILD = """
import ctypes, resource
from rtseg.training.allocator import keep_memory
assert keep_memory()
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.malloc.argtypes, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_size_t], [ctypes.c_void_p]

def use():
    block = libc.malloc(64 << 20)
    ctypes.memset(block, 1, 64 << 20)
    libc.free(block)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

first, second, third = use(), use(), use()
print(second - first, third - second)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc only")
def test_freed_memory_is_used_again_without_page_faults() -> None:
    done = subprocess.run([sys.executable, "-c", CHILD], capture_output=True, text=True, timeout=60, check=True)
    assert [int(count) < 100 for count in done.stdout.split()] == [True, True]  # 64 MiB are 16384 pages of 4 KiB


def test_elsewhere_nothing_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(allocator.sys, "platform", "darwin")
    assert allocator.keep_memory() is False
