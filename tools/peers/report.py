"""Write docs/benchmarks.md from docs/bench/peers.json, which run.py measured; `--check` fails if the page differs."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

from contenders import CONTENDERS, Contender

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "docs" / "bench" / "peers.json"
PAGE = ROOT / "docs" / "benchmarks.md"
P99_FLOOR = 662
"""Samples below which a p99 says nothing (MLPerf's early-stopping floor)."""


Turn = dict[str, Any]
Alone = tuple[dict[str, Any], dict[str, Any]]
"""What `rtseg bench` measured with nothing beside it: the peak rate, and the open loop."""


def spread(values: list[float], digits: int = 1) -> str:
    """The median with the least and the greatest."""
    return f"{median(values):.{digits}f} ({min(values):.{digits}f} to {max(values):.{digits}f})"


def ratios(data: dict[str, Any], over: str, under: str, value: Callable[[Turn], float]) -> list[float]:
    """The quotient of two contenders' values in each round."""
    return [value(turns[over]) / value(turns[under]) for turns in data["rounds"]]


def p50(turn: Turn) -> float:
    """Capture-to-overlay in milliseconds."""
    return float(turn["p50_ms"])


def rate(turn: Turn) -> float:
    """Peak rate in frames per second."""
    return float(turn["rate"])


def cpu(turn: Turn) -> float:
    """CPU time of a frame in milliseconds."""
    return float(turn["cpu_ms"])


def calm(data: dict[str, Any], key: str) -> float:
    """The latency that a tenth of a contender's frames stay below: those that other work disturbed least."""
    latencies = sorted(value for turns in data["rounds"] for value in turns[key]["latency_ms"])
    return float(latencies[-(-len(latencies) // 10) - 1])


def present(data: dict[str, Any]) -> list[Contender]:
    """Those that ran, in the order of the table."""
    return [row for row in CONTENDERS if row.key in data["contenders"] and not data["contenders"][row.key]["missing"]]


def precision(data: dict[str, Any], key: str) -> str:
    """What a contender computed in, in one spelling."""
    found = str(data["contenders"][key]["precision"])
    return {"f32": "fp32", "f16": "fp16"}.get(found, found)


def speed_table(data: dict[str, Any]) -> list[str]:
    """Capture-to-overlay, peak rate and CPU time of everyone."""
    lines = [
        "| | precision | capture-to-overlay p50, ms | p10 of all frames, ms | peak rate, frames/s | CPU ms per frame |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for row in present(data):
        turns = [turns[row.key] for turns in data["rounds"]]
        name = row.title if row.comparable else f"{row.title} \\*"
        lines.append(
            f"| {name} | {precision(data, row.key)} | {spread([p50(t) for t in turns])} | {calm(data, row.key):.1f} "
            f"| {spread([rate(t) for t in turns])} | {spread([cpu(t) for t in turns], 0)} |"
        )
    return lines


def ratio_table(data: dict[str, Any]) -> list[str]:
    """How many times rtseg's latency and CPU time the others take, in its own precision and in fp32."""
    lines = [
        "| | precision | latency p50 over rtseg's | over rtseg fp32's | p10 over rtseg's; fp32's "
        "| CPU time over rtseg's | over rtseg fp32's |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for row in present(data):
        if row.module == "rtseg_pipeline":
            continue
        name = row.title if row.comparable else f"{row.title} \\*"
        latency, cycles = (
            " | ".join(spread(ratios(data, row.key, own, value), 2) for own in ("rtseg", "rtseg-fp32"))
            for value in (p50, cpu)
        )
        best = "; ".join(f"{calm(data, row.key) / calm(data, own):.2f}" for own in ("rtseg", "rtseg-fp32"))
        lines.append(f"| {name} | {precision(data, row.key)} | {latency} | {best} | {cycles} |")
    return lines


def output_table(data: dict[str, Any]) -> list[str]:
    """Whether the outputs are what was asked for."""
    lines = [
        "| | labels equal to rtseg's, fp32 | equal with the same resize | overlay as asked | what it cannot do |",
        "| --- | --- | --- | --- | --- |",
    ]
    for row in present(data):
        facts = data["contenders"][row.key]
        match, shape = facts["overlay_match"], facts["overlay"]
        drawn = f"no: {shape[1]}x{shape[0]} pixels" if match is None else f"{match:.2%} of pixels"
        same = "–" if row.module == "rtseg_pipeline" else f"{facts['agreement_same_resize']:.2%}"
        equal = f"{facts['agreement']:.2%} | {same}"
        lines.append(f"| {row.title} | {equal} | {drawn} | {row.limits} |")
    return lines


def verdict(
    data: dict[str, Any], name: str, over: str, under: str, value: Callable[[Turn], float], wanted: float
) -> str:
    """One line of the table of targets: at least `wanted` times; the CPU time is the slower one's over the faster's."""
    values = ratios(data, over, under, value)
    cycles = ratios(data, under, over, cpu) if value is rate else ratios(data, over, under, cpu)
    state = "met" if median(values) >= wanted else "**not met**"
    return f"| {name} | at least {wanted:g}x | {spread(values, 2)} | {spread(cycles, 2)} | {state} |"


def targets(data: dict[str, Any], alone: Alone | None) -> list[str]:
    """Every target with what was measured, at equal precision too, and against every way to use Model API."""
    ran = {row.key for row in present(data)}
    lines = [
        "| target | wanted | measured, median (least to greatest round) | CPU time, the same way | |",
        "| --- | --- | --- | --- | --- |",
    ]
    cases = (
        ("tutorial loop's p50 over rtseg's, both as they come", "tutorial", "rtseg", p50, 3.0),
        ("the same, both fp32", "tutorial", "rtseg-fp32", p50, 3.0),
        ("Model API's p50 over rtseg's, with its `Visualizer`", "model-api-documented", "rtseg", p50, 2.0),
        ("the same, labels only, overlay of the OMZ demo", "model-api", "rtseg", p50, 2.0),
        ("the same, both fp32", "model-api-fp32", "rtseg-fp32", p50, 2.0),
        ("rtseg's peak rate over Model API's, with its `Visualizer`", "rtseg", "model-api-documented", rate, 2.0),
        ("the same, labels only, overlay of the OMZ demo", "rtseg", "model-api", rate, 2.0),
        ("the same, both fp32", "rtseg-fp32", "model-api-fp32", rate, 2.0),
    )
    lines += [verdict(data, *case) for case in cases if {case[1], case[2]} <= ran]
    return [*lines, open_loop(data), *([by_bench(*alone)] if alone else [])]


def by_bench(peak: dict[str, Any], loop: dict[str, Any]) -> str:
    """The same by `rtseg bench`, whose peak rate is that of seconds instead of six frames."""
    (fastest,), (one,) = peak["configurations"], loop["configurations"]
    share = loop["settings"]["rate"] / fastest["summary"]["rate"]["median"]
    found = one["pooled"]["capture_to_overlay_ms"]
    drops = sum(each["drops"]["total"] for each in one["repetitions"])
    state = "met" if found["p99"] <= 1.5 * found["p50"] else "**not met**"
    return (
        f"| the same by `rtseg bench`, at {share:.0%} of its own peak rate, nothing else running | at most 1.5x | "
        f"{found['p99'] / found['p50']:.2f} ({found['p99']:.0f} / {found['p50']:.0f} ms, {found['samples']} frames, "
        f"{drops} dropped) | – | {state} |"
    )


def open_loop(data: dict[str, Any]) -> str:
    """The line about rtseg's open loop at 70 % of its peak rate: p99 over p50, where the frames are enough to say."""
    loops = [turns["rtseg"]["open_loop"] for turns in data["rounds"] if "open_loop" in turns["rtseg"]]
    latencies = sorted(value for loop in loops for value in loop["latency_ms"])
    counts = f"{len(latencies)} frames, {sum(loop['drops'] for loop in loops)} dropped"
    text, state = f"{counts}: p99 needs {P99_FLOOR}", "not judged"
    if len(latencies) >= P99_FLOOR:
        middle, high = (latencies[-(-len(latencies) * p // 100) - 1] for p in (50, 99))
        text = f"{high / middle:.2f} ({high:.0f} / {middle:.0f} ms, {counts})"
        state = "met" if high <= 1.5 * middle else "**not met**"
    return f"| rtseg's p99 over its p50, open loop at 70 % of peak | at most 1.5x | {text} | – | {state} |"


def disturbance(data: dict[str, Any]) -> str:
    """How much of the machine others used meanwhile, where that is known."""
    others = [turn.get("others_cores") for turns in data["rounds"] for turn in turns.values()]
    known = [value for value in others if value is not None]
    if not known:
        return ""
    return (
        f"The machine was shared: other work used {spread(known, 2)} cores during a turn, which hits latencies, and "
        "tails most of all; CPU time suffers less. "
    )


def network_share(data: dict[str, Any]) -> str:
    """What the network leaves to gain."""
    stages = {
        name: median([turns["rtseg"]["stages_ms"][name] for turns in data["rounds"]])
        for name in ("preprocess", "infer", "labels", "render")
    }
    rest = sum(value for name, value in stages.items() if name != "infer")
    text = (
        f"Of rtseg's frame the network takes {stages['infer']:.1f} ms; preprocessing, exact labels and the overlay "
        f"together {rest:.1f} ms (medians)."
    )
    if any(row.key == "model-api" for row in present(data)):
        whole = sum(stages.values()) / stages["infer"]
        bound = whole * median(ratios(data, "model-api", "rtseg", p50))
        text += (
            " Model API runs the same network in the same OpenVINO: were all but the network free, rtseg would "
            f"be {bound:.2f}x as fast as Model API with labels only. Twice as fast needs a faster network."
        )
    return text


def page(data: dict[str, Any], alone: Alone | None = None) -> str:
    """The whole page."""
    machine, contenders = data["machine"], data["contenders"]
    rows = present(data)
    height, width = data["frame"]
    network = "x".join(map(str, data["network"]))
    missing = [f"- `{key}` did not run: {facts['missing']}" for key, facts in contenders.items() if facts["missing"]]
    versions: dict[str, str] = {}
    for row in rows:
        versions[row.module] = ", ".join(f"{name} {number}" for name, number in contenders[row.key]["versions"].items())
    lines = [
        "# Benchmarks against peers",
        "",
        "Made by `tools/peers/report.py` from [docs/bench/peers.json](bench/peers.json); how to run it again and how "
        "each peer is written: [tools/peers](../tools/peers/README.md).",
        "",
        f"`{data['command']}`, {data['date']}, revision {data['revision'][:12]}, on {machine['cores']} cores of an "
        f"{machine['cpu']}, {data['threads']} threads each; load average {data['load']['before'][0]} before and "
        f"{data['load']['after'][0]} after. {disturbance(data)}Read ratios, not milliseconds.",
        "",
        f"Same clip ({data['clip']['name']}, frames scaled to {width}x{height} and held in memory), same model "
        f"({data['model']['name']}), same network input ({network}), same outputs: a full-resolution label map and an "
        f"overlay. {len(data['rounds'])} rounds; in each, every contender in turn does {data['warm_up_frames']} frames "
        f"to warm up and {data['frames_per_turn']} that count, one at a time, from the frame being taken to the "
        "overlay in hand; those that can have several frames under way then run once more for their peak rate. Cells "
        "are the median over rounds, with the least and the greatest. Precision is what the runtime computed in: "
        "OpenVINO picks bf16 by itself on a CPU that has it, for rtseg and Model API alike.",
        "",
        "## Targets",
        "",
        *targets(data, alone),
        "",
        network_share(data),
        "",
        "## Speed",
        "",
        *speed_table(data),
        "",
        "\\* not the output that was asked for, see below.",
        "",
        "## Ratios, taken within each round",
        "",
        *ratio_table(data),
        "",
        "## Outputs",
        "",
        "Labels are compared with rtseg's in fp32, which are exactly the argmax of the upsampled logits. The second "
        "column compares with rtseg told to stretch frames without antialiasing, as all peers do: what is left there "
        "is the peer's upsampling, its 8-bit resize and its arithmetic. The overlay is checked against half the frame "
        "and half the colours of the peer's own labels, within 2 levels.",
        "",
        *output_table(data),
        *(["", *missing] if missing else []),
        "",
        "## Versions",
        "",
        "| | |",
        "| --- | --- |",
        *(f"| `{module}.py` | {text} |" for module, text in versions.items()),
        "",
    ]
    return "\n".join(lines)


def measured_alone() -> Alone | None:
    """What `rtseg bench` measured: the peak rate and the open loop, where both files are there."""
    files = [SOURCE.with_name(name) for name in ("peak-rate.json", "open-loop.json")]
    if not all(file.is_file() for file in files):
        return None
    peak, loop = (json.loads(file.read_text(encoding="utf-8")) for file in files)
    return peak, loop


def main() -> int:
    """Write or check the page."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--check", action="store_true")
    args = parser.parse_args()
    text = page(json.loads(SOURCE.read_text(encoding="utf-8")), measured_alone())
    if args.check:
        same = PAGE.read_text(encoding="utf-8") == text
        if not same:
            print(
                "docs/benchmarks.md is not what docs/bench/peers.json says: run tools/peers/report.py", file=sys.stderr
            )
        return int(not same)
    PAGE.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
