"""tools/install_pycuda.py: which headers it takes, and what it says where something is missing."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture
def tool() -> ModuleType:
    found = importlib.util.spec_from_file_location("install_pycuda", ROOT / "tools" / "install_pycuda.py")
    assert found is not None and found.loader is not None
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module


def toolkit(root: Path, version: int) -> Path:
    folder = root / "include"
    folder.mkdir(parents=True)
    (folder / "cuda.h").write_text(f"/* */\n#define CUDA_VERSION {version}\n")
    (folder / "cudaProfiler.h").touch()
    return folder


def test_the_named_toolkit_comes_first(tool: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    named, found = toolkit(tmp_path / "named", 12060), toolkit(tmp_path / "found", 13000)
    (tmp_path / "found" / "bin").mkdir()
    nvcc = tmp_path / "found" / "bin" / "nvcc"
    nvcc.touch(0o755)
    monkeypatch.setenv("PATH", str(nvcc.parent))
    monkeypatch.delenv("CUDA_HOME", raising=False)
    monkeypatch.setenv("CUDA_ROOT", str(tmp_path / "named"))
    assert tool.toolkit_headers() == named and tool.cuda_version(named) == 12060
    monkeypatch.setenv("CUDA_ROOT", str(tmp_path / "nowhere"))
    assert tool.toolkit_headers() == found
    (named / "cudaProfiler.h").unlink()
    monkeypatch.setenv("CUDA_ROOT", str(tmp_path / "named"))
    assert tool.toolkit_headers() == found, "without cudaProfiler.h PyCUDA cannot be built"


@pytest.mark.parametrize("if_possible", [False, True])
def test_what_is_missing_is_said_in_one_line(
    tool: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], if_possible: bool
) -> None:
    def absent(_name: str) -> str:
        raise importlib.metadata.PackageNotFoundError

    monkeypatch.setattr(importlib.metadata, "version", absent)
    monkeypatch.setattr(shutil, "which", lambda _name: None)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert tool.main(["--if-possible"] if if_possible else []) == (not if_possible)
    said = capsys.readouterr().err
    assert said.startswith("PyCUDA needs g++ to be built: apt-get install g++") and said.count("\n") == 1
    assert ("skipped" in said) == if_possible


def wheel(folder: Path, name: str, version: str, tag: str, requires: str = "") -> None:
    """A wheel of one module that says its version."""
    stem = f"{name}-{version}"
    with zipfile.ZipFile(folder / f"{stem}-{tag}.whl", "w") as file:
        file.writestr(f"{name}.py", f"VERSION = {version!r}\n")
        needed = f"Requires-Dist: {requires}\n" if requires else ""
        file.writestr(
            f"{stem}.dist-info/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{needed}"
        )
        file.writestr(f"{stem}.dist-info/WHEEL", f"Wheel-Version: 1.0\nRoot-Is-Purelib: false\nTag: {tag}\n")
        file.writestr(f"{stem}.dist-info/RECORD", "")


def test_a_folder_of_wheels_is_all_that_is_taken(tool: Any, tmp_path: Path) -> None:
    version = re.search(r"^pycuda==(.+)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE)
    assert version is not None
    python = f"cp{sys.version_info.major}{sys.version_info.minor}"
    tag = f"{python}-{python}-{sysconfig.get_platform().replace('-', '_').replace('.', '_')}"
    venv.create(tmp_path / "env", with_pip=True)
    # No index answers and nothing is kept, as on a machine without a network.
    alone = {"PIP_INDEX_URL": "http://127.0.0.1:9/", "PIP_NO_CACHE_DIR": "1", "PIP_CONFIG_FILE": os.devnull}
    variables = {**{name: value for name, value in os.environ.items() if not name.startswith("PIP_")}, **alone}
    variables["PATH"] = str(tmp_path)  # nor is there a compiler
    interpreter = str(tmp_path / "env" / "bin" / "python")

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([interpreter, *arguments], env=variables, capture_output=True, text=True)

    script, wheels = str(ROOT / "tools" / "install_pycuda.py"), tmp_path / "wheels"
    wheels.mkdir()
    wheel(wheels, "pycuda", "1.0", tag)
    done = run(script, "--wheels", str(wheels))
    assert done.returncode == 1 and done.stderr.count("\n") == 1
    assert f"no wheel of PyCUDA {version[1]} for this Python ({python})" in done.stderr and "pycuda-1.0" in done.stderr
    wheel(wheels, "pycuda", version[1], tag, requires="pytools")
    done = run(script, "--wheels", str(wheels))
    assert done.returncode and "pytools" in done.stderr, "what PyCUDA needs has to be in the folder too"
    wheel(wheels, "pytools", "2026.1", "py3-none-any")
    done = run(script, "--wheels", str(wheels))
    assert done.returncode == 0, done.stderr
    assert run("-c", "import pycuda, pytools; print(pycuda.VERSION)").stdout.strip() == version[1]
    assert run(script, "--wheels", str(tmp_path / "nowhere")).returncode == 0, "it is there already"
