"""Capture and graphs of the emulated driver: what a graph remembers, and what a capture refuses."""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from rtseg.kernels import compile as compilation
from rtseg.kernels import cpu
from rtseg.kernels.launch import Plane, areas
from tests.emulator import calls
from tests.emulator.calls import Failed, P, begin, call, end, event, instance, is_capturing, launch, made, nodes

pytestmark = pytest.mark.gpu
ACTIVE, INVALIDATED = 1, 2


@pytest.mark.skipif(
    not compilation.compilers(), reason="needs a CUDA compiler: pip install nvidia-cuda-nvrtc (or nvcc)"
)
@pytest.mark.parametrize("most_us", [0, 3000])
def test_a_frame_is_captured_once_and_replayed(cuda: Any, emulator: Any, most_us: int) -> None:
    """Upload, two kernels, download: replayed with other bytes in the same buffers."""
    emulator.set_delay(5, most_us)
    random, stream = np.random.default_rng(0), cuda.Stream()
    labels, counts = cuda.pagelocked_zeros((40, 64), np.uint8), cuda.pagelocked_zeros(256, np.uint32)
    source, counter = cuda.mem_alloc(labels.nbytes), cuda.mem_alloc(counts.nbytes)
    module = cuda.module_from_buffer(compilation.compiled((9, 0)))
    clear, count = areas(Plane(int(source), 64), (40, 64), int(counter))
    functions = [module.get_function(each.kernel) for each in (clear, count)]
    begin(stream)
    cuda.memcpy_htod_async(source, labels, stream)
    for function, each in zip(functions, (clear, count), strict=True):
        params = bytearray(each.params.tobytes())
        function._launch_kernel(each.grid, each.block, params, 0, stream)
        params[:] = bytes(len(params))  # The graph has its own copy.
    cuda.memcpy_dtoh_async(counts, counter, stream)
    assert is_capturing(stream) == ACTIVE
    graph = end(stream)
    stream.synchronize()
    assert nodes(graph) == 4 and not counts.any(), "a capture runs nothing"
    with instance(graph) as ready:
        for _ in range(4):
            labels[:] = random.integers(0, 9, labels.shape, dtype=np.uint8)
            launch(ready, stream)
            stream.synchronize()
            np.testing.assert_array_equal(counts[:9] / labels.size, cpu.areas(labels.copy(), 9))
    found = emulator.counters()
    assert found["launches"] == {"clear_areas": 4, "count_areas": 4}
    assert (found["graph_launches"], found["copies_up"], found["copies_down"]) == (4, 4, 4)


def test_launches_of_a_graph_come_one_after_the_other(cuda: Any, emulator: Any) -> None:
    """Also in two streams: a graph does not run twice at the same time."""
    first, second, third, held, memory = *(cuda.Stream() for _ in range(3)), cuda.Event(), cuda.mem_alloc(100)
    begin(first)
    cuda.memset_d8_async(memory, 1, 100, first)
    with instance(end(first)) as ready:
        emulator.set_delay(1, 40_000, 40_000)
        for _ in range(4):
            cuda.memset_d8_async(memory, 0, 100, third)
        held.record(third)
        first.wait_for_event(held)
        launch(ready, first)
        launch(ready, second)  # Could run at once but for the launch before.
        assert not third.is_done()
        second.synchronize()
        assert first.is_done()


REFUSED: dict[str, tuple[Callable[[Any, Any, Any], Any], str]] = {
    "pageable up": (lambda cuda, stream, at: cuda.memcpy_htod_async(at, np.zeros(9, np.uint8), stream), "UNSUPPORTED"),
    "pageable down": (
        lambda cuda, stream, at: cuda.memcpy_dtoh_async(np.zeros(9, np.uint8), at, stream),
        "UNSUPPORTED",
    ),
    "synchronize": (lambda cuda, stream, at: stream.synchronize(), "UNSUPPORTED"),
    "query": (lambda cuda, stream, at: stream.is_done(), "UNSUPPORTED"),
    "all": (lambda cuda, stream, at: cuda.Context.synchronize(), "UNSUPPORTED"),
    "event": (lambda cuda, stream, at: cuda.Event().synchronize(), "UNSUPPORTED"),
    "allocate": (lambda cuda, stream, at: cuda.mem_alloc(9), "UNSUPPORTED"),
    "pin": (lambda cuda, stream, at: cuda.pagelocked_empty(9, np.uint8), "UNSUPPORTED"),
    "copy": (lambda cuda, stream, at: cuda.memcpy_htod(at, np.zeros(9, np.uint8)), "UNSUPPORTED"),
    "legacy": (lambda cuda, stream, at: cuda.memset_d8_async(at, 0, 9), "IMPLICIT"),
}
MESSAGES = {"UNSUPPORTED": "not permitted when stream is capturing", "IMPLICIT": "depend on a capturing"}


@pytest.mark.parametrize("what", REFUSED)
def test_a_capture_refuses(cuda: Any, what: str) -> None:
    stream, memory = cuda.Stream(), cuda.mem_alloc(100)
    begin(stream)
    wrong, error = REFUSED[what]
    with pytest.raises(cuda.Error, match=MESSAGES[error]):
        wrong(cuda, stream, memory)
    assert is_capturing(stream) == INVALIDATED
    with pytest.raises(cuda.Error, match="previous error during capture"):
        cuda.memset_d8_async(memory, 0, 100, stream)
    with pytest.raises(Failed, match="CUDA_ERROR_STREAM_CAPTURE_INVALIDATED"):
        end(stream)
    stream.synchronize()


@pytest.mark.parametrize(
    ("mode", "exchanged", "forbidden"),
    [
        (calls.GLOBAL, calls.GLOBAL, True),
        (calls.GLOBAL, calls.THREAD_LOCAL, False),
        (calls.GLOBAL, calls.RELAXED, False),
        (calls.THREAD_LOCAL, calls.GLOBAL, False),
        (calls.RELAXED, calls.GLOBAL, False),
    ],
)
def test_other_threads_and_the_modes(cuda: Any, mode: int, exchanged: int, forbidden: bool) -> None:
    """An allocation in another thread invalidates captures of the global mode, unless that thread's mode forgives."""
    stream, found = cuda.Stream(), []
    context = made("cuDevicePrimaryCtxRetain", 0)

    def work() -> None:
        call("cuCtxPushCurrent_v2", context)
        previous = ctypes.c_int(exchanged)
        call("cuThreadExchangeStreamCaptureMode", ctypes.byref(previous))
        found.append(previous.value)
        address = ctypes.c_ulonglong()
        try:
            call("cuMemAlloc_v2", ctypes.byref(address), ctypes.c_size_t(100))
            call("cuMemFree_v2", address)
        except Failed as exc:
            found.append(str(exc))
        call("cuCtxPopCurrent_v2", ctypes.byref(P()))

    begin(stream, mode)
    thread = threading.Thread(target=work)
    thread.start()
    thread.join(10)
    assert found == [calls.GLOBAL, "CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED"][: 1 + forbidden]
    if forbidden:
        with pytest.raises(Failed, match="INVALIDATED"):
            end(stream)
    else:
        call("cuGraphDestroy", end(stream))
    call("cuDevicePrimaryCtxRelease_v2", 0)


def test_a_relaxed_thread_may_allocate_while_it_captures(cuda: Any) -> None:
    stream = cuda.Stream()
    begin(stream, calls.RELAXED)
    memory = cuda.mem_alloc(100)
    call("cuGraphDestroy", end(stream))
    memory.free()


def fork(cuda: Any, memory: Any) -> tuple[Any, Any]:
    """Two streams in one capture that the first began, with a memset each."""
    first, second, forked = cuda.Stream(), cuda.Stream(), cuda.Event()
    begin(first)
    cuda.memset_d8_async(memory, 1, 50, first)
    forked.record(first)
    second.wait_for_event(forked)
    cuda.memset_d8_async(int(memory) + 50, 2, 50, second)
    cuda.memset_d8_async(memory, 3, 50, first)
    return first, second


def test_forked_streams_become_one_graph(cuda: Any) -> None:
    memory, joined, found = cuda.mem_alloc(100), cuda.Event(), np.zeros(100, np.uint8)
    first, second = fork(cuda, memory)
    joined.record(second)
    first.wait_for_event(joined)
    graph = end(first)
    assert nodes(graph) == 3 and is_capturing(second) == 0
    with instance(graph) as ready:
        launch(ready, first)
        first.synchronize()
    cuda.memcpy_dtoh(found, memory)
    assert (found[:50] == 3).all() and (found[50:] == 2).all()


def test_forked_streams_must_be_joined(cuda: Any) -> None:
    memory = cuda.mem_alloc(100)  # Kept, as a capture forbids to free it.
    first, second = fork(cuda, memory)
    with pytest.raises(Failed, match="CUDA_ERROR_STREAM_CAPTURE_UNJOINED"):
        end(first)
    assert is_capturing(first) == is_capturing(second) == 0


def test_a_capture_ends_where_it_began(cuda: Any) -> None:
    memory = cuda.mem_alloc(100)  # Kept, as a capture forbids to free it.
    first, second = fork(cuda, memory)
    with pytest.raises(Failed, match="CUDA_ERROR_STREAM_CAPTURE_UNMATCHED"):
        end(second)
    with pytest.raises(Failed, match="CUDA_ERROR_STREAM_CAPTURE_INVALIDATED"):
        end(first)


def test_the_legacy_stream_and_captures_of_other_threads(cuda: Any) -> None:
    """It waits for all blocking streams, so it cannot be waited for; asking whether it captures harms nothing."""
    blocking, status = cuda.Stream(), ctypes.c_int()
    begin(blocking, calls.RELAXED)
    with pytest.raises(Failed, match="CUDA_ERROR_STREAM_CAPTURE_IMPLICIT"):
        call("cuStreamIsCapturing", None, ctypes.byref(status))
    assert is_capturing(blocking) == ACTIVE
    with pytest.raises(Failed, match="CUDA_ERROR_STREAM_CAPTURE_IMPLICIT"):
        call("cuStreamSynchronize", None)
    with pytest.raises(Failed, match="CUDA_ERROR_STREAM_CAPTURE_INVALIDATED"):
        end(blocking)
    free = cuda.Stream(1)
    begin(free, calls.RELAXED)
    call("cuStreamSynchronize", None)
    call("cuGraphDestroy", end(free))


def test_captured_events_cannot_be_waited_for(cuda: Any) -> None:
    stream, captured = cuda.Stream(), cuda.Event()
    begin(stream)
    captured.record(stream)
    with pytest.raises(cuda.Error, match="last recorded in a capturing stream"):
        captured.query()
    with pytest.raises(Failed, match="CUDA_ERROR_STREAM_CAPTURE_INVALIDATED"):
        end(stream)
    captured.record(stream)
    captured.synchronize()


def test_a_capture_is_isolated(cuda: Any) -> None:
    first, second, outside = cuda.Stream(), cuda.Stream(), cuda.Event()
    outside.record(second)
    begin(first)
    with pytest.raises(cuda.Error, match="uncaptured work"):
        first.wait_for_event(outside)
    with pytest.raises(Failed, match="INVALIDATED"):
        end(first)


def test_events_inside_of_a_graph(cuda: Any, emulator: Any) -> None:
    """Recorded at each launch, so that a graph's stages can be timed."""
    stream, memory, elapsed = cuda.Stream(), cuda.mem_alloc(100), ctypes.c_float()
    with event() as start, event() as stop:
        with pytest.raises(Failed, match="CUDA_ERROR_INVALID_VALUE"):
            call("cuEventRecordWithFlags", start, P(stream.handle), calls.EXTERNAL)
        begin(stream)
        call("cuEventRecordWithFlags", start, P(stream.handle), calls.EXTERNAL)
        cuda.memset_d8_async(memory, 1, 100, stream)
        call("cuEventRecordWithFlags", stop, P(stream.handle), calls.EXTERNAL)
        with instance(end(stream)) as ready:
            emulator.set_delay(2, 60_000, 30_000)
            times = set()
            for _ in range(3):
                launch(ready, stream)
                with pytest.raises(Failed, match="CUDA_ERROR_NOT_READY"):
                    call("cuEventElapsedTime_v2", ctypes.byref(elapsed), start, stop)
                call("cuEventSynchronize", stop)
                call("cuEventElapsedTime_v2", ctypes.byref(elapsed), start, stop)
                assert 0 < elapsed.value < 1000
                times.add(elapsed.value)
            assert len(times) == 3


def test_destroyed_graphs_are_errors(cuda: Any) -> None:
    stream = cuda.Stream()
    begin(stream)
    graph = end(stream)
    with instance(graph) as ready:
        launch(ready, stream)
    stream.synchronize()
    for function, arguments in [
        ("cuGraphDestroy", (graph,)),
        ("cuGraphExecDestroy", (ready,)),
        ("cuGraphLaunch", (ready, P(stream.handle))),
    ]:
        with pytest.raises(Failed, match="CUDA_ERROR_INVALID_HANDLE"):
            call(function, *arguments)


@pytest.mark.skipif(
    not compilation.compilers(), reason="needs a CUDA compiler: pip install nvidia-cuda-nvrtc (or nvcc)"
)
def test_a_graph_whose_module_is_gone_is_an_error(cuda: Any) -> None:
    stream, memory = cuda.Stream(), cuda.mem_alloc(1024)
    module = made("cuModuleLoadData", compilation.compiled((9, 0)))
    function = made("cuModuleGetFunction", module, b"clear_areas")
    params = areas(Plane(int(memory), 16), (16, 16), int(memory))[0].params.copy()
    pointers = (ctypes.c_void_p * 1)(params.ctypes.data)
    begin(stream)
    call("cuLaunchKernel", function, 1, 1, 1, 256, 1, 1, 0, P(stream.handle), pointers, None)
    with instance(end(stream)) as ready:
        launch(ready, stream)
        stream.synchronize()
        call("cuModuleUnload", module)
        with pytest.raises(Failed, match="CUDA_ERROR_INVALID_HANDLE"):
            launch(ready, stream)
