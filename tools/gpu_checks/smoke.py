"""The step `smoke`: every kernel once at small sizes beside the CPU's, before anything is measured.

result: plain {kernels, missing, cases, different}, as every_kernel.py prints them. Without it no kernel has run, and
the steps after this one are left out.
"""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

from gpu_checks.check import ROOT, Options
from gpu_checks.record import Record

__all__ = ["PYTHON", "judge", "run", "run_every_kernel"]

PYTHON = (sys.executable, "-m", "gpu_checks.every_kernel")
TOLD = 1500
"""Characters kept of what a script says that ends without a result."""


def run(options: Options, record: Record) -> None:
    """Run the short form of the script."""
    with record.part("every kernel"):
        judge(record, run_every_kernel(options, record.left, quick=True))


def run_every_kernel(options: Options, seconds: float, *, quick: bool) -> dict[str, Any]:
    """What the script found, in a process of its own. Errors: RuntimeError with its last words if that is nothing."""
    given = [*(("--emulated",) if options.emulated else ()), *(("--quick",) if quick else ())]
    done = subprocess.run([*PYTHON, *given], cwd=ROOT, capture_output=True, text=True, timeout=seconds)
    lines = done.stdout.strip().splitlines()
    if not lines or not lines[-1].startswith("{"):
        raise RuntimeError(f"it ended with {done.returncode}: {done.stderr.strip()[-TOLD:]}")
    told: dict[str, Any] = json.loads(lines[-1])
    return told


def judge(record: Record, told: dict[str, Any]) -> None:
    """Keep what was found; every kernel has to have run, and no case may differ."""
    record.result["plain"] = told
    record.target("kernels that were not run", len(told["missing"]), 0, "", required=True)
    record.target("cases unlike the CPU's", len(told["different"]), 0, "", required=True)
