"""The step `tests`: pytest's tests marked `gpu` on the device, in a process of their own.

result: passed, failed, errors (files that could not be read), skipped, seconds, failures [{name, message}],
collection [{name, message}], skips {reason: count}, tail (pytest's last lines)
"""

from __future__ import annotations

import contextlib
import re
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import IO, Any
from xml.etree import ElementTree

from gpu_checks.check import ROOT, Options
from gpu_checks.record import NotRun, Record

__all__ = ["lacking", "run", "within"]

EMULATED = ("tests/segmenter/test_device.py", "-k", "labels_it or in_flight_is_an_error")
"""What a dry run runs: two tests."""
STOPPING = 5.0
"""Seconds that pytest gets to write its report when its time is over."""
MESSAGE = 400
"""Characters kept of a failure's message."""


def run(options: Options, record: Record) -> None:
    """Run the tests and count."""
    with record.part("pytest"), tempfile.TemporaryDirectory(prefix="rtseg-tests-") as folder:
        report, log = Path(folder) / "report.xml", Path(folder) / "log.txt"
        # The options of pyproject.toml need pytest-timeout, which a bare machine may lack.
        command = [sys.executable, "-m", "pytest", "--gpu", "emulated" if options.emulated else "real", "-m", "gpu"]
        command += ["-o", "addopts=", "-W", "ignore::pytest.PytestConfigWarning", "-p", "no:cacheprovider"]
        command += ["--continue-on-collection-errors", "-q", "--maxfail=50"]
        command += [f"--junitxml={report}", *(marked() if not options.emulated else EMULATED)]
        seconds = max(record.left - STOPPING - 2, 1)
        with log.open("w", encoding="utf-8") as out:
            status = within(command, out, seconds)
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
        record.result |= {"status": status, "tail": lines[-15:]}
        for line in lines[-15:]:
            record.tell(f"    {line}")
        if any("No module named pytest" in line for line in lines):
            raise NotRun("pip install pytest")
        if report.is_file():
            record.result |= counted(report)
        if status is None:
            raise TimeoutError(f"pytest did not end within {seconds:.0f} s")
        for file, package in lacking(record.result.get("collection", [])).items():
            record.missing(file, f"it needs {package}, which is not installed")
        unread = len(record.result.get("collection", []))
        whole = unread == len(lacking(record.result.get("collection", []))) and not record.result.get("failed")
        if (status and not (whole and unread)) or not record.result.get("passed"):
            raise RuntimeError(f"pytest ended with {status}, {record.result.get('passed', 0)} tests passed")


def marked() -> list[str]:
    """Where tests may be marked `gpu`: the others need packages that a bare machine lacks, just to be read."""
    found = set()
    for path in sorted((ROOT / "tests").rglob("*.py")):
        if "mark.gpu" in path.read_text(encoding="utf-8"):
            found.add(path if path.name.startswith("test_") else path.parent)
    return [str(path.relative_to(ROOT)) for path in sorted(found)] or ["tests"]


def within(command: list[str], out: IO[str], seconds: float) -> int | None:
    """The exit status of a command; None where it had to be ended, as Ctrl-C does, so that it still reports."""
    with subprocess.Popen(command, cwd=ROOT, stdout=out, stderr=subprocess.STDOUT) as process:
        try:
            return process.wait(seconds)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGINT)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(STOPPING)
        process.kill()
    return None


def lacking(collection: list[dict[str, str]]) -> dict[str, str]:
    """Test files that could not be read as a package of others is not there, and that package."""
    found = {}
    for each in collection:
        named = re.search(r"No module named '(\w+)", each["message"])
        if named and not (ROOT / named[1]).is_dir():
            found[each["name"]] = named[1]
    return found


def counted(report: Path) -> dict[str, Any]:
    """The counts and failures of a JUnit report."""
    cases = list(ElementTree.parse(report).getroot().iter("testcase"))
    found: dict[str, list[dict[str, str]]] = {"failure": [], "error": []}
    skips: Counter[str] = Counter()
    for case in cases:
        name = f"{case.get('classname', '')}::{case.get('name', '')}".removeprefix("::")
        for kind, rows in found.items():
            for part in case.findall(kind):
                text = f"{part.get('message', '')} {(part.text or '').strip()[-MESSAGE:]}"
                rows.append({"name": name, "message": " ".join(text.split())[:MESSAGE]})
        skips.update(part.get("message", "") for part in case.findall("skipped"))
    skipped, wrong = skips.total(), len(found["failure"]) + len(found["error"])
    return {
        "passed": len(cases) - skipped - wrong,
        "failed": len(found["failure"]),
        "errors": len(found["error"]),
        "skipped": skipped,
        "failures": found["failure"],
        "collection": found["error"],
        "skips": dict(skips),
    }
