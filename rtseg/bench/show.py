"""The benchmark for people: latencies, load, stages, comparisons, and what to know about the figures."""

from __future__ import annotations

import string
from collections.abc import Callable, Mapping
from typing import Any

from rtseg.timing import FLOORS

__all__ = ["print_bench"]

PERCENTILES = ("p90", "p95", "p99", "p99.9", "max")
WORDS = {
    "capture_to_overlay_ms.p50": "capture-to-overlay p50",
    "capture_to_overlay_ms.p99": "capture-to-overlay p99",
    "rate": "rate",
    "cpu_s_per_frame": "CPU time per frame",
    "memory_mb.peak": "peak memory",
}


def print_bench(data: dict[str, Any], console: Any) -> None:
    """Print the tables, the comparisons, the search, and how it was measured, on a rich console."""

    def say(line: str) -> None:
        console.print(line, highlight=False, markup=False, soft_wrap=True)

    measured = {letter(i): one for i, one in enumerate(data["configurations"]) if one["repetitions"]}
    letters = {one["name"]: short for short, one in measured.items()}
    for name, short in letters.items():
        say(f"{short}  {name}")
    if measured:
        for table in (latencies(measured), load(measured), stages(measured)):
            console.print(table)
        for line in notes(data, list(measured.values())):
            say(line)
    for line in data["comparisons"]:
        say(comparison(line, letters))
    for line in found(data["search"]) if data["search"] else ():
        say(line)


def letter(place: int) -> str:
    """A, B, …, Z, AA, AB, …"""
    letters = string.ascii_uppercase
    return (letter(place // 26 - 1) if place >= 26 else "") + letters[place % 26]


def latencies(measured: Mapping[str, dict[str, Any]]) -> Any:
    """Both latencies of every configuration."""
    from rich.table import Table

    table = Table(title="latency per frame, milliseconds")
    table.add_column("capture to")
    for column in ("p50", "min-max", *PERCENTILES):
        table.add_column(column, justify="right")
    for short, one in measured.items():
        for kind in ("overlay", "sink"):
            key = f"capture_to_{kind}_ms"
            p50, row = one["summary"].get(f"{key}.p50"), one["pooled"][key]
            middle = ["–", "–"] if p50 is None else [cell(p50["median"]), f"{p50['min']:.1f}-{p50['max']:.1f}"]
            table.add_row(f"{short} {kind}", *middle, *(cell(row[name]) for name in PERCENTILES))
    return table


def load(measured: Mapping[str, dict[str, Any]]) -> Any:
    """Rate, drops, jitter, processor and memory of every configuration."""
    from rich.table import Table

    table = Table(title="load")
    columns: dict[str, Callable[[dict[str, Any]], str]] = {
        "frames/s": lambda one: f"{one['summary']['rate']['median']:.1f}",
        "dropped": lambda one: (
            f"{sum(rep['drops']['total'] for rep in one['repetitions'])} of "
            f"{sum(rep['due'] for rep in one['repetitions'])}"
        ),
        "jitter p50": lambda one: cell(one["pooled"]["jitter_ms"]["p50"]),
        "CPU ms": lambda one: f"{one['summary']['cpu_s_per_frame']['median'] * 1e3:.1f}",
        "peak MiB": lambda one: cell(one["summary"].get("memory_mb.peak", {}).get("median"), 0),
        "final MiB": lambda one: cell(one["summary"].get("memory_mb.final", {}).get("median"), 0),
        "mIoU": lambda one: cell(miou(one["accuracy"]), 3),
    }
    table.add_column("")
    for column in columns:
        table.add_column(column, justify="right")
    for short, one in measured.items():
        table.add_row(short, *(text(one) for text in columns.values()))
    return table


def miou(accuracy: dict[str, Any] | None) -> float | None:
    """The mIoU that is known of this very configuration."""
    return accuracy["miou"] if accuracy and accuracy["as_run"] else None


def stages(measured: Mapping[str, dict[str, Any]]) -> Any:
    """Where the time of a frame went in every configuration, and on its GPU."""
    from rich.table import Table

    table = Table(title="stages, milliseconds: p50, p99", min_width=len("stages, milliseconds: p50, p99"))
    table.add_column("stage")
    rows: dict[str, list[str]] = {}
    for place, (short, one) in enumerate(measured.items()):
        table.add_column(short, justify="right")
        for name, row in {**one["pooled"]["stages_ms"], **(one["pooled"]["gpu_ms"] or {})}.items():
            rows.setdefault(name, ["–"] * len(measured))[place] = f"{cell(row['p50'], 2)}, {cell(row['p99'], 2)}"
    for name, cells in rows.items():
        table.add_row(name, *cells)
    return table


def cell(value: float | None, digits: int = 1) -> str:
    """A figure, or a dash where the samples do not support it."""
    return "–" if value is None else f"{value:.{digits}f}"


def notes(data: dict[str, Any], measured: list[dict[str, Any]]) -> list[str]:
    """What to know about the figures."""
    settings, source = data["settings"], data["input"]
    if settings["loop"] == "open":
        how = f"open loop at {settings['rate']:g} frames/s: latency counts from when a frame was due"
    else:
        how = "closed loop: rates are peaks, latencies include one frame's wait in the queue"
    lines = [
        f"{how}; {settings['repetitions']} repetitions of {settings['duration_s']:g} s, interleaved, each after "
        f"{settings['warm_up_frames']} frames of warm-up; outputs {', '.join(settings['sinks'])}; policy "
        f"{settings['policy']}",
        "p50 and its min-max: of the repetitions; higher percentiles: of all their frames together",
        f"frames come from memory ({source['held_mb']:.0f} MiB of the peak), reading them is apart: "
        f"{source['decode']['fps'] or 0:.0f} frames/s",
    ]
    rows = [one["pooled"]["capture_to_overlay_ms"] for one in measured]
    fewest = min(row["samples"] for row in rows)
    if lacking := [f"p{p} {floor:,}" for p, floor in FLOORS.items() if floor > fewest]:
        lines.append(f"–: {fewest:,} frames are too few for that percentile (needed: {', '.join(lacking)})")
    repetitions = [rep for one in measured for rep in one["repetitions"]]
    if late := [rep["late"] for rep in repetitions if rep["late"]["frames"]]:
        count, worst = sum(one["frames"] for one in late), max(one["worst_ms"] for one in late)
        lines.append(f"the load generator itself was late with {count} frames, by up to {worst:.1f} ms (counted)")
    if any(rep["memory_mb"]["since"] == "process" for rep in repetitions):
        lines.append("memory is the peak of the whole process so far: this system does not let it be reset")
    for ratio in (rep["stages_sum"]["ratio"] for rep in repetitions):
        if abs(ratio - 1) > repetitions[0]["stages_sum"]["within"]:
            lines.append(f"the stages of a repetition add up to {ratio:.1%} of its whole")
    return lines


def comparison(line: dict[str, Any], letters: Mapping[str, str]) -> str:
    """One ratio in words."""
    a, b = letters[line["a"]], letters[line["b"]]
    return (
        f"{b} / {a}, {WORDS[line['metric']]}: {line['ratio']:.2f} "
        f"({line['low']:.2f} to {line['high']:.2f}, {line['interval']} of {line['pairs']} pairs)"
    )


def found(search: dict[str, Any]) -> list[str]:
    """What a search tried and found."""
    if search["kind"] == "rate":
        if search["rate"] is None:
            return ["no rate holds with less than 1 % dropped and p99 under one period"]
        lines = [f"highest rate with less than 1 % dropped and p99 under one period: {search['rate']:g} frames/s"]
        return lines + estimate([one for one in search["tries"] if one["holds"]])
    lines = []
    for one in search["tries"]:
        scored = "accuracy unknown" if one["miou"] is None else f"mIoU {one['miou']:.3f}"
        if one["miou"] is not None and not one["as_run"]:
            scored += ", but scored otherwise (rtseg eval at this size tells)"
        lines.append(
            f"{one['name']}: p99 {one['p99_ms']:.1f} ms {'within' if one['holds'] else 'above'} the budget of "
            f"{search['budget_ms']:g} ms, {one['drops']:.1%} dropped, {scored}"
        )
    lines.append(f"chosen: {search['chosen']}" if search["chosen"] else "none holds the budget")
    return lines + estimate(search["tries"])


def estimate(tries: list[dict[str, Any]]) -> list[str]:
    """A word of caution where p99 was judged from fewer frames than support it."""
    fewest = min((one["samples"] for one in tries), default=FLOORS[99])
    if fewest >= FLOORS[99]:
        return []
    return [f"p99 of {fewest} frames is an estimate: {FLOORS[99]} support it (a longer --duration)"]
