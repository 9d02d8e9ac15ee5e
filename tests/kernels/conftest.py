"""What the twin tests run on: the definition, and kernels.cu compiled for the CPU. A GPU joins here."""

from __future__ import annotations

from typing import Any

import pytest

from rtseg.kernels import cpu
from rtseg.kernels.cuda import Kernels
from tests.kernels.host import HostDevice


@pytest.fixture(scope="session", params=["cpu", "host"])
def kernels(request: pytest.FixtureRequest) -> Any:
    """The kernels' functions."""
    return cpu if request.param == "cpu" else twin(request.param)


def twin(name: str) -> Kernels:
    """`host`: kernels.cu on the CPU; with `pixels` its labels without tiles, with `backwards` threads in that order."""
    return Kernels(HostDevice(backwards="backwards" in name), by_pixel="pixels" in name)
