"""Threads: the same bits from any number, callers at once, errors; and what a cold or read-only start does."""

from __future__ import annotations

import importlib
import os
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numba
import numpy as np
import pytest

from rtseg.errors import ConfigError
from rtseg.geometry import fit
from rtseg.kernels import cpu
from rtseg.kernels import threads as threads_module
from rtseg.kernels.jit import jit
from rtseg.kernels.threads import set_threads, spread, threads
from rtseg.packages.spec import ModelSpec

SPEC = ModelSpec(name="test", classes=("a", "b"))
COLORS = np.random.default_rng(0).integers(0, 256, (256, 3), dtype=np.uint8)
ALPHA = np.full(256, 100, np.uint8)


@pytest.fixture(autouse=True)
def _restore() -> Iterator[None]:
    yield
    set_threads()


def everything(seed: int, size: tuple[int, int]) -> list[Any]:
    rng = np.random.default_rng(seed)
    image = rng.integers(0, 256, (*size, 3), dtype=np.uint8)
    place = fit(size, (64, 96))
    logits = rng.normal(size=(5, 8, 12)).astype(np.float32)
    level = np.zeros(size, np.uint8)
    ids = cpu.labels(logits, size, fit=place, confidence=level)
    return [
        cpu.preprocess(image, SPEC, place),
        ids,
        level,
        cpu.upsample_labels(ids[::9, ::9], size),
        cpu.blend(image, ids, COLORS, ALPHA),
        cpu.contours(image, ids, COLORS, ALPHA),
        cpu.areas(ids, 5),
    ]


def same(left: list[Any], right: list[Any]) -> bool:
    return all(a.tobytes() == b.tobytes() for a, b in zip(left, right, strict=True))


@pytest.mark.parametrize("size", [(97, 131), (3, 200), (200, 3)])
def test_bits_do_not_depend_on_the_number_of_threads(size: tuple[int, int]) -> None:
    results = []
    for count in (1, 2, 3, 8):
        assert set_threads(count) == threads() == count
        results.append(everything(7, size))
    assert all(same(results[0], other) for other in results[1:])
    assert same(results[0], everything(7, size))


def test_callers_at_once() -> None:
    set_threads(2)
    expected = {seed: everything(seed, (60 + seed, 80)) for seed in range(4)}
    barrier = threading.Barrier(4)

    def caller(seed: int) -> bool:
        barrier.wait(10)
        return all(same(everything(seed, (60 + seed, 80)), expected[seed]) for _ in range(15))

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(caller, range(4), timeout=60))


def test_changing_the_number_while_others_work() -> None:
    expected = everything(1, (50, 60))
    stop = threading.Event()

    def change() -> None:
        count = 1
        while not stop.is_set():
            count = count % 3 + 1
            set_threads(count)
            stop.wait(0.001)

    changer = threading.Thread(target=change)
    changer.start()
    try:
        assert all(same(everything(1, (50, 60)), expected) for _ in range(20))
    finally:
        stop.set()
        changer.join(10)
    assert not changer.is_alive()


def test_spread_covers_every_row_once_and_raises() -> None:
    set_threads(3)
    for rows in (0, 1, 2, 7, 100):
        seen: list[int] = []
        spread(lambda first, last, seen=seen: seen.extend(range(first, last)), rows)  # type: ignore[misc]
        assert sorted(seen) == list(range(rows))

    def fail(first: int, last: int) -> None:
        if last == 100:
            raise ValueError("the last piece")

    with pytest.raises(ValueError, match="the last piece"):
        spread(fail, 100)


def test_default_and_rubbish() -> None:
    assert 1 <= set_threads() <= 8
    with pytest.raises(ConfigError, match="kernel threads: 0, expected 1 or more"):
        set_threads(0)


def test_warm_up_makes_it_warm() -> None:
    assert cpu.warm_up() > 0
    assert cpu.is_cold() is False


def test_no_folder_for_the_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    real = numba.njit

    def njit(**options: Any) -> Any:
        if options.get("cache"):
            return lambda function: (_ for _ in ()).throw(RuntimeError("no locator available"))
        return real(**options)

    monkeypatch.setattr(numba, "njit", njit)

    @jit
    def double(value: int) -> int:
        return 2 * value

    assert double(21) == 42


KERNEL = """
from rtseg.kernels.jit import jit

@jit
def answer(value):
    return value + {number}
"""


def test_a_changed_kernel_file_is_compiled_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    names = []
    for number in (1, 2):
        (tmp_path / f"kernel_{number}.py").write_text(KERNEL.format(number=number))
        kernel = importlib.import_module(f"kernel_{number}").answer
        assert kernel(40) == 40 + number
        names.append(kernel.py_func.__qualname__)
    assert names[0] != names[1]
    assert all(name.startswith("answer_") for name in names)
    assert len(list((tmp_path / "__pycache__").glob("*.nbi"))) == 2


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="needs Linux")
def test_helpers_keep_off_the_callers_cpu() -> None:
    allowed = os.sched_getaffinity(0)
    if len(allowed) < 2:
        pytest.skip("needs two CPUs")
    set_threads(2)
    for _ in range(20):
        spread(lambda first, last: time.sleep(0.001), 6)
    (helper,) = threads_module._helpers
    assert threads_module._avoided in allowed
    assert os.sched_getaffinity(helper) == allowed - {threads_module._avoided}
