"""The step `sanitizer`: every kernel by itself, then under compute-sanitizer's tools, the important ones first.

result: plain {kernels, missing, cases, different}, version, tools: {memcheck, racecheck, initcheck, synccheck:
{errors, summary, seconds, status, told (its first lines, where there are errors)}}
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

from gpu_checks.check import ROOT, Options
from gpu_checks.record import Record
from gpu_checks.smoke import PYTHON, judge, run_every_kernel

__all__ = ["errors_of", "run"]

TOOLS = ("memcheck", "racecheck", "initcheck", "synccheck")
OPTIONAL = TOOLS[2:]
"""These only if time permits, and what they find is told without failing the step."""
FOLDERS = ("/usr/local/cuda/bin", "/usr/local/cuda/compute-sanitizer", "/opt/cuda/bin")
TOLD = 40


def run(options: Options, record: Record) -> None:
    """Run the script plainly and under each tool."""
    with record.part("every kernel"):
        judge(record, run_every_kernel(options, record.left, quick=options.emulated))
    tool = sanitizer()
    record.result["tools"] = {}
    if tool is None:
        record.missing("compute-sanitizer", "it is not installed: it comes with the CUDA toolkit (cuda-sanitizer)")
        return
    if options.emulated:
        record.missing("compute-sanitizer", "it needs a GPU that is not emulated")
        return
    record.result["version"] = _version(tool)
    slowest = 0.0
    for name in TOOLS:
        if name in OPTIONAL and record.left < 1.3 * slowest + 2:
            record.result["tools"][name] = {"status": None, "summary": "left out: no time was left"}
            continue
        if not record.time_for(name, 3.0):
            continue
        with record.part(name):
            row = _under(tool, name, record.left - 1)
            record.result["tools"][name] = row
            slowest = max(slowest, row["seconds"])
            if row["errors"] is None:
                raise RuntimeError(f"{name} ended with {row['status']} and no summary: {' '.join(row['told'])[-1000:]}")
            record.tell(f"    {row['summary']}")
            record.target(f"errors by {name}", row["errors"], 0, "", required=name not in OPTIONAL)
            if row["status"] and not row["errors"]:
                raise RuntimeError(
                    f"the script ended with {row['status']} under {name}: {' '.join(row['told'])[-1000:]}"
                )


def sanitizer() -> str | None:
    """Where compute-sanitizer is."""
    return shutil.which("compute-sanitizer", path=os.pathsep.join([os.environ.get("PATH", ""), *FOLDERS]))


def errors_of(log: str) -> tuple[int | None, str]:
    """The number of errors in a tool's summary line, and that line; hazards of racecheck count by their errors and
    warnings. None where there is no summary."""
    summaries = [line.strip("= ").strip() for line in log.splitlines() if "SUMMARY:" in line]
    counts = []
    for line in summaries:
        numbers = [int(number) for number in re.findall(r"(\d+) (?:errors?|warnings?|hazards?)\b", line)]
        counts.append(max(numbers, default=0))
    return (sum(counts), "; ".join(summaries)) if summaries else (None, "")


def _under(tool: str, name: str, seconds: float) -> dict[str, Any]:
    begin = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="rtseg-sanitizer-") as folder:
        log = Path(folder) / "log.txt"
        command = [tool, "--tool", name, "--log-file", str(log), "--print-limit", "50", "--error-exitcode", "9"]
        command += [*PYTHON, *(() if name == "memcheck" else ("--quick",))]
        try:
            done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=seconds)
        except subprocess.TimeoutExpired:
            raise TimeoutError(f"{name} did not end within {seconds:.0f} s") from None
        text = log.read_text(encoding="utf-8", errors="replace") if log.is_file() else ""
    errors, summary = errors_of(text)
    told = [] if errors == 0 and not done.returncode else (text.splitlines()[:TOLD] + done.stderr.splitlines()[-10:])
    return {
        "errors": errors,
        "summary": summary,
        "seconds": round(time.monotonic() - begin, 1),
        "status": done.returncode,
        "told": told,
    }


def _version(tool: str) -> str | None:
    try:
        done = subprocess.run([tool, "--version"], capture_output=True, text=True, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return None
    lines = [line.strip() for line in done.stdout.splitlines() if "ersion" in line]
    return lines[0] if lines else None
