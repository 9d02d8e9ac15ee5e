"""What a run did, as JSON for machines and as a table for people."""

from __future__ import annotations

import json
import platform
from importlib import metadata
from pathlib import Path
from typing import Any

from rtseg.errors import SinkError
from rtseg.files import file_hash, write_text
from rtseg.platforms import cpu_name, usable_cpus

__all__ = [
    "SCHEMA",
    "check_target",
    "file_hash",
    "machine",
    "print_table",
    "render_table",
    "write_report",
]

SCHEMA = "rtseg.report/1"
LIBRARIES = ("rtseg", "numpy", "numba", "opencv-python", "av", "openvino", "onnxruntime", "torch", "tensorrt", "pycuda")


def machine() -> dict[str, Any]:
    """The processor, the usable cores and the versions of the libraries that a timing depends on."""
    versions = {}
    for name in LIBRARIES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return {
        "cpu": cpu_name(),
        "cores": usable_cpus(),
        "system": platform.platform(),
        "python": platform.python_version(),
        "libraries": versions,
    }


def render_table(report: dict[str, Any]) -> Any:
    """The per-stage latency table of a report, for `rich`."""
    from rich.table import Table

    latency = report["latency"]
    table = Table(
        title=f"latency per frame, milliseconds ({report['frames']} frames, {report['drops']['total']} dropped)"
    )
    table.add_column("stage")
    for column in ("p50", "p90", "p95", "p99", "max"):
        table.add_column(column, justify="right")
    rows = list(latency["stages_ms"].items())
    rows += [
        ("capture-to-overlay", latency["capture_to_overlay_ms"]),
        ("capture-to-sink", latency["capture_to_sink_ms"]),
    ]
    for name, row in rows:
        if name == "capture-to-overlay":
            table.add_section()
        cells = ["–" if row[key] is None else f"{row[key]:.2f}" for key in ("p50", "p90", "p95", "p99", "max")]
        table.add_row(name, *cells)
    return table


def print_table(report: dict[str, Any], console: Any) -> None:
    """Print the latency table, the classes' areas where they were counted, and what was written where."""

    def say(line: str) -> None:
        console.print(line, highlight=False, markup=False, soft_wrap=True)

    console.print(render_table(report))
    if report["latency"]["capture_to_overlay_ms"]["p99"] is None:
        say("–: too few frames for that percentile (p90 needs 64, p95 130, p99 662)")
    if report.get("areas"):
        shares = sorted(report["areas"].items(), key=lambda item: -item[1])
        say("mean area: " + ", ".join(f"{name} {share:.1%}" for name, share in shares))
    model = report["model"]
    rate = f"{report['rate']:.1f} frames/s" if report["rate"] else "–"
    network = "x".join(map(str, report["network_size"] or []))
    say(f"{model['name']} on {model['backend']} {model['device']} {model['precision']}, network {network}: {rate}")


def check_target(path: Path) -> None:
    """SinkError, before a run rather than after it, where the report could not be written."""
    if path.is_dir():
        raise SinkError(f"cannot write report {path}: it is a folder: give the name of a file")
    if not path.parent.is_dir():
        raise SinkError(f"cannot write report {path}: there is no folder {path.parent}: create it first")


def write_report(path: Path, report: dict[str, Any]) -> None:
    """Write the report as JSON under its final name only when it is whole; SinkError otherwise."""
    try:
        write_text(path, json.dumps(report, indent=2) + "\n")
    except OSError as exc:
        raise SinkError(f"cannot write report {path}: {exc.strerror or exc}") from exc
