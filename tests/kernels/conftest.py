"""What the twin tests run on: the definition, kernels.cu compiled for the CPU, or, with `--gpu`, a GPU."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from rtseg.kernels import cpu
from rtseg.kernels.cuda import Kernels
from tests import gpu
from tests.kernels.host import HostDevice

opened: list[Any] = []
compiled: dict[str, dict[str, Any]] = {}
"""What each kernel uses, by architecture and compiler: filled by the tests that compile them."""


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """What the kernels use, where tests compiled them for GPUs."""
    if not compiled:
        return
    terminalreporter.section("kernels.cu: registers per thread, with + and the bytes spilled where there are any")
    write = terminalreporter.write_line
    write(f"{'':20}{'shared':>7}" + "".join(f"{name:>15}" for name in compiled))
    for name, first in next(iter(compiled.values())).items():
        used = [kernels[name] for kernels in compiled.values()]
        cells = (f"{one.registers}+{one.spilled}" if one.spilled else f"{one.registers}" for one in used)
        write(f"{name:20}{first.shared:7}" + "".join(f"{cell:>15}" for cell in cells))


@pytest.fixture(scope="module", autouse=True)
def _gpu() -> Iterator[None]:
    """The GPU, for as long as a module's tests run."""
    if gpu.chosen == "none" or gpu.missing(gpu.chosen) is not None:
        yield
        return
    from rtseg.gpu.cuda import Device  # which imports PyCUDA

    class RecordedDevice(Device):
        launched: list[str]

        def launch(self, launch: Any, stream: Any = None) -> None:
            super().launch(launch, stream)
            self.launched.append(launch.kernel)

    with RecordedDevice() as device:
        device.launched = []
        opened[:] = [device]
        yield
        opened.clear()


@pytest.fixture(scope="module", params=["cpu", "host", pytest.param("gpu", marks=pytest.mark.gpu)])
def kernels(request: pytest.FixtureRequest) -> Any:
    """The kernels' functions."""
    return cpu if request.param == "cpu" else twin(request.param)


def twin(name: str) -> Kernels:
    """kernels.cu on a `gpu` or on the `host`; with `pixels` its labels without tiles, with `backwards` the threads of a
    block in descending order."""
    device = opened[0] if "gpu" in name else HostDevice(backwards="backwards" in name)
    device.launched.clear()
    return Kernels(device, by_pixel="pixels" in name)
