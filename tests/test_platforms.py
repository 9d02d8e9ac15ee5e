"""What systems lack: rtseg imports, checks and runs without it, and locks hold with what there is."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from rtseg import platforms
from rtseg.errors import SourceError
from rtseg.sources import camera

ROOT = Path(__file__).resolve().parents[1]

# What Windows has not; its own lock is played by one of this system.
WINDOWS = """
import os, sys
for name in ("fcntl", "resource", "termios", "pwd", "grp"):
    sys.modules[name] = None
for name in ("sched_getaffinity", "sched_setaffinity", "O_CLOEXEC", "fork", "geteuid", "getuid"):
    delattr(os, name)
"""


def elsewhere(code: str, *words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", WINDOWS + textwrap.dedent(code), *words],
        capture_output=True,
        text=True,
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )


def test_import_check_and_run_without_what_windows_lacks(tmp_path: Path) -> None:
    done = elsewhere(
        """
        import json
        import rtseg
        from rtseg import platforms
        from rtseg.cli.check import check
        from rtseg.cli.main import main
        from rtseg.download import cached
        from rtseg.tensorrt import cache
        assert platforms.allowed_cpus() == set() and platforms.usable_cpus() == os.cpu_count()
        assert platforms.current_cpu() is None
        assert check()["ok"]
        code = main(["run", "synthetic:drive", "null:", "stats.jsonl", "--limit", "5", "--short-side", "64", "--json"])
        assert code == 0
        """,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["frames"] == 5
    assert report["peak_memory_mb"] > 10
    assert len((tmp_path / "stats.jsonl").read_bytes().splitlines()) == 5


def test_memory_that_no_system_tells(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    told = platforms.peak_memory_mb()
    monkeypatch.setattr(platforms, "_resource", None)
    assert platforms.peak_memory_mb() == pytest.approx(told, rel=0.05)
    monkeypatch.setattr(platforms, "STATUS", tmp_path / "none")
    assert platforms.peak_memory_mb() is None


def test_a_processor_that_has_no_name(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(platforms, "CPU_INFO", tmp_path / "none")
    assert platforms.cpu_name()
    assert platforms.cpu_flags() == frozenset()
    (tmp_path / "none").write_text("model name\t: One\nflags\t\t: fpu avx2\n")
    assert platforms.cpu_name() == "One"
    assert platforms.cpu_flags() == {"fpu", "avx2"}


def test_a_camera_elsewhere_than_on_linux(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platforms, "CAMERAS", False)
    assert platforms.camera_files() == []
    with pytest.raises(SourceError, match="cameras are read on Linux alone"):
        camera.check_device("/dev/video0", "camera /dev/video0")


# The lock of Windows' C library refuses at once; here its part is played by one of Linux.
MSVCRT = """
import errno, fcntl as real, sys, types
library = types.ModuleType("msvcrt")
library.LK_NBLCK = 2
def locking(descriptor, mode, size):
    assert mode == library.LK_NBLCK and size == 1
    try:
        real.flock(descriptor, real.LOCK_EX | real.LOCK_NB)
    except BlockingIOError as exc:
        raise PermissionError(errno.EACCES, "in use") from exc
library.locking = locking
sys.modules["msvcrt"] = library
sys.modules["fcntl"] = None
"""
HOLD = """
import sys
from rtseg.platforms import lock
with open("lock", "w") as file:
    lock(file, lambda: print("waiting", flush=True))
    print("held", flush=True)
    sys.stdin.readline()
"""


@pytest.mark.parametrize("before", ["", MSVCRT], ids=["flock", "msvcrt"])
def test_one_holds_the_lock_and_the_next_waits(before: str, tmp_path: Path) -> None:
    def holder() -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-c", before + HOLD],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )

    with holder() as first, holder() as second:
        assert first.stdout
        assert second.stdout
        lines = {}
        for process in (first, second):
            lines[process] = process.stdout.readline()  # type: ignore[union-attr]
        owner, other = (first, second) if lines[first] == "held\n" else (second, first)
        assert lines[owner] == "held\n"
        assert lines[other] == "waiting\n"
        time.sleep(0.2)
        owner.communicate("\n")
        assert other.stdout
        assert other.stdout.readline() == "held\n"
        other.communicate("\n")
        assert owner.returncode == other.returncode == 0


def test_without_any_lock_nothing_is_locked_and_nothing_waits(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(platforms, "_fcntl", None)
    with (tmp_path / "lock").open("w") as one, (tmp_path / "lock").open("w") as two:
        platforms.lock(one)
        platforms.lock(two, pytest.fail)
