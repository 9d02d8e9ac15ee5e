"""kernels.cu to machine code: compiled by NVRTC, else by nvcc, once per source and GPU architecture, kept on disk.

NVRTC is called through ctypes: eight plain functions of one library, which pip installs by itself (nvidia-cuda-nvrtc,
60 MB). The cuda-bindings package would add 20 MB and a second version to keep in step with the driver's, for those
same eight calls. nvcc needs the CUDA toolkit and a C++ compiler, so it comes second.
"""

from __future__ import annotations

import contextlib
import ctypes
import ctypes.util
import hashlib
import importlib.util
import re
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

from rtseg.download import cache_folder
from rtseg.errors import BackendError, MissingExtra
from rtseg.files import write_bytes

__all__ = [
    "ARCHITECTURES",
    "CompileError",
    "Compiled",
    "Compiler",
    "Usage",
    "build",
    "compiled",
    "compilers",
    "target",
    "usage",
]

SOURCE = Path(__file__).with_name("kernels.cu")
FLAGS = ("-std=c++17", "-lineinfo")
REPORT = ("-Xptxas=-v",)
ARCHITECTURES = ("sm_75", "sm_80", "sm_86", "sm_87", "sm_89", "sm_90", "sm_100", "sm_120")
"""What is compiled in tests: Turing, A100, RTX 30, Orin, RTX 40, H100, B200 and RTX 50."""
NVCC_SECONDS = 300
INSTALL = "pip install nvidia-cuda-nvrtc"

Compiler = Literal["nvrtc", "nvcc"]


class CompileError(BackendError):
    """The kernels could not be compiled for a GPU."""


@dataclass(frozen=True, slots=True)
class Compiled:
    """Machine code (or PTX) of all kernels, what compiled it, and the compiler's output."""

    image: bytes
    compiler: str
    log: str


@dataclass(frozen=True, slots=True)
class Usage:
    """What one kernel uses per thread (registers, bytes of stack and of registers spilled to memory) and per block."""

    registers: int
    stack: int
    spilled: int
    shared: int


def compilers(cuda: int | None = None) -> tuple[Compiler, ...]:
    """The compilers that are installed, the first choice first.

    `cuda` is the major version of CUDA that the driver has: NVRTC of a later one makes code that it may not load, so
    nvcc then comes first.
    """
    file, found = _nvrtc_file(cuda), list[Compiler]()
    if file is not None:
        found.append("nvrtc")
    if shutil.which("nvcc"):
        found.insert(0 if file is not None and cuda is not None and _major(file) > cuda else len(found), "nvcc")
    return tuple(found)


def compiled(
    capability: tuple[int, int], *, cuda: int | None = None, source: Path | None = None, folder: Path | None = None
) -> bytes:
    """The code of `source` (kernels.cu) for a GPU of a compute capability, for example (9, 0): cubin, or PTX for a GPU
    that is newer than the compiler. `cuda` is the major version of the driver's CUDA.

    It is compiled (seconds) only if it is not in `folder`, which is `~/.cache/rtseg/kernels` unless given. A folder
    that cannot be written to only costs the time again. Errors: MissingExtra without a compiler, CompileError.
    """
    folder, source = folder or cache_folder().with_name("kernels"), source or SOURCE
    own = f"sm_{capability[0]}{capability[1]}"
    name = own if _kept(folder, own, source).is_file() else target(capability, cuda)
    path = _kept(folder, name, source)
    if path.is_file() and (image := path.read_bytes()):
        return image
    image = build(name, source=source, cuda=cuda).image
    _write(path, image)
    return image


def build(
    architecture: str,
    compiler: Compiler | None = None,
    *,
    cuda: int | None = None,
    source: Path | None = None,
    strict: bool = False,
) -> Compiled:
    """Compile for `sm_90` (a cubin), `compute_90` (PTX) or any other; `strict`: warnings are errors."""
    available = compilers(cuda)
    if compiler is None and not available:
        raise MissingExtra(f"the CUDA kernels need a compiler: {INSTALL}")
    if compiler is not None and compiler not in available:
        raise MissingExtra(f"{compiler} is not installed; {INSTALL}")
    if (compiler or available[0]) == "nvcc":
        return _build_nvcc(source or SOURCE, architecture, strict)
    return _build_nvrtc(source or SOURCE, architecture, strict, cuda)


def target(capability: tuple[int, int], cuda: int | None = None) -> str:
    """What to compile for: the GPU's own architecture where the compiler knows it, else PTX of the newest one."""
    number, known = capability[0] * 10 + capability[1], _known(cuda)
    if not known or number in known:
        return f"sm_{number}"
    older = [other for other in known if other < number]
    if not older:
        raise CompileError(
            f"compute capability {capability[0]}.{capability[1]} is older than any that the installed CUDA compiler "
            "knows: install one of CUDA 12 (pip install nvidia-cuda-nvrtc-cu12)"
        )
    return f"compute_{max(older)}"


def usage(log: str) -> dict[str, Usage]:
    """What each kernel uses, from the log of a compilation."""
    found = {}
    for part in re.split(r"Compiling entry function '", log)[1:]:
        stack, stores, loads = (
            int(re.search(rf"(\d+) bytes {words}", part)[1])  # type: ignore[index]
            for words in ("stack frame", "spill stores", "spill loads")
        )
        registers = re.search(r"Used (\d+) registers", part)
        shared = re.search(r"(\d+) bytes smem", part)
        found[part.split("'")[0]] = Usage(
            int(registers[1]) if registers else 0, stack, stores + loads, int(shared[1]) if shared else 0
        )
    return found


def _kept(folder: Path, architecture: str, source: Path) -> Path:
    digest = hashlib.sha256(" ".join(FLAGS).encode() + source.read_bytes()).hexdigest()
    kind = "cubin" if architecture.startswith("sm_") else "ptx"
    return folder / f"{source.stem}-{architecture}-{digest[:16]}.{kind}"


def _write(path: Path, image: bytes) -> None:
    """In place at once or not at all, so that two processes may compile at the same time."""
    with contextlib.suppress(OSError):  # Read-only or full: they are in memory, and compiled again next time.
        path.parent.mkdir(parents=True, exist_ok=True)
        write_bytes(path, image)


def _fail(source: Path, architecture: str, compiler: str, log: str) -> CompileError:
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    first = next((line for line in lines if "error" in line), lines[0] if lines else "no message")
    if "gpu-architecture" in first or "Unsupported gpu architecture" in first:
        return CompileError(
            f"{compiler} cannot compile for {architecture}: {first}; install a version that can ({INSTALL})"
        )
    return CompileError(f"{source.name} does not compile for {architecture} with {compiler}: {first}")


def _major(file: Path) -> int:
    """The CUDA version in the name of a library: 13 of libnvrtc.so.13."""
    last = file.name.rsplit(".", 1)[-1]
    return int(last) if last.isdecimal() else 0


def _nvrtc_file(cuda: int | None = None) -> Path | None:
    """The library in pip's packages (CUDA 13's nvidia/cu13/lib, CUDA 12's nvidia/cuda_nvrtc/lib), else the system's:
    the newest that is not newer than the driver's `cuda`, else the newest."""
    spec = importlib.util.find_spec("nvidia")
    for root in spec.submodule_search_locations or [] if spec else []:
        files = [*Path(root).glob("cu*/lib/libnvrtc.so.*"), *Path(root).glob("cuda_nvrtc/lib/libnvrtc.so.*")]
        files = [file for file in files if ".alt." not in file.name]
        if files:
            return max(files, key=lambda file: (cuda is None or _major(file) <= cuda, _major(file)))
    name = ctypes.util.find_library("nvrtc")
    return Path(name) if name else None


@cache
def _nvrtc(file: Path) -> ctypes.CDLL:
    try:
        # The wheel of CUDA 13.0 looks for its built-ins in the system's folders only, unless they are loaded already.
        for builtins in file.parent.glob("libnvrtc-builtins.so.*") if file.is_absolute() else ():
            ctypes.CDLL(str(builtins))
        return ctypes.CDLL(str(file))
    except OSError as exc:
        raise CompileError(f"{file} does not load: {exc}; reinstall it with {INSTALL}") from exc


def _checked(library: ctypes.CDLL, name: str, *arguments: Any) -> None:
    code = getattr(library, name)(*arguments)
    if code:
        library.nvrtcGetErrorString.restype = ctypes.c_char_p
        raise CompileError(f"{name}: {library.nvrtcGetErrorString(code).decode()}; reinstall NVRTC with {INSTALL}")


def _text(library: ctypes.CDLL, program: ctypes.c_void_p, what: str) -> bytes:
    size = ctypes.c_size_t()
    _checked(library, f"nvrtcGet{what}Size", program, ctypes.byref(size))
    content = ctypes.create_string_buffer(max(size.value, 1))
    _checked(library, f"nvrtcGet{what}", program, content)
    return content.raw[: size.value]


def _build_nvrtc(path: Path, architecture: str, strict: bool, cuda: int | None) -> Compiled:
    file = _nvrtc_file(cuda)
    assert file is not None
    library, program = _nvrtc(file), ctypes.c_void_p()
    major, minor = ctypes.c_int(), ctypes.c_int()
    _checked(library, "nvrtcVersion", ctypes.byref(major), ctypes.byref(minor))
    compiler = f"NVRTC {major.value}.{minor.value}"
    flags = [f"--gpu-architecture={architecture}", *FLAGS, *REPORT]
    flags += ["--warning-as-error=all-warnings"] if strict else []
    options = (ctypes.c_char_p * len(flags))(*(flag.encode() for flag in flags))
    source = path.read_bytes()
    _checked(library, "nvrtcCreateProgram", ctypes.byref(program), source, path.name.encode(), 0, None, None)
    try:
        failed = library.nvrtcCompileProgram(program, len(flags), options)
        log = _text(library, program, "ProgramLog").rstrip(b"\0").decode(errors="replace")
        if failed:
            raise _fail(path, architecture, compiler, log)
        image = _text(library, program, "CUBIN" if architecture.startswith("sm_") else "PTX")
        return Compiled(image, compiler, log)
    finally:
        library.nvrtcDestroyProgram(ctypes.byref(program))


def _nvcc(arguments: Sequence[str]) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(["nvcc", *arguments], capture_output=True, text=True, timeout=NVCC_SECONDS)
    except (OSError, subprocess.TimeoutExpired) as exc:
        raise CompileError(f"nvcc does not run: {exc}; {INSTALL}") from exc


def _build_nvcc(source: Path, architecture: str, strict: bool) -> Compiled:
    with tempfile.TemporaryDirectory(prefix="rtseg-nvcc-") as folder:
        path = Path(folder) / "kernels"
        kind = "-cubin" if architecture.startswith("sm_") else "-ptx"
        flags = [f"-arch={architecture}", *FLAGS, *REPORT, *(["-Werror=all-warnings"] if strict else [])]
        done = _nvcc([kind, *flags, "-o", str(path), str(source)])
        log = done.stdout + done.stderr
        if done.returncode:
            raise _fail(source, architecture, "nvcc", log)
        return Compiled(path.read_bytes(), "nvcc", log)


def _known(cuda: int | None = None) -> frozenset[int]:
    """The architectures that the first compiler can compile for, as 90 for sm_90; none if it does not say."""
    file, first = _nvrtc_file(cuda), compilers(cuda)[:1]
    if not first:
        return frozenset()  # which `build` then says
    if file is None or first == ("nvcc",):
        return frozenset(int(n) for n in re.findall(r"compute_(\d+)", _nvcc(["--list-gpu-arch"]).stdout))
    library, count = _nvrtc(file), ctypes.c_int()
    _checked(library, "nvrtcGetNumSupportedArchs", ctypes.byref(count))
    numbers = (ctypes.c_int * count.value)()
    _checked(library, "nvrtcGetSupportedArchs", numbers)
    return frozenset(numbers)
