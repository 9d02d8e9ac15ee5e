"""docs/results/gpu-*.json as Markdown for docs/gpu.md.

python tools/gpu_checks/report.py                        # print it
python tools/gpu_checks/report.py --update docs/gpu.md   # between <!-- gpu-results --> and <!-- /gpu-results -->
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

__all__ = ["main", "page", "renewed"]

ROOT = Path(__file__).resolve().parents[2]
BEGIN, END = "<!-- gpu-results -->", "<!-- /gpu-results -->"
KERNELS = (
    *("preprocess bgr8 NHWC float16", "preprocess bgr8 NCHW float16", "preprocess bgr8 NCHW float32"),
    *("preprocess nv12 NHWC float16", "labels model 19", "labels+overlay model 19", "labels+overlay noise 19"),
    *("labels+overlay+confidence model 19", "labels+overlay model 12", "labels+overlay noise 12", "areas model"),
)
"""The rows of the kernels that are shown; the file has all."""
PROFILED = (
    *("Duration", "Registers Per Thread", "Achieved Occupancy", "Executed Ipc Active", "Issue Slots Busy"),
    *("DRAM Throughput", "Memory Throughput", "L2 Hit Rate"),
)
"""The figures of ncu that are shown."""


def page(folder: Path) -> str:
    """The part of the page: one section for each file in `folder`, or that there is none."""
    files = [file for file in sorted(folder.glob("gpu-*.json")) if not file.stem.endswith("-partial")]
    if not files:
        return "No result yet: `make gpu` on a machine with an NVIDIA GPU writes `docs/results/gpu-<its name>.json`."
    read = [(json.loads(file.read_text(encoding="utf-8")), file.name) for file in files]
    return "\n\n".join("\n".join(section(report, name)) for report, name in joined(read))


def joined(reports: list[tuple[dict[str, Any], str]]) -> Iterator[tuple[dict[str, Any], str]]:
    """Reports and the names of their files, the parts of one run as one: same GPU, same revision."""
    parts: dict[tuple[str, Any, Any], list[tuple[dict[str, Any], str]]] = {}
    for report, name in reports:
        stem = re.sub(r"-part\d\.json$", "", name)
        parts.setdefault((stem, report["revision"], report["dirty"]), []).append((report, name))
    for both in parts.values():
        steps = {step: found for report, _ in both for step, found in report["steps"].items()}
        yield {**both[0][0], "steps": steps}, "`, `".join(name for _, name in both)


def section(report: dict[str, Any], name: str) -> Iterator[str]:
    """One GPU's results."""
    steps, device = report["steps"], report["device"] or {"name": "no GPU"}
    known = steps.get("environment", {}).get("result", {})
    packages, smi = known.get("packages", {}), known.get("nvidia_smi") or {}
    versions = [f"driver {smi['driver_version']}"] if "driver_version" in smi else []
    versions += [f"CUDA {known['cuda']}"] if "cuda" in known else []
    versions += [
        f"{package} {packages[package]}"
        for package in ("torch", "pycuda", "tensorrt", "tensorrt-rtx")
        if package in packages
    ]
    revision = (report["revision"] or "unknown")[:12] + (" with changes" if report["dirty"] else "")
    yield f"### {device['name']}"
    yield ""
    yield f"{', '.join(versions)}; revision {revision}; {report['started'][:10]}; `{name}`."
    yield ""
    yield from _outcomes(steps)
    yield from _kernels(steps.get("kernels", {}).get("result", {}))
    yield from _frames(steps)
    yield from _side(steps.get("side", {}).get("result", {}))
    yield from _timings(steps.get("timings", {}).get("result", {}))
    yield from _profile(steps.get("profile", {}).get("result", {}))


def _outcomes(steps: dict[str, Any]) -> Iterator[str]:
    yield "| step | outcome |"
    yield "| --- | --- |"
    for name, step in steps.items():
        told = [step["status"]]
        result = step.get("result", {})
        if name == "tests" and "passed" in result:
            told.append(", ".join(f"{result[kind]} {kind}" for kind in ("passed", "failed", "errors", "skipped")))
        if name == "sanitizer":
            told += [f"{tool}: {row['summary']}" for tool, row in result.get("tools", {}).items()]
        if name == "engine":
            told += [f"{result['library']} {result['version']}"] if "library" in result else []
            told += [f"{part} refused: {text}" for part, text in result.get("refused", {}).items()]
        if name == "memory" and "frames" in result:
            grown = result["growth_device_bytes"], result["growth_host_bytes"]
            told.append(
                f"{result['frames']:,} frames, GPU's memory grew by {grown[0]:,} bytes, the host's by {grown[1]:,}"
            )
        told += [f"{each['part']}: {each['error'][:200]}" for each in step.get("errors", [])]
        told += [f"{each['part']} not run: {each['reason'][:200]}" for each in step.get("not_run", [])]
        targets = step.get("targets", [])
        missed = [
            f"{each['name']} {each['value']} {each['unit']} (limit {each['limit']})"
            for each in targets
            if not each["met"]
        ]
        told += [f"missed: {', '.join(missed)}"] if missed else [f"{len(targets)} targets met"] if targets else []
        yield f"| {name} | {_cell('; '.join(told))} |"
    yield ""


def _kernels(result: dict[str, Any]) -> Iterator[str]:
    rows = {name: result["rows"][name] for name in KERNELS if name in result.get("rows", {})}
    if not rows:
        return
    yield f"GPU time of one launch, logits of {_cell(result['logits'])}:"
    yield ""
    yield "| launch | µs, not in L2 | µs, in L2 | MB moved | GB/s | of the peak | limit µs |"
    yield "| --- | --- | --- | --- | --- | --- | --- |"
    for name, row in rows.items():
        share = "–" if row["of_peak"] is None else f"{row['of_peak']:.0%}"
        limit = "" if row["limit_us"] is None else f"{row['limit_us']:g} ({'met' if row['met'] else 'missed'})"
        cold, warm = row["cold_us"]["median"], row["warm_us"]["median"]
        yield f"| {name} | {cold:.2f} | {warm:.2f} | {row['bytes'] / 1e6:.2f} | {row['gb_s']:.0f} | {share} | {limit} |"
    yield ""


def _frames(steps: dict[str, Any]) -> Iterator[str]:
    rows = dict(steps.get("frame", {}).get("result", {}).get("rows", {}))
    engine = steps.get("engine", {}).get("result", {})
    if "frames" in engine:
        rows[f"{engine['library']} overlay"] = engine["frames"]
    if not rows:
        return
    yield "Whole frames, milliseconds (capture to overlay by the host's clock, GPU stages by events, medians):"
    yield ""
    yield "| frames | network | p50 | p90 | p99 | upload | preprocess | network | labels | download | frames/s |"
    yield "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |"
    for name, row in rows.items():
        latency, stages = row["latency_ms"], row["stages_ms"]
        gpu = [stages[f"gpu-{stage}"]["p50"] for stage in ("upload", "preprocess", "infer", "labels", "download")]
        cells = [
            "–" if value is None else f"{value:.3f}" for value in (*(latency[p] for p in ("p50", "p90", "p99")), *gpu)
        ]
        network = "x".join(map(str, row.get("network", [])))
        yield f"| {name} | {network} | {' | '.join(cells)} | {row['fps']:.0f} |"
    yield ""


def _side(result: dict[str, Any]) -> Iterator[str]:
    if "ratios" not in result:
        return
    told = {"torch": "all in torch", "host": "NumPy and OpenCV with copies between"}
    yield f"Side by side, {result['rounds']} rounds in turn, overlay and labels in the host's memory at the end:"
    yield ""
    yield "| way | ms per frame | times rtseg's (10 % to 90 % of the rounds) | labels equal to rtseg's |"
    yield "| --- | --- | --- | --- |"
    yield f"| rtseg | {result['ways']['rtseg']['median']:.3f} | 1 | |"
    for name, ratio in result["ratios"].items():
        spread = f"{ratio['median']:.2f} ({ratio['p10']:.2f} to {ratio['p90']:.2f})"
        equal = result["equal_labels"].get(name)
        shown = "" if equal is None else f"{equal:.3%}"
        yield f"| {told.get(name, name)} | {result['ways'][name]['median']:.3f} | {spread} | {shown} |"


def _timings(result: dict[str, Any]) -> Iterator[str]:
    if not result.get("rows"):
        return
    yield ""
    yield "GPU time of one launch on one set of buffers, µs:"
    yield ""
    yield "| launch | median | least | most |"
    yield "| --- | --- | --- | --- |"
    for name, row in result["rows"].items():
        yield f"| {name} | {row['median']:.2f} | {row['min']:.2f} | {row['max']:.2f} |"
    if "events" in result:
        yield ""
        yield f"An event between two kernels of a graph adds {result['events']['each_us']:.2f} µs."


def _profile(result: dict[str, Any]) -> Iterator[str]:
    rows = result.get("rows")
    if not rows:
        return
    yield ""
    yield "By Nsight Compute:"
    yield ""
    yield f"| launch | {' | '.join(PROFILED)} |"
    yield f"| --- |{' --- |' * len(PROFILED)}"
    for name, row in rows.items():
        yield f"| {name} | {' | '.join(row['metrics'].get(metric, '–') for metric in PROFILED)} |"


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def renewed(text: str, content: str) -> str:
    """A page's text with the part between the markers made anew; SystemExit where it has none."""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise SystemExit(f"the page has no part between {BEGIN} and {END}")
    return f"{before}{BEGIN}\n{content}\n{END}{after}"


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--results", type=Path, default=ROOT / "docs" / "results", help="the folder of the JSON files")
    parser.add_argument("--update", type=Path, help="the page to renew, in place of printing")
    args = parser.parse_args(argv)
    content = page(args.results)
    if args.update is None:
        print(content)
    else:
        args.update.write_text(renewed(args.update.read_text(encoding="utf-8"), content), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
