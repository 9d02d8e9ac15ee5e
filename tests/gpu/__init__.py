"""`--gpu`: where the tests marked `gpu` run. `emulated`: on the driver of tests/emulator, loaded before PyCUDA is."""

from __future__ import annotations

import ctypes
import importlib.util
import shutil
from collections.abc import Iterator
from types import ModuleType

import pytest

CHOICES = ("none", "emulated", "real")
SKIPPED = "needs --gpu emulated (make test) or --gpu real (make gpu)"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--gpu",
        choices=CHOICES,
        default="none",
        help="run the tests marked gpu, and no others, on this (default: none)",
    )


chosen = "none"
"""What `--gpu` said."""


def skip_without() -> None:
    """Skip the calling module where PyCUDA cannot be imported: the first line of modules whose tests all need a GPU."""
    reason = SKIPPED if chosen == "none" else missing(chosen)
    if reason is not None:
        pytest.skip(reason, allow_module_level=True)


def missing(gpu: str) -> str | None:
    """Why tests cannot run on that GPU here, in words that name what to install."""
    if importlib.util.find_spec("pycuda") is None:
        return "needs PyCUDA (python tools/install_pycuda.py, or make test)"
    if gpu == "emulated" and shutil.which("g++") is None:
        return "needs g++ for the emulated driver (apt-get install g++)"
    return None


def pytest_configure(config: pytest.Config) -> None:
    global chosen
    chosen = gpu = config.getoption("--gpu")
    if gpu == "real":
        try:
            ctypes.CDLL("libcuda.so.1")
        except OSError as exc:
            raise pytest.UsageError(f"--gpu real: no NVIDIA driver here ({exc})") from exc
    if gpu == "emulated" and not missing(gpu):
        from tests import emulator
        from tests.gpu import network
        from tests.kernels import host

        emulator.load()
        emulator.add_kernels(host.compiled(host.HERE / "host.cpp", host.KERNELS))
        emulator.add_kernels(network.host_library())


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """A run is either for the tests that need a GPU or for the others, some of which assert that there is none."""
    gpu = config.getoption("--gpu")
    reason = SKIPPED if gpu == "none" else missing(gpu)
    marked = [item for item in items if item.get_closest_marker("gpu")]
    if reason is not None:
        for item in marked:
            item.add_marker(pytest.mark.skip(reason=reason))
    if gpu != "none":
        config.hook.pytest_deselected(items=[item for item in items if not item.get_closest_marker("gpu")])
        items[:] = marked


@pytest.fixture(scope="session")
def emulator(pytestconfig: pytest.Config) -> ModuleType:
    """tests.emulator, loaded; for tests that ask what happened, or for something to go wrong."""
    if pytestconfig.getoption("--gpu") != "emulated":
        pytest.skip("needs --gpu emulated (make test)")
    from tests import emulator

    return emulator


@pytest.fixture(autouse=True)
def _fresh_emulator(request: pytest.FixtureRequest) -> Iterator[None]:
    """Every test begins with the settings and counters of a new driver, and ends without a fault that it did not see:
    a test that provokes one asks for it with `emulator.fault` and then calls `emulator.reset`."""
    if request.config.getoption("--gpu") != "emulated":
        yield
        return
    from tests import emulator

    emulator.reset()
    yield
    fault = emulator.fault()
    emulator.reset()
    assert not fault, fault
