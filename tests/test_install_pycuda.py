"""tools/install_pycuda.py: which headers it takes, and what it says where something is missing."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import shutil
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
