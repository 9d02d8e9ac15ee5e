"""What systems do in ways of their own: locks, processors, memory, cameras. The rest of the package asks here.

Linux is tested. Where a system lacks something (`fcntl` and `sched_setaffinity` on Windows, `/proc` on macOS) the
answer is a plainer one that is said at each function, never an ImportError.
"""

from __future__ import annotations

import ctypes
import os
import platform
import sys
import time
from collections.abc import Callable, Collection
from pathlib import Path
from typing import IO, Any

__all__ = [
    "BINARY",
    "CAMERAS",
    "FD_FILES",
    "allow_cpus",
    "allowed_cpus",
    "camera_files",
    "cpu_flags",
    "cpu_name",
    "current_cpu",
    "group_of",
    "lock",
    "peak_memory_mb",
    "usable_cpus",
]

# Modules and functions that a system may lack; Any, because mypy knows them for the system that it runs on alone.
_fcntl: Any
_msvcrt: Any
_resource: Any
try:
    import fcntl as _fcntl
except ImportError:
    _fcntl = None
try:
    import msvcrt as _msvcrt
except ImportError:
    _msvcrt = None
try:
    import resource as _resource
except ImportError:
    _resource = None
_os: Any = os

BINARY: int = getattr(os, "O_BINARY", 0)
"""A flag of `os.open`: without it Windows writes two characters for each end of a line."""
CAMERAS = sys.platform.startswith("linux")
"""Whether cameras are device files that V4L2 reads."""
FD_FILES = Path("/dev/fd").is_dir()
"""Whether an open file of this process, the end of a pipe say, has a name that a library can be given."""
CPU_INFO = Path("/proc/cpuinfo")
STATUS = Path("/proc/self/status")
RETRY_SECONDS = 0.1

_pins = hasattr(os, "sched_setaffinity")
_which_cpu: Any = getattr(ctypes.CDLL(None), "sched_getcpu", None) if _pins else None


def lock(file: IO[Any], waiting: Callable[[], None] | None = None) -> None:
    """Hold a lock on an open file until it is closed, or its process ends; `waiting` is called once if another has it.

    Where the system has neither `flock` nor `msvcrt.locking` nothing is locked: two processes then do the same work
    twice, and the one that finishes last has the file.
    """
    if _fcntl is not None:
        try:
            _fcntl.flock(file, _fcntl.LOCK_EX | _fcntl.LOCK_NB)
        except BlockingIOError:
            if waiting is not None:
                waiting()
            _fcntl.flock(file, _fcntl.LOCK_EX)
    elif _msvcrt is not None:
        while not _lock_first_byte(file):
            if waiting is not None:
                waiting()
                waiting = None
            time.sleep(RETRY_SECONDS)


def _lock_first_byte(file: IO[Any]) -> bool:
    file.seek(0)  # msvcrt locks from the place in the file on
    try:
        _msvcrt.locking(file.fileno(), _msvcrt.LK_NBLCK, 1)
    except PermissionError:
        return False
    return True


def usable_cpus() -> int:
    """CPUs that this process may use; all of the machine's where the system does not tell them apart."""
    return len(allowed_cpus()) or os.cpu_count() or 1


def allowed_cpus() -> set[int]:
    """Numbers of the CPUs that this process may use; none where the system does not say."""
    return set(_os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else set()


def current_cpu() -> int | None:
    """The CPU that the caller runs on; None where the system does not say, or lets no thread be moved."""
    return None if _which_cpu is None else int(_which_cpu())


def allow_cpus(thread: int, cpus: Collection[int]) -> None:
    """Let a thread, by its native id, run on `cpus` only. No effect where the system forbids it, or it has ended."""
    if _pins:
        try:
            _os.sched_setaffinity(thread, cpus)
        except OSError:
            return


def peak_memory_mb() -> float | None:
    """The process's peak resident memory in MiB; None where the system does not say (Windows)."""
    if _resource is not None:
        peak = _resource.getrusage(_resource.RUSAGE_SELF).ru_maxrss  # KiB, bytes on macOS
        return round(float(peak) / (1 << 20 if sys.platform == "darwin" else 1 << 10), 1)
    for line in _lines(STATUS):
        if line.startswith("VmHWM"):
            return round(int(line.split()[1]) / 1024, 1)
    return None


def cpu_name() -> str:
    """The processor's name as the system gives it."""
    for line in _lines(CPU_INFO):
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def cpu_flags() -> frozenset[str]:
    """What the processor can do, in the words of Linux; empty on other systems."""
    for line in _lines(CPU_INFO):
        if line.startswith(("flags", "Features")):
            return frozenset(line.partition(":")[2].split())
    return frozenset()


def camera_files() -> list[str]:
    """The device files of cameras that the system shows, sorted."""
    return sorted(map(str, Path("/dev").glob("video*"))) if CAMERAS else []


def group_of(path: Path) -> str:
    """The group that owns a file, by name; only where files have groups (not on Windows)."""
    owned: Any = path
    return str(owned.group())


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except OSError:
        return []
