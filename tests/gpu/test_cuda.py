"""The device itself: what is left when opening it fails, or when nobody closes it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests import gpu

gpu.skip_without()

from rtseg.errors import BackendError  # noqa: E402
from rtseg.gpu import cuda as opened  # noqa: E402
from rtseg.gpu.cuda import Device  # noqa: E402
from rtseg.kernels import launch as plans  # noqa: E402
from rtseg.kernels.launch import Drawing, Plane  # noqa: E402

pytestmark = pytest.mark.gpu
UNCLOSED = """
from tests import emulator
if {emulated}:
    emulator.load()
from rtseg.gpu.cuda import Device
first, second = Device(), Device()
memory, stream = first.empty(1000), second.stream()
arena = first.arena({{"frame": 1000}}, {{"frame": 1000}})
"""


def full(*_: Any) -> Any:
    raise opened.cuda.MemoryError("cuSomething failed: out of memory")


def test_a_gpu_too_full_for_a_context(monkeypatch: pytest.MonkeyPatch) -> None:
    class Full:
        retain_primary_context = full

    monkeypatch.setattr(opened.cuda, "Device", lambda _: Full())
    with pytest.raises(BackendError, match="too little free to begin with: use a smaller"):
        Device()


def test_a_device_that_does_not_open_leaves_nothing(monkeypatch: pytest.MonkeyPatch, emulator: Any) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(opened.cuda, "Stream", full)
        with pytest.raises(BackendError, match=r"cuda:0 is out of memory: .* MiB free"):
            Device()
    assert emulator.counters()["contexts"] == 0
    with Device() as device:
        assert device.memory()[1] > 0


def test_damaged_kernels_on_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opened, "compiled", lambda *_, **__: b"\x7fELF and no more")
    with Device() as device, pytest.raises(BackendError, match=r"damaged: delete ~/\.cache/rtseg/kernels"):
        device.function("preprocess_bgr8")


def test_what_to_do_about_a_kernel_that_left_its_memory(emulator: Any) -> None:
    size = (16, 16)
    with Device() as device:
        done = device.event()
        device.launch(plans.paint(Plane(0, 16), size, Drawing(Plane(0, 48), Plane(0, 48), fill=16)))
        with pytest.raises(BackendError, match="CUDA_ERROR_ILLEGAL_ADDRESS: a kernel left its memory: please report"):
            done.record(device._own.handle).wait()
        with pytest.raises(BackendError, match="an illegal memory access was encountered: a kernel left its memory"):
            device.stream().synchronize()
        assert emulator.fault()
        emulator.reset()
        done.close()


def test_a_process_that_does_not_close_it_ends_in_order() -> None:
    code = UNCLOSED.format(emulated=gpu.chosen == "emulated")
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=Path(__file__).parents[2], capture_output=True, text=True, timeout=120
    )
    assert (done.returncode, done.stderr) == (0, "")
