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


@pytest.fixture(scope="module", autouse=True)
def _gpu() -> Iterator[None]:
    """The GPU, for as long as a module's tests run."""
    if gpu.chosen == "none" or gpu.missing(gpu.chosen) is not None:
        yield
        return
    from rtseg.cuda import Device  # which imports PyCUDA

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
