"""The step `environment`: what everything else was measured on.

result: gpu {name, capability, memory_bytes, multiprocessors}, cuda (the driver's version), nvidia_smi {field: value},
machine {cpu, cores, system, python, libraries}, glibc, packages {name: version}, tools {name: first telling line}
"""

from __future__ import annotations

import ctypes
import platform
import shutil
import subprocess
from collections.abc import Sequence
from importlib import metadata

from gpu_checks.check import Options
from gpu_checks.record import Record

__all__ = ["nvidia_smi", "run"]

FIELDS = (
    *("name", "driver_version", "memory.total", "memory.used", "compute_cap", "pstate", "persistence_mode"),
    *(
        "clocks.sm",
        "clocks.mem",
        "clocks.max.sm",
        "clocks.max.mem",
        "power.limit",
        "temperature.gpu",
        "ecc.mode.current",
    ),
    *("pcie.link.gen.current", "pcie.link.gen.max", "pcie.link.width.current", "pcie.link.width.max"),
)
PACKAGES = (
    *("torch", "triton", "nvidia-cudnn-cu13", "nvidia-cuda-nvrtc", "nvidia-cuda-nvrtc-cu12", "pycuda", "cupy-cuda13x"),
    *(
        "tensorrt",
        "tensorrt-cu13",
        "tensorrt-cu12",
        "tensorrt-rtx",
        "numpy",
        "numba",
        "onnx",
        "onnxruntime",
        "openvino",
    ),
    *("opencv-python", "opencv-python-headless", "av", "msgspec", "rich", "pyyaml", "pytest", "pytest-timeout"),
    *("hypothesis", "psutil"),
)
COMMANDS = {
    "nvcc": ("nvcc", "--version"),
    "g++": ("g++", "--version"),
    "compute-sanitizer": ("compute-sanitizer", "--version"),
}
COMMAND_SECONDS = 20
MULTIPROCESSORS = 16
"""CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT."""


def run(options: Options, record: Record) -> None:
    """Note GPU, driver, versions and tools."""
    result = record.result
    with record.part("packages"):
        result["packages"] = {name: version for name in PACKAGES if (version := _version(name))}
    with record.part("tools"):
        result["tools"] = {name: _telling(_output(command)) for name, command in COMMANDS.items()}
    with record.part("nvidia-smi"):
        result["nvidia_smi"] = nvidia_smi(FIELDS)
    with record.part("machine"):
        from rtseg.report import machine

        result["machine"] = machine()
        result["glibc"] = platform.libc_ver()[1]
    with record.part("GPU"):
        from rtseg.gpu.driver import check, driver, gpu

        place, library = gpu(), driver()
        told, memory, count = ctypes.c_int(), ctypes.c_size_t(), ctypes.c_int()
        check(library.cuDriverGetVersion(ctypes.byref(told)), "cuDriverGetVersion")
        check(library.cuDeviceTotalMem_v2(ctypes.byref(memory), place.index), "cuDeviceTotalMem")
        check(library.cuDeviceGetAttribute(ctypes.byref(count), MULTIPROCESSORS, place.index), "cuDeviceGetAttribute")
        result["cuda"] = f"{told.value // 1000}.{told.value % 1000 // 10}"
        result["gpu"] = {
            "name": place.name,
            "capability": list(place.capability),
            "memory_bytes": memory.value,
            "multiprocessors": count.value,
        }
        record.tell(f"  {place.name}, CUDA {result['cuda']}")


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _output(command: Sequence[str]) -> str | None:
    """What a command prints; None if it is not there or fails."""
    program = shutil.which(command[0])
    if program is None:
        return None
    try:
        done = subprocess.run([program, *command[1:]], capture_output=True, text=True, timeout=COMMAND_SECONDS)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None


def _telling(text: str | None) -> str | None:
    """The line of a version text that holds the version."""
    lines = [line.strip() for line in (text or "").splitlines() if line.strip()]
    telling = [line for line in lines if "release" in line.lower() or "version" in line.lower()]
    return next(iter(telling or lines), None)


def nvidia_smi(fields: Sequence[str]) -> dict[str, str] | None:
    """Fields of nvidia-smi, all at once or, where it does not know one, each by itself; None without it."""
    if shutil.which("nvidia-smi") is None:
        return None

    def asked(names: Sequence[str]) -> str | None:
        return _output(("nvidia-smi", "-i", "0", f"--query-gpu={','.join(names)}", "--format=csv,noheader"))

    text = asked(fields)
    values = [value.strip() for value in text.strip().splitlines()[0].split(",")] if text and text.strip() else []
    if len(values) == len(fields):
        return dict(zip(fields, values, strict=True))
    return {field: answer.strip() for field in fields if (answer := asked((field,)))}
