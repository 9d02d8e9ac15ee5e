"""The driver's calls that PyCUDA does not wrap, by ctypes: stream capture and graphs."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

P = ctypes.c_void_p
GLOBAL, THREAD_LOCAL, RELAXED = 0, 1, 2
EXTERNAL = 1


class Failed(Exception):
    """A call's error, by its name in cuda.h."""


def library() -> Any:
    return ctypes.CDLL("libcuda.so.1")


def name(code: int) -> str:
    text = ctypes.c_char_p()
    library().cuGetErrorName(code, ctypes.byref(text))
    return (text.value or b"?").decode()


def call(function: str, *arguments: Any) -> None:
    code = getattr(library(), function)(*arguments)
    if code:
        raise Failed(name(code))


def made(function: str, *arguments: Any) -> ctypes.c_void_p:
    """The handle that a call puts where its first parameter points."""
    handle = P()
    call(function, ctypes.byref(handle), *arguments)
    return handle


def begin(stream: Any, mode: int = THREAD_LOCAL) -> None:
    call("cuStreamBeginCapture_v2", P(stream.handle), mode)


def end(stream: Any) -> ctypes.c_void_p:
    graph = P()
    call("cuStreamEndCapture", P(stream.handle), ctypes.byref(graph))
    return graph


def is_capturing(stream: Any) -> int:
    status = ctypes.c_int()
    call("cuStreamIsCapturing", P(stream.handle), ctypes.byref(status))
    return status.value


def nodes(graph: ctypes.c_void_p) -> int:
    count = ctypes.c_size_t()
    call("cuGraphGetNodes", graph, None, ctypes.byref(count))
    return count.value


@contextmanager
def instance(graph: ctypes.c_void_p) -> Iterator[ctypes.c_void_p]:
    """The graph, ready to be launched; both are destroyed in the end."""
    instance = made("cuGraphInstantiateWithFlags", graph, ctypes.c_ulonglong(0))
    try:
        yield instance
    finally:
        call("cuGraphExecDestroy", instance)
        call("cuGraphDestroy", graph)


def launch(instance: ctypes.c_void_p, stream: Any) -> None:
    call("cuGraphLaunch", instance, P(stream.handle))


@contextmanager
def event() -> Iterator[ctypes.c_void_p]:
    """An event with timing; PyCUDA's do not tell their handles."""
    event = made("cuEventCreate", 0)
    try:
        yield event
    finally:
        call("cuEventDestroy_v2", event)
