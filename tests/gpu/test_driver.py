"""The driver's answers, from a library that is not there and from one that is made up."""

from __future__ import annotations

import ctypes
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from rtseg.errors import BackendError
from rtseg.gpu import driver as driving
from rtseg.gpu.driver import Gpu, gpu, gpus

HAS_DRIVER = any(Path(node).exists() for node in ("/dev/nvidiactl", "/dev/nvgpu", "/dev/dxg"))


class Library:
    """A driver library with two GPUs whose calls can be made to fail."""

    def __init__(self, **codes: int) -> None:
        self._codes = codes

    def __getattr__(self, name: str) -> Any:
        return lambda *arguments: self._codes.get(name) or self._answer(name, arguments)

    def _answer(self, name: str, arguments: tuple[Any, ...]) -> int:
        if name == "cuDeviceGetCount":
            arguments[0]._obj.value = 2
        elif name == "cuDeviceGet":
            arguments[0]._obj.value = arguments[1]
        elif name == "cuDeviceGetName":
            arguments[0].value = b"NVIDIA H100 80GB HBM3" if arguments[2].value else b"Orin"
        elif name == "cuDeviceGetAttribute":
            major, minor = (9, 0) if arguments[2].value else (8, 7)
            arguments[0]._obj.value = {75: major, 76: minor}[arguments[1]]
        elif name == "cuGetErrorName":
            arguments[1]._obj.value = b"CUDA_ERROR_NO_DEVICE" if arguments[0] == 100 else None
        return 0


def use(monkeypatch: pytest.MonkeyPatch, **codes: int) -> None:
    library = Library(**codes)
    monkeypatch.setattr(driving, "_library", lambda: library)


def test_gpus_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch)
    assert gpus() == [Gpu(0, "Orin", (8, 7)), Gpu(1, "NVIDIA H100 80GB HBM3", (9, 0))]
    assert gpu().name == gpu("cuda").name == gpu("CUDA:0").name == "Orin"
    assert gpu("cuda:1").capability == (9, 0)
    for wrong in ("cuda:2", "cpu", "cuda:x", "gpu"):
        with pytest.raises(BackendError, match=f"no device '{wrong}' here .devices: cuda:0, cuda:1"):
            gpu(wrong)


def test_what_the_driver_answers_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, cuInit=100)
    with pytest.raises(BackendError, match="cuInit failed with CUDA_ERROR_NO_DEVICE: no GPU is visible to the driver"):
        gpus()
    use(monkeypatch, cuInit=803)
    with pytest.raises(BackendError, match="cuInit failed with 803: kernel driver and user library have different"):
        gpus()
    use(monkeypatch, cuDeviceGetName=2)
    with pytest.raises(BackendError, match="cuDeviceGetName failed with 2: the GPU's memory is full: use a smaller"):
        gpus()
    use(monkeypatch, cuDeviceGetName=1)
    with pytest.raises(BackendError, match=r"cuDeviceGetName failed with 1: see docs/gpu\.md"):
        gpus()


def test_no_library(monkeypatch: pytest.MonkeyPatch) -> None:
    driving._library.cache_clear()
    monkeypatch.setattr(driving, "LIBRARY", "libnowhere.so.1")
    with pytest.raises(BackendError, match=r"no NVIDIA driver here .* pip install 'rtseg\[tensorrt,gpu\]'"):
        gpus()
    driving._library.cache_clear()


@pytest.mark.skipif(HAS_DRIVER, reason="there is a driver here")
def test_no_runtime_is_made_without_a_driver() -> None:
    """Making one would end the process, so it is tried in another."""
    pytest.importorskip("tensorrt_rtx", exc_type=ImportError)
    code = "from rtseg.tensorrt.engine import inspected; print(inspected(b'plan'))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=Path.cwd())
    assert done.returncode == 0, done.stderr
    assert "no NVIDIA driver here" in done.stdout


def test_ctypes_is_what_the_fake_uses() -> None:
    count = ctypes.c_int()
    Library().cuDeviceGetCount(ctypes.byref(count))
    assert count.value == 2
