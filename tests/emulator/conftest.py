"""A CUDA context by real PyCUDA."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest


@pytest.fixture
def cuda(emulator: Any) -> Iterator[Any]:
    """`pycuda.driver` with the primary context current; in the end nothing of it may be left."""
    import pycuda.driver as cuda

    cuda.init()
    context = cuda.Device(0).retain_primary_context()
    context.push()
    try:
        yield cuda
    finally:
        context.pop()
        context.detach()
    left = {name: count for name, count in emulator.counters().items() if count and name in LIVE}
    assert not left


LIVE = ("device_bytes", "device_ranges", "pinned", "contexts", "streams", "events", "graphs", "graph_execs", "modules")
