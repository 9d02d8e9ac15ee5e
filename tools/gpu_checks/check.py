"""Runs the steps one after the other, each in a process of its own with a time limit, and writes the JSON."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

__all__ = ["SCHEMA", "STEPS", "Options", "check"]

SCHEMA = "rtseg.gpu/1"
ROOT = Path(__file__).resolve().parents[2]
STEPS = {
    "environment": (5.0, 20.0),
    "smoke": (20.0, 60.0),
    "prepare": (30.0, 75.0),
    "kernels": (30.0, 60.0),
    "frame": (40.0, 75.0),
    "side": (25.0, 60.0),
    "memory": (20.0, 45.0),
    "engine": (5.0, 75.0),
    "tests": (70.0, 110.0),
    "sanitizer": (70.0, 140.0),
    "timings": (25.0, 60.0),
    "profile": (70.0, 110.0),
}
"""Every step in order, the seconds that are kept for it while others run, and the most that it gets."""
PARTS = {
    "1": (320.0, ("environment", "smoke", "prepare", "kernels", "frame", "timings")),
    "2": (380.0, ("environment", "side", "memory", "engine", "tests", "sanitizer", "profile")),
}
"""Everything in two runs, for machines that are lent for minutes: seconds and steps. Each ends within ten more."""
ALWAYS = ("environment",)
"""Steps that run whatever is asked for: the others' figures mean nothing without them."""
GRACE = 3.0
"""Seconds between a step's own deadline, which it looks at, and the end of its process."""
SHORTEST = 5.0
_SIGNALS = {each.value: each.name for each in signal.Signals}


@dataclass(frozen=True)
class Options:
    """What is asked for: sizes are (height, width); `network` "blocks" is that of tests/device, in place of torch."""

    frame: tuple[int, int]
    size: tuple[int, int]
    frames: int
    model: str
    seconds: float
    network: str
    emulated: bool


def check(
    names: Sequence[str],
    options: Options,
    out: Path | None,
    command: str,
    known: str | None = None,
    suffix: str = "",
) -> int:
    """Run the steps called `names` and write `out`; the exit status.

    `known` is the revision where git cannot tell. Without `out` the file's name has a `suffix`, "partial" where none is
    given and steps are missing.
    """
    begin = time.monotonic()
    revision, dirty = _revision()
    revision = revision or known
    report: dict[str, Any] = {
        "schema": SCHEMA,
        "command": command,
        "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "revision": revision,
        "dirty": dirty,
        "options": asdict(options),
        "device": None,
        "seconds": 0.0,
        "ok": False,
        "steps": {},
    }
    chosen = [name for name in STEPS if name in names or name in ALWAYS]
    partial = not set(STEPS) <= set(names)
    stopped = ""
    interrupted = False
    previous = signal.signal(signal.SIGTERM, signal.default_int_handler)  # a step's process must not outlive this one
    for name in chosen:
        left = options.seconds - (time.monotonic() - begin)
        if stopped:
            report["steps"][name] = _left_out(name, stopped)
            continue
        print(f"\n== {name} (at {time.monotonic() - begin:.0f} s)", flush=True)
        try:
            report["steps"][name] = _step(name, options, share(name, chosen, left))
        except KeyboardInterrupt:
            report["steps"][name] = {"status": "interrupted"}
            interrupted = True
        if name == "environment":
            report["device"] = report["steps"][name].get("result", {}).get("gpu")
        if name == "smoke" and "plain" not in report["steps"][name].get("result", {}):
            stopped = "no kernel ran in the step smoke"
        report["seconds"] = round(time.monotonic() - begin, 2)
        report["ok"] = not interrupted and _ok(report["steps"], chosen)
        target = out or _target(report["device"], suffix or ("partial" if partial else ""))
        write(target, report)
        print(f"-- {name}: {report['steps'][name]['status']}", flush=True)
        if interrupted:
            break
    signal.signal(signal.SIGTERM, previous)
    if stopped:
        write(target, report)
    _summary(report)
    print(f"wrote {target}")
    return 130 if interrupted else int(not report["ok"])


def share(name: str, chosen: Sequence[str], left: float) -> float:
    """The seconds that a step gets of those that are left: what those behind it need least is kept for them."""
    least, most = STEPS[name]
    kept = sum(STEPS[other][0] for other in chosen[chosen.index(name) + 1 :])
    return min(most, max(left - kept, least), left)


def _left_out(name: str, reason: str) -> dict[str, Any]:
    return {"status": "not run", "seconds": 0.0, "not_run": [{"part": name, "reason": reason}]}


def write(path: Path, report: dict[str, Any]) -> None:
    """The JSON under its name only when it is whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}")
    part.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    part.replace(path)


def _step(name: str, options: Options, seconds: float) -> dict[str, Any]:
    """Run one step; what its process left behind, and how that ended."""
    begin = time.monotonic()
    if seconds < SHORTEST:
        return _left_out(name, "no time was left")
    with tempfile.TemporaryDirectory(prefix="rtseg-gpu-") as folder:
        part = Path(folder) / "part.json"
        given = {**asdict(options), "seconds": seconds - GRACE}
        command = [sys.executable, "-u", "-m", "gpu_checks.child", name, str(part), json.dumps(given)]
        path = os.pathsep.join([str(ROOT), str(ROOT / "tools"), os.environ.get("PYTHONPATH", "")]).strip(os.pathsep)
        ended = _run(command, {**os.environ, "PYTHONPATH": path}, seconds)
        try:
            found: dict[str, Any] = json.loads(part.read_text(encoding="utf-8"))
        except (OSError, ValueError) as exc:
            found = {"errors": [{"part": name, "error": f"the step left no result: {exc}", "where": ""}]}
    if ended is None:
        found["status"] = "timed out"
    elif ended not in (0, 1):
        found["status"] = "crashed"
        cause = _SIGNALS.get(-ended, f"exit status {ended}")
        found.setdefault("errors", []).append({"part": name, "error": f"its process ended by {cause}", "where": ""})
    found.setdefault("status", "failed")
    found["seconds"] = round(time.monotonic() - begin, 2)
    return found


def _run(command: list[str], environment: dict[str, str], seconds: float) -> int | None:
    """The exit status of a process that is ended, with its children, after `seconds`: None then."""
    with subprocess.Popen(command, cwd=ROOT, env=environment, start_new_session=True) as process:
        try:
            return process.wait(seconds)
        except subprocess.TimeoutExpired:
            return None
        finally:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)


def _ok(steps: dict[str, Any], chosen: list[str]) -> bool:
    return all(steps.get(name, {}).get("status") in (None, "done") for name in chosen)


def _target(device: dict[str, Any] | None, suffix: str) -> Path:
    name = re.sub(r"[^a-z0-9]+", "-", device["name"].lower()).strip("-") if device else "none"
    suffix = suffix if device else "partial"
    return ROOT / "docs" / "results" / f"gpu-{name}{'-' if suffix else ''}{suffix}.json"


def _revision() -> tuple[str | None, bool | None]:
    answers = []
    for words in (["rev-parse", "HEAD"], ["status", "--porcelain"]):
        try:
            # A copied tree may belong to another user, which git refuses without being told.
            done = subprocess.run(
                ["git", "-c", "safe.directory=*", *words], cwd=ROOT, capture_output=True, text=True, timeout=20
            )
        except (OSError, subprocess.TimeoutExpired):
            return None, None
        if done.returncode:
            return None, None
        answers.append(done.stdout.strip())
    return answers[0], bool(answers[1])


def _summary(report: dict[str, Any]) -> None:
    print(f"\n== summary ({report['seconds']:.0f} s)")
    for name, step in report["steps"].items():
        print(f"{name:12}{step['status']:12}{step.get('seconds', 0):7.1f} s")
        for each in step.get("errors", []):
            print(f"    failed: {each['part']}: {each['error']}")
        for each in step.get("not_run", []):
            print(f"    not run: {each['part']}: {each['reason']}")
        for each in step.get("targets", []):
            verdict = "met" if each["met"] else "MISSED"
            print(f"    {verdict:7}{each['name']}: {each['value']} {each['unit']} (limit {each['limit']})")
