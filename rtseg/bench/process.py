"""What the process and its code are: memory, and the revision of the sources."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

from rtseg.platforms import peak_memory_mb

__all__ = ["memory_mb", "reset_peak", "revision"]

PROC = Path("/proc/self")


def reset_peak() -> bool:
    """Let the kernel count the peak of resident memory from now on; False where it does not let us."""
    try:
        (PROC / "clear_refs").write_text("5")
    except OSError:
        return False
    return True


def memory_mb() -> dict[str, float | None]:
    """Resident memory in MiB: its peak since `reset_peak`, or since the start, and what it is now.

    Without `/proc` (macOS) both are the peak since the start, and None where the system does not say that either.
    """
    try:
        lines = (PROC / "status").read_text(encoding="utf-8").splitlines()
    except OSError:
        return {"peak": peak_memory_mb(), "final": peak_memory_mb()}
    fields = dict(line.split(":", 1) for line in lines if ":" in line)
    peak, final = (round(int(fields[name].split()[0]) / 1024, 1) for name in ("VmHWM", "VmRSS"))
    return {"peak": peak, "final": final}


def revision() -> dict[str, Any] | None:
    """The git commit of rtseg's sources and whether tracked files differ from it; None outside a checkout."""
    folder = Path(__file__).parent

    def git(*words: str) -> str:
        done = subprocess.run(
            ["git", "-C", str(folder), *words], capture_output=True, text=True, check=True, timeout=20
        )
        return done.stdout.strip()

    try:
        git("ls-files", "--error-unmatch", Path(__file__).name)  # installed inside somebody else's checkout, it is not
        return {"commit": git("rev-parse", "HEAD"), "dirty": bool(git("status", "--porcelain", "-uno"))}
    except (OSError, subprocess.SubprocessError):
        return None
