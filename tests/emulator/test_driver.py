"""The emulated driver as a library: its signatures, and that it has every function that PyCUDA calls."""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from rtseg.gpu import driver
from tests import emulator as package

ROOT = Path(__file__).parents[2]


def test_signatures_are_those_of_cuda() -> None:
    """The emulator compiles with the toolkit's own cuda.h, too."""
    compiler = shutil.which("g++")
    if compiler is None:
        pytest.skip("needs g++ (apt-get install g++)")
    found = importlib.util.spec_from_file_location("install_pycuda", ROOT / "tools" / "install_pycuda.py")
    assert found is not None and found.loader is not None
    tool = importlib.util.module_from_spec(found)
    found.loader.exec_module(tool)
    headers = tool.toolkit_headers()
    if headers is None or tool.cuda_version(headers) // 1000 != 13:
        pytest.skip("needs the headers of CUDA 13 (apt-get install cuda-driver-dev-13-0 cuda-profiler-api-13-0)")
    source = package.HERE / "driver.cpp"
    command = [compiler, *package.FLAGS, "-fsyntax-only", "-DEMULATOR_CUDA_H", f"-I{headers}", str(source)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr


@pytest.mark.gpu
def test_rtseg_finds_it(emulator: Any) -> None:
    emulator.set_capability(8, 7)
    assert driver.gpus() == [driver.Gpu(0, "Emulated GPU", (8, 7))]


@pytest.mark.gpu
def test_every_call_of_pycuda_has_an_answer(emulator: Any) -> None:
    """A missing function would end the process at the call."""
    import pycuda._driver

    strings = re.findall(rb"\0(cu[A-Z]\w+)(?=\0)", Path(pycuda._driver.__file__).read_bytes())
    names = {found.decode() for found in strings}
    assert {"cuInit", "cuMemAlloc_v2", "cuLaunchKernel"} <= names
    library = emulator.load()
    missing = {name for name in names if not hasattr(library, name)}
    # Messages have the names without the version.
    versioned = {re.sub(r"_v\d$", "", name) for name in names - missing}
    assert missing <= versioned
