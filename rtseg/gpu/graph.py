"""Events and CUDA graphs by the driver's own calls, which PyCUDA does not have. Streams are given by their handles."""

from __future__ import annotations

import ctypes
import gc
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rtseg.gpu.driver import call, driver

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["Event", "Graph", "capture", "uncollected"]

UNTIMED, EXTERNAL, THREAD_LOCAL = 2, 1, 1
"""CU_EVENT_DISABLE_TIMING, CU_EVENT_RECORD_EXTERNAL, CU_STREAM_CAPTURE_MODE_THREAD_LOCAL."""


class Event:
    """A moment in a stream, to wait for and, if `timed`, to measure between."""

    def __init__(self, *, timed: bool = False) -> None:
        self._handle: ctypes.c_void_p | None = ctypes.c_void_p()
        call("cuEventCreate", ctypes.byref(self._handle), ctypes.c_uint(0 if timed else UNTIMED))

    def record(self, stream: int, *, external: bool = False) -> Self:
        """Put the moment behind all work so far.

        `external`: in a stream that is being captured, so that each launch of the graph records it again.
        """
        if external:
            call("cuEventRecordWithFlags", self._handle, ctypes.c_void_p(stream), ctypes.c_uint(EXTERNAL))
        else:
            call("cuEventRecord", self._handle, ctypes.c_void_p(stream))
        return self

    def wait(self) -> None:
        """Wait until it has happened."""
        call("cuEventSynchronize", self._handle)

    def since(self, earlier: Event) -> int:
        """Nanoseconds between two timed events that have happened; the clock's step is about 500."""
        elapsed = ctypes.c_float()
        call("cuEventElapsedTime", ctypes.byref(elapsed), earlier._handle, self._handle)
        return round(elapsed.value * 1e6)

    def close(self) -> None:
        """Give the event back; a second time does nothing."""
        if self._handle is not None:
            call("cuEventDestroy_v2", self._handle)
            self._handle = None


class Graph:
    """Recorded work that one call starts; made by `Device.capture`, empty until that is left."""

    def __init__(self) -> None:
        self._exec: ctypes.c_void_p | None = None

    def launch(self, stream: int) -> None:
        """Queue all of it on a stream."""
        call("cuGraphLaunch", self._exec, ctypes.c_void_p(stream))

    def close(self) -> None:
        """Give the graph back; it must not be running. A second time does nothing."""
        if self._exec is not None:
            call("cuGraphExecDestroy", self._exec)
            self._exec = None

    def _finish(self, stream: int) -> None:
        """End the capture and make what was recorded launchable."""
        graph, made = ctypes.c_void_p(), ctypes.c_void_p()
        call("cuStreamEndCapture", ctypes.c_void_p(stream), ctypes.byref(graph))
        try:
            call("cuGraphInstantiateWithFlags", ctypes.byref(made), graph, ctypes.c_ulonglong(0))
            self._exec = made
        finally:
            call("cuGraphDestroy", graph)


@contextmanager
def uncollected() -> Iterator[None]:
    """Without Python's garbage collector, which may free device memory in the middle of a capture and so break it."""
    running = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if running:
            gc.enable()


@contextmanager
def capture(stream: int) -> Iterator[Graph]:
    """Record what is queued on the stream inside the block into a graph, without doing it.

    Only this thread is held to a capture's rules, so that others may allocate. Errors: BackendError, also where
    something in the block cannot be recorded.
    """
    graph = Graph()
    with uncollected():
        call("cuStreamBeginCapture_v2", ctypes.c_void_p(stream), ctypes.c_int(THREAD_LOCAL))
        try:
            yield graph
        except BaseException:
            broken = ctypes.c_void_p()
            driver().cuStreamEndCapture(ctypes.c_void_p(stream), ctypes.byref(broken))
            if broken:
                driver().cuGraphDestroy(broken)
            raise
        graph._finish(stream)
