"""kernels.cu compiled for every supported GPU: no warnings, no spills; the cache; errors in one line."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from rtseg.errors import BackendError, MissingExtra
from rtseg.kernels import compile as compilation
from rtseg.kernels import launch as plans
from rtseg.kernels.compile import ARCHITECTURES, Compiled, CompileError, build, compiled, compilers, target, usage
from tests.kernels.conftest import compiled as table

needs_compiler = pytest.mark.skipif(
    not compilers(), reason="needs a CUDA compiler: pip install nvidia-cuda-nvrtc (or nvcc of the CUDA toolkit)"
)
slow = pytest.mark.slow


def check(architecture: str, done: Compiled) -> None:
    used = table[f"{architecture}{'' if done.compiler.startswith('NVRTC') else ' by nvcc'}"] = usage(done.log)
    assert set(used) == set(plans.KERNELS)
    assert {name for name, kernel in used.items() if kernel.spilled} == set()
    assert max(kernel.shared for kernel in used.values()) <= 24 << 10
    # Of 64K registers per multiprocessor: four blocks of 256 threads run at once, or ten of the 64 of preprocess.
    for name, kernel in used.items():
        assert kernel.registers <= (96 if name.startswith("preprocess") else 64), name
    assert done.image[:4] == b"\x7fELF"


@needs_compiler
@pytest.mark.parametrize("architecture", [pytest.param(name, marks=slow) for name in ARCHITECTURES])
def test_compiles_without_warnings_or_spills(architecture: str) -> None:
    check(architecture, build(architecture, strict=True))


@slow
@pytest.mark.skipif("nvcc" not in compilers(), reason="needs nvcc of the CUDA toolkit")
def test_nvcc_compiles_too() -> None:
    check("sm_90", build("sm_90", "nvcc", strict=True))


@pytest.mark.skipif(importlib.util.find_spec("nvidia") is None, reason="needs NVRTC from pip")
def test_nvrtc_from_pip_finds_its_builtins() -> None:
    # The wheel of CUDA 13.0 looks for them in the system's folders only.
    code = (
        "from pathlib import Path; from rtseg.kernels import compile as c; c._nvrtc(c._nvrtc_file()); "
        "print(any('libnvrtc-builtins' in line for line in open('/proc/self/maps')))"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert told == "True\n"


def test_every_kernel_has_a_plan() -> None:
    names = re.findall(r"^(?:PREPROCESS|TILED)\((\w+),", compilation.SOURCE.read_text(), re.MULTILINE)
    assert sorted(names) == sorted(plans.KERNELS)


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A source that compiles at once."""
    source = tmp_path / "kernels.cu"
    source.write_text('extern "C" __global__ void one(int *at) { *at = 1; }\n')
    monkeypatch.setattr(compilation, "SOURCE", source)
    return source


@needs_compiler
def test_kept_by_source_and_architecture(small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "cache"
    first = compiled((9, 0), folder=folder)
    (kept,) = folder.iterdir()
    assert kept.read_bytes() == first
    assert re.fullmatch(r"kernels-sm_90-[0-9a-f]{16}\.cubin", kept.name)
    compiled((8, 0), folder=folder)
    small.write_text(small.read_text().replace("= 1", "= 2"))
    assert compiled((9, 0), folder=folder) != first
    assert len(list(folder.iterdir())) == 3
    monkeypatch.setattr(compilation, "compilers", lambda cuda: ())
    assert compiled((9, 0), folder=folder)  # What is kept needs no compiler.
    kept.unlink()
    small.write_text(small.read_text().replace("= 2", "= 1"))
    with pytest.raises(MissingExtra, match="the CUDA kernels need a compiler: pip install nvidia-cuda-nvrtc"):
        compiled((9, 0), folder=folder)


@needs_compiler
def test_an_empty_file_is_compiled_again_and_a_folder_that_is_a_file_is_done_without(
    small: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "cache"
    image = compiled((9, 0), folder=folder)
    (kept,) = folder.iterdir()
    kept.write_bytes(b"")
    assert compiled((9, 0), folder=folder) == image == kept.read_bytes()
    blocked = tmp_path / "blocked"
    blocked.write_text("")
    assert compiled((9, 0), folder=blocked) == image


@needs_compiler
@pytest.mark.parametrize("compiler", compilers())
def test_errors_name_the_first_line(small: Path, compiler: compilation.Compiler) -> None:
    small.write_text('extern "C" __global__ void one(int *at) { *at = nowhere; }\n')
    with pytest.raises(CompileError) as caught:
        build("sm_90", compiler)
    assert issubclass(CompileError, BackendError)
    assert "kernels.cu does not compile for sm_90 with " in str(caught.value)
    assert 'identifier "nowhere" is undefined' in str(caught.value)
    assert "\n" not in str(caught.value)
    with pytest.raises(CompileError, match=r"cannot compile for sm_33: .*install a version that can"):
        build("sm_33", compiler)
    small.write_text('extern "C" __global__ void one(int *at) { int unused; *at = 1; }\n')
    assert build("sm_90", compiler).image
    with pytest.raises(CompileError, match="unused"):
        build("sm_90", compiler, strict=True)


@needs_compiler
def test_a_gpu_newer_than_the_compiler_gets_ptx(small: Path, tmp_path: Path) -> None:
    assert target((9, 0)) == "sm_90"
    newest = target((99, 0))
    assert newest.startswith("compute_1")
    assert b".visible .entry one" in compiled((99, 0), folder=tmp_path / "cache")
    with pytest.raises(CompileError, match=r"compute capability 3\.5 is older"):
        target((3, 5))


def test_a_compiler_that_is_newer_than_the_driver_comes_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("cu13/lib/libnvrtc.so.13", "cuda_nvrtc/lib/libnvrtc.so.12", "cuda_nvrtc/lib/libnvrtc.alt.so.12"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    found = SimpleNamespace(submodule_search_locations=[str(tmp_path)])
    monkeypatch.setattr(compilation.importlib.util, "find_spec", lambda name: found)
    monkeypatch.setattr(compilation.shutil, "which", lambda name: f"/usr/bin/{name}")
    for driver, name in (
        (None, "libnvrtc.so.13"),
        (13, "libnvrtc.so.13"),
        (12, "libnvrtc.so.12"),
        (14, "libnvrtc.so.13"),
    ):
        assert compilation._nvrtc_file(driver).name == name
        assert compilers(driver) == ("nvrtc", "nvcc")
    (tmp_path / "cuda_nvrtc/lib/libnvrtc.so.12").unlink()
    assert compilers(12) == ("nvcc", "nvrtc")
