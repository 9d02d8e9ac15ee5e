"""Memory of the emulated driver, by real PyCUDA: copies, what they wait for, and what a program may get wrong."""

from __future__ import annotations

import ctypes
import gc
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest

from tests.emulator.calls import Failed, call

pytestmark = pytest.mark.gpu
SLOW = 60_000
"""Microseconds that a stream waits before whatever it does: much longer than the calls of a test take."""


def numbers(count: int = 1000, seed: int = 0) -> Any:
    return np.random.default_rng(seed).integers(0, 255, count, dtype=np.uint8)


def test_what_goes_up_comes_down(cuda: Any, emulator: Any) -> None:
    array, memory = numbers(), cuda.mem_alloc(1000)
    cuda.memcpy_htod(memory, array)
    other = cuda.mem_alloc(1000)
    cuda.memcpy_dtod(other, memory, 1000)
    found = np.zeros_like(array)
    cuda.memcpy_dtoh(found, other)
    np.testing.assert_array_equal(found, array)
    counters = emulator.counters()
    assert (counters["bytes_up"], counters["bytes_down"]) == (1000, 1000)
    assert (counters["copies_up"], counters["copies_down"], counters["allocations"]) == (1, 1, 2)
    assert (counters["device_bytes"], counters["device_ranges"]) == (2000, 2)


def test_rows_with_pitches(cuda: Any) -> None:
    image, memory = numbers(20 * 30).reshape(20, 30), cuda.mem_alloc(20 * 64)
    cuda.memset_d8(memory, 9, 20 * 64)
    copy = cuda.Memcpy2D()
    copy.set_src_host(image)
    copy.set_dst_device(memory)
    copy.src_pitch, copy.dst_pitch, copy.width_in_bytes, copy.height = 30, 64, 25, 20
    stream = cuda.Stream()
    copy(stream)
    found = np.zeros((20, 64), np.uint8)
    stream.synchronize()
    cuda.memcpy_dtoh(found, memory)
    np.testing.assert_array_equal(found[:, :25], image[:, :25])
    assert (found[:, 25:] == 9).all()
    copy.width_in_bytes = 31
    with pytest.raises(cuda.LogicError, match="invalid argument"):
        copy(stream)


@pytest.mark.parametrize("kind", [np.uint8, np.uint16, np.uint32])
def test_memset(cuda: Any, kind: Any) -> None:
    memory, stream, found = cuda.mem_alloc(400), cuda.Stream(), np.zeros(400 // kind().itemsize, kind)
    value = int(np.iinfo(kind).max) // 3
    getattr(cuda, f"memset_d{8 * kind().itemsize}_async")(memory, value, found.size, stream)
    stream.synchronize()
    cuda.memcpy_dtoh(found, memory)
    assert (found == value).all()


def test_new_memory_is_rubbish(cuda: Any) -> None:
    found = np.zeros(100, np.uint8)
    cuda.memcpy_dtoh(found, cuda.mem_alloc(100))
    assert (found == 0xA5).all() and (cuda.pagelocked_empty(100, np.uint8) == 0xA5).all()


def test_out_of_memory(cuda: Any, emulator: Any) -> None:
    emulator.set_memory(1 << 20)
    assert cuda.mem_get_info() == (1 << 20, 1 << 20)
    first = cuda.mem_alloc(600_000)
    assert cuda.mem_get_info()[0] == (1 << 20) - 600_000
    with pytest.raises(cuda.MemoryError):
        cuda.mem_alloc(600_000)
    first.free()
    cuda.mem_alloc(600_000).free()


def test_a_copy_is_not_done_when_its_call_returns(cuda: Any, emulator: Any) -> None:
    emulator.set_delay(1, SLOW, SLOW)
    memory, pinned, stream, done = (
        cuda.mem_alloc(100),
        cuda.pagelocked_zeros(100, np.uint8),
        cuda.Stream(),
        cuda.Event(),
    )
    cuda.memcpy_dtoh_async(pinned, memory, stream)
    done.record(stream)
    assert not done.query() and not stream.is_done()
    assert (pinned == 0).all(), "old bytes where the wait is missing"
    done.synchronize()
    assert done.query() and stream.is_done() and (pinned == 0xA5).all()


def test_pinned_memory_is_read_when_the_copy_runs(cuda: Any, emulator: Any) -> None:
    emulator.set_delay(1, SLOW, SLOW)
    memory, pinned, stream = cuda.mem_alloc(100), cuda.pagelocked_zeros(100, np.uint8), cuda.Stream()
    cuda.memcpy_htod_async(memory, pinned, stream)
    pinned[:] = 5  # Too early, and the copy takes it.
    stream.synchronize()
    found = np.zeros(100, np.uint8)
    cuda.memcpy_dtoh(found, memory)
    assert (found == 5).all()


def test_pageable_memory_is_staged(cuda: Any, emulator: Any) -> None:
    emulator.set_delay(1, SLOW, SLOW)
    memory, array, stream = cuda.mem_alloc(100), np.full(100, 3, np.uint8), cuda.Stream()
    cuda.memcpy_htod_async(memory, array, stream)
    array[:] = 5
    found = np.zeros(100, np.uint8)
    cuda.memcpy_dtoh_async(found, memory, stream)  # Returns with the bytes there.
    assert (found == 3).all()


@contextmanager
def registered(array: Any) -> Iterator[None]:
    """Pinned by the driver itself: `register_host_memory` of PyCUDA 2026.1 crashes with NumPy 2."""
    call("cuMemHostRegister_v2", ctypes.c_void_p(array.ctypes.data), ctypes.c_size_t(array.nbytes), 0)
    try:
        yield
    finally:
        call("cuMemHostUnregister", ctypes.c_void_p(array.ctypes.data))


def test_registered_memory_is_pinned(cuda: Any, emulator: Any) -> None:
    emulator.set_delay(1, SLOW, SLOW)
    array, stream, memory = np.zeros(8192, np.uint8), cuda.Stream(), cuda.mem_alloc(8192)
    with registered(array):
        assert emulator.counters()["pinned"] == 1
        with pytest.raises(Failed, match="CUDA_ERROR_HOST_MEMORY_ALREADY_REGISTERED"), registered(array[100:]):
            pass
        cuda.memcpy_dtoh_async(array, memory, stream)
        assert (array == 0).all()
        stream.synchronize()
        assert (array == 0xA5).all()
    assert emulator.counters()["pinned"] == 0
    with pytest.raises(Failed, match="CUDA_ERROR_HOST_MEMORY_NOT_REGISTERED"):
        call("cuMemHostUnregister", ctypes.c_void_p(array.ctypes.data))


def test_a_copy_after_its_memory_was_unregistered_is_a_fault(cuda: Any, emulator: Any) -> None:
    emulator.set_delay(1, SLOW, SLOW)
    array, memory, stream = np.zeros(8192, np.uint8), cuda.mem_alloc(8192), cuda.Stream()
    with registered(array):
        cuda.memcpy_htod_async(memory, array, stream)
    with pytest.raises(cuda.LogicError, match="illegal memory access"):
        stream.synchronize()
    assert emulator.fault() == "a copy from memory that was freed before it ran"
    emulator.reset()


def test_legacy_work_waits_for_streams_and_they_for_it(cuda: Any, emulator: Any) -> None:
    emulator.set_delay(1, SLOW, SLOW)
    memory, found, stream = cuda.mem_alloc(100), np.zeros(100, np.uint8), cuda.Stream()
    for value in range(4):
        cuda.memset_d8_async(memory, value, 100, stream)
        cuda.memset_d8(memory, value + 10, 100)
    cuda.memcpy_dtoh(found, memory)
    assert (found == 13).all()
    cuda.memset_d8(memory, 1, 100)
    cuda.memset_d8_async(memory, 2, 100, stream)
    stream.synchronize()
    cuda.memcpy_dtoh(found, memory)
    assert (found == 2).all()


def test_non_blocking_streams_do_not_wait_for_legacy_work(cuda: Any, emulator: Any) -> None:
    """What a program gets wrong that uploads by cuMemcpyHtoD and goes on in such a stream: in some run it shows."""
    memory, stream = cuda.mem_alloc(100), cuda.Stream(1)
    pinned, orders = cuda.pagelocked_zeros(100, np.uint8), set()
    for seed in range(1, 30):
        cuda.memset_d8(memory, 0, 100)
        cuda.Context.synchronize()
        emulator.set_delay(seed, 2000)
        cuda.memcpy_htod(memory, np.full(100, 7, np.uint8))
        cuda.memcpy_dtoh_async(pinned, memory, stream)
        cuda.Context.synchronize()
        orders.add(int(pinned[0]))
    assert orders == {0, 7}


def test_streams_run_at_the_same_time(cuda: Any, emulator: Any) -> None:
    streams, memory = [cuda.Stream() for _ in range(8)], cuda.mem_alloc(100)
    emulator.set_delay(3, SLOW, SLOW)
    begin = time.monotonic()
    for stream in streams:
        for _ in range(3):
            cuda.memset_d8_async(memory, 0, 100, stream)
    cuda.Context.synchronize()
    assert 3 * SLOW < 1e6 * (time.monotonic() - begin) < 12 * SLOW


def test_an_event_orders_streams(cuda: Any, emulator: Any) -> None:
    memory, pinned = cuda.mem_alloc(100), cuda.pagelocked_zeros(100, np.uint8)
    first, second, done = cuda.Stream(), cuda.Stream(), cuda.Event()
    for seed in range(1, 6):
        emulator.set_delay(seed, 5000)
        cuda.memset_d8_async(memory, seed, 100, first)
        done.record(first)
        second.wait_for_event(done)
        cuda.memcpy_dtoh_async(pinned, memory, second)
        second.synchronize()
        assert (pinned == seed).all()


def test_times_between_events(cuda: Any, emulator: Any) -> None:
    emulator.set_delay(1, SLOW, SLOW)
    stream, start, end = cuda.Stream(), cuda.Event(), cuda.Event()
    with pytest.raises(cuda.LogicError, match="invalid resource handle"):
        start.time_till(end)
    begin = time.monotonic()
    start.record(stream)
    end.record(stream)
    with pytest.raises(cuda.RuntimeError, match="not ready"):
        start.time_till(end)
    end.synchronize()
    assert 0 < start.time_till(end) <= 1e3 * (time.monotonic() - begin)


def test_copies_outside_of_memory_are_refused(cuda: Any) -> None:
    memory, array = cuda.mem_alloc(100), np.zeros(101, np.uint8)
    for wrong in (lambda: cuda.memcpy_htod(memory, array), lambda: cuda.memcpy_dtoh(array, memory)):
        with pytest.raises(cuda.LogicError, match="invalid argument"):
            wrong()
    with pytest.raises(cuda.LogicError, match="invalid argument"):
        cuda.memset_d8(int(memory) + 1, 0, 100)
    with pytest.raises(cuda.LogicError, match="invalid argument"):
        cuda.memcpy_htod(12345, array)


def test_frees_of_nothing_are_errors(cuda: Any) -> None:
    memory = cuda.mem_alloc(100)
    address = int(memory)
    for wrong in (address + 1, 12345):
        with pytest.raises(Failed, match="CUDA_ERROR_INVALID_VALUE"):
            call("cuMemFree_v2", ctypes.c_ulonglong(wrong))
    memory.free()
    with pytest.raises(Failed, match="CUDA_ERROR_INVALID_VALUE"):
        call("cuMemFree_v2", ctypes.c_ulonglong(address))


@pytest.mark.parametrize(("offset", "where"), [(-1, "before"), (-4096, "before"), (100, "behind"), (4195, "behind")])
def test_writes_around_memory_are_noticed(cuda: Any, emulator: Any, offset: int, where: str) -> None:
    memory = cuda.mem_alloc(100)
    ctypes.memset(int(memory) + offset, 0, 1)
    with pytest.raises(cuda.LogicError, match="illegal memory access"):
        cuda.Context.synchronize()
    with pytest.raises(cuda.LogicError, match="illegal memory access"):
        cuda.mem_alloc(100)
    assert f"wrote {where} the 100 bytes of device memory" in emulator.fault()
    emulator.reset()
    ctypes.memset(int(memory) + offset, 0x5C, 1)
    cuda.Context.synchronize()


def test_a_fault_ends_with_its_context(emulator: Any) -> None:
    import pycuda.driver as cuda

    cuda.init()
    for _ in range(2):
        context = cuda.Device(0).retain_primary_context()
        context.push()
        memory = cuda.mem_alloc(100)
        ctypes.memset(int(memory) + 100, 0, 1)
        with pytest.raises(cuda.LogicError, match="illegal memory access"):
            cuda.Context.synchronize()
        context.pop()
        context.detach()
        del memory
    assert emulator.counters()["device_ranges"] == 0
    emulator.reset()


def test_writes_to_freed_memory_are_noticed(cuda: Any, emulator: Any) -> None:
    memory = cuda.mem_alloc(100)
    address = int(memory)
    memory.free()
    assert bytes((ctypes.c_char * 100).from_address(address)) == b"\xa5" * 100
    ctypes.memset(address + 50, 0, 1)
    with pytest.raises(cuda.LogicError, match="illegal memory access"):
        cuda.Context.synchronize()
    assert "after it was freed" in emulator.fault()
    ctypes.memset(address + 50, 0xA5, 1)
    emulator.reset()


def test_threads_need_a_context(cuda: Any) -> None:
    found: list[str] = []

    def work() -> None:
        try:
            cuda.mem_alloc(100)
        except cuda.LogicError as exc:
            found.append(str(exc))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join(10)
    assert found and "invalid device context" in found[0]


def test_threads_at_once(cuda: Any, emulator: Any) -> None:
    """Each with its stream and memory in one context, under random delays: no one's bytes come to another."""
    emulator.set_delay(11, 300)
    context, wrong, done = cuda.Context.get_current(), [], []

    def work(number: int) -> None:
        context.push()
        stream, pinned = cuda.Stream(), cuda.pagelocked_zeros(1000, np.uint8)
        for turn in range(25):
            value, memory = (number * 25 + turn) % 251, cuda.mem_alloc(1000)
            pinned[:] = value
            cuda.memcpy_htod_async(memory, pinned, stream)
            cuda.memset_d8_async(int(memory) + 500, value + 1, 250, stream)
            cuda.memcpy_dtoh_async(pinned, memory, stream)
            stream.synchronize()
            if set(pinned[:500]) | set(pinned[750:]) != {value} or set(pinned[500:750]) != {value + 1}:
                wrong.append((number, turn))
        del stream, pinned, memory
        context.pop()
        done.append(number)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sorted(done) == list(range(6)) and not wrong


def test_destroyed_handles_are_errors(cuda: Any) -> None:
    stream, event = cuda.Stream(), None
    handle = ctypes.c_void_p(stream.handle)
    del stream, event
    gc.collect()
    for function in ("cuStreamSynchronize", "cuStreamQuery", "cuStreamDestroy_v2"):
        with pytest.raises(Failed, match="CUDA_ERROR_INVALID_HANDLE"):
            call(function, handle)
