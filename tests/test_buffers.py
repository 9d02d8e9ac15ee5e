"""The pool hands an array out again only when nobody holds it."""

from __future__ import annotations

import threading

import numpy as np

from rtseg.buffers import Pool


def test_an_array_is_used_again_once_it_is_let_go() -> None:
    pool = Pool()
    first = pool.take((4, 5))
    address = first.ctypes.data
    del first
    again = pool.take((4, 5))
    assert again.ctypes.data == address
    assert len(pool) == 1


def test_a_held_array_is_never_handed_out() -> None:
    pool = Pool()
    held = [pool.take((8, 8)) for _ in range(3)]
    for value, array in enumerate(held):
        array[:] = value
    assert len({array.ctypes.data for array in held}) == 3
    assert [int(array[0, 0]) for array in held] == [0, 1, 2]


def test_a_view_or_another_container_keeps_its_array_out_of_circulation() -> None:
    pool = Pool()
    row = pool.take((2, 3))[0]
    record = {"map": pool.take((2, 3))}
    other = pool.take((2, 3))
    assert not np.shares_memory(other, row)
    assert not np.shares_memory(other, record["map"])


def test_an_array_held_by_another_thread_is_not_handed_out() -> None:
    pool = Pool()
    release, ready = threading.Event(), threading.Event()

    def hold(array: np.ndarray) -> None:
        ready.set()
        release.wait(5)
        del array

    thread = threading.Thread(target=hold, args=(pool.take((6,)),))
    thread.start()
    ready.wait(5)
    assert len(pool) == 1
    pool.take((6,))
    assert len(pool) == 2
    release.set()
    thread.join(5)


def test_shapes_and_types_do_not_mix_and_old_shapes_are_forgotten() -> None:
    pool = Pool(shapes=2)
    assert pool.take((2, 2), np.float32).dtype == np.float32
    assert pool.take((2, 2)).dtype == np.uint8
    pool.take((3, 3))
    assert len(pool) == 2
