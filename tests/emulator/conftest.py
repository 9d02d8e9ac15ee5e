"""A CUDA context by real PyCUDA."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from typing import Any

import pytest

LIVE = ("device_bytes", "device_ranges", "pinned", "streams", "events", "graphs", "graph_execs", "modules")


@pytest.fixture
def cuda(emulator: Any) -> Iterator[Any]:
    """`pycuda.driver` with the primary context current; in the end nothing of it may be left."""
    import pycuda.driver as cuda

    cuda.init()
    context = cuda.Device(0).retain_primary_context()
    context.push()
    try:
        yield cuda
        gc.collect()
        assert {name: count for name, count in emulator.counters().items() if count and name in LIVE} == {}
    finally:
        context.pop()
        context.detach()
    assert emulator.counters()["contexts"] == 0
