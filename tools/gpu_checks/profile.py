"""The step `profile`: the important launches of hot.py under NVIDIA Nsight Compute (ncu), which says what bounds them.

result: plain (the launches' names, as they ran without ncu), version, rows: {name: {kernel, metrics {name: "value
unit"}}}, told (ncu's last lines). Clocks are left as they are.
"""

from __future__ import annotations

import csv
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from gpu_checks.check import ROOT, Options
from gpu_checks.record import NotRun, Record
from gpu_checks.tests import within

__all__ = ["metrics_of", "run"]

PYTHON = (sys.executable, "-u", "-m", "gpu_checks.hot")
FOLDERS = ("/usr/local/cuda/bin", "/opt/nvidia/nsight-compute", "/opt/cuda/bin")
KERNELS = "regex:preprocess|label"
METRICS = re.compile(
    r"Duration|SM Frequency|Registers Per Thread|Theoretical Occupancy|Achieved Occupancy|Executed Ipc Active"
    r"|Issue Slots Busy|Eligible Warps Per Scheduler|Memory Throughput|DRAM Throughput|Compute \(SM\) Throughput"
    r"|Mem Busy|Max Bandwidth|L1/TEX Hit Rate|L2 Hit Rate|.*Spill.*|.*Bank Conflict.*|Block Size|Grid Size"
)
"""What is kept of the several hundred figures of a launch."""
PLAIN_SECONDS, READ_SECONDS = 40.0, 15.0
NOT_ALLOWED = "ERR_NVGPUCTRPERM"
TOLD = 12


def run(options: Options, record: Record) -> None:
    """Run the launches plainly, so that a failure is not taken for ncu's, and then under ncu."""
    given = ["--model", options.model, *(("--emulated",) if options.emulated else ())]
    with record.part("launches"):
        seconds = min(record.left, PLAIN_SECONDS)
        done = subprocess.run([*PYTHON, *given], cwd=ROOT, capture_output=True, text=True, timeout=seconds)
        if done.returncode:
            raise RuntimeError(f"they ended with {done.returncode}: {done.stderr.strip()[-1500:]}")
        record.result["plain"] = done.stdout.split("\n")[:-1]
    if "plain" not in record.result:
        return
    with record.part("ncu"):
        tool = shutil.which("ncu", path=os.pathsep.join([os.environ.get("PATH", ""), *FOLDERS]))
        if options.emulated:
            raise NotRun("it needs a GPU that is not emulated")
        if tool is None:
            raise NotRun("ncu is not installed: it comes with the CUDA toolkit (nsight-compute)")
        _under(tool, given, record)


def _under(tool: str, given: list[str], record: Record) -> None:
    """Fill in what ncu finds; launches that it did not come to in time are noted."""
    names: list[str] = record.result["plain"]
    with tempfile.TemporaryDirectory(prefix="rtseg-ncu-") as folder:
        report, log = Path(folder) / "report.ncu-rep", Path(folder) / "log.txt"
        command = [tool, "--clock-control", "none", "--set", "full", "--target-processes", "all", "-k", KERNELS]
        command += ["-o", str(report.with_suffix("")), "-f", *PYTHON, *given]
        with log.open("w", encoding="utf-8") as out:
            status = within(command, out, max(record.left - READ_SECONDS - 5, 5))  # an interrupt: what is done is kept
        text = log.read_text(encoding="utf-8", errors="replace")
        record.result["told"] = [line for line in text.splitlines() if line.startswith("==")][-TOLD:]
        if NOT_ALLOWED in text:
            raise NotRun(f"this user may not read the GPU's counters ({NOT_ALLOWED}): run as root, or in a container "
                         "with --cap-add SYS_ADMIN")  # fmt: skip
        if not report.is_file():
            raise RuntimeError(f"ncu ended with {status} and no report: {' '.join(text.split())[-1000:]}")
        page = [tool, "-i", str(report), "--page", "details", "--csv"]
        read = subprocess.run(page, capture_output=True, text=True, timeout=READ_SECONDS)
    rows = dict(zip(names, metrics_of(read.stdout), strict=False))
    record.result["rows"] = rows
    record.tell(f"    {len(rows)} of {len(names)} launches")
    if not rows:
        raise RuntimeError(f"no launch in ncu's report: {read.stderr.strip()[-500:]}")
    for name in names[len(rows) :]:
        record.missing(name, "no time was left")


def metrics_of(text: str) -> Iterator[dict[str, Any]]:
    """Each launch's kernel and METRICS, in order, of `ncu --page details --csv`; lines before the header are passed."""
    lines = text.splitlines()
    header = next((index for index, line in enumerate(lines) if line.startswith('"ID"')), len(lines))
    found: dict[int, dict[str, Any]] = {}
    for row in csv.DictReader(lines[header:]):
        if not (row.get("ID") or "").isdecimal():
            continue
        launch = found.setdefault(int(row["ID"]), {"kernel": row.get("Kernel Name", ""), "metrics": {}})
        name = row.get("Metric Name") or ""
        if METRICS.fullmatch(name):
            launch["metrics"].setdefault(name, f"{row.get('Metric Value', '')} {row.get('Metric Unit') or ''}".strip())
    yield from (found[number] for number in sorted(found))
