"""Write docs/ros-latency.md from docs/bench/ros.json, which bench.py measured; `--check` fails if the page differs."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from statistics import median
from typing import Any

from counting import summary

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "docs" / "bench" / "ros.json"
PAGE = ROOT / "docs" / "ros-latency.md"
Row = dict[str, Any]
PLACES = {
    "lost_on_the_way": "on the way to the node",
    "replaced": "replaced by a newer one in the node",
    "before_publishing": "in the node, before publishing",
    "bad": "bad",
    "before_or_in_node": "on the way or in the node's queue",
    "after_node": "between node and subscriber",
}


def rows_of(group: Row) -> dict[tuple[str, float], list[Row]]:
    """The repetitions of each turn, in the order of the first."""
    found: dict[tuple[str, float], list[Row]] = {}
    for row in group["turns"]:
        found.setdefault((row["contender"], row["rate"]), []).append(row)
    return found


def pooled(rows: list[Row], key: str = "latency_ms") -> Row:
    """Percentiles over all repetitions."""
    return summary([value for row in rows for value in row[key]])


def cell(value: float | None, digits: int = 1) -> str:
    return "–" if value is None else f"{value:.{digits}f}"


def spread(values: list[float], digits: int = 1) -> str:
    """The median with the least and the greatest."""
    if not values:
        return "–"
    return f"{median(values):.{digits}f} ({min(values):.{digits}f} to {max(values):.{digits}f})"


def lost(rows: list[Row]) -> str:
    """How many messages had no mask, and where they ended."""
    places: dict[str, int] = {}
    for row in rows:
        for place, count in row["lost"].items():
            places[place] = places.get(place, 0) + count
    missing = sum(row["sent"] - row["masks"] for row in rows)
    if not missing:
        return "0"
    return f"{missing}: " + ", ".join(f"{count} {PLACES[place]}" for place, count in places.items())


def p50s(rows: list[Row], key: str = "latency_ms") -> list[float]:
    """The median of each repetition that has any."""
    return [median(row[key]) for row in rows if row[key]]


def latency_table(group: Row) -> list[str]:
    """Message-to-mask latency and losses."""
    lines = [
        "| | rate, Hz | messages | without a mask | samples | p50, ms | p90 | p95 | p99 | max | p50 of a repetition |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for (key, rate), rows in rows_of(group).items():
        found = pooled(rows)
        cells = " | ".join(cell(found[name]) for name in ("p50", "p90", "p95", "p99", "max"))
        lines.append(
            f"| {group['contenders'][key]} | {rate:g} | {sum(row['sent'] for row in rows)} | {lost(rows)} "
            f"| {found['samples']} | {cells} | {spread(p50s(rows))} |"
        )
    return lines


def time_table(group: Row) -> list[str]:
    """Where the time went, medians over all messages, and what each process used of the processor."""
    lines = [
        "| | rate, Hz | sent late, p50; p99 | sending | from sent to mask published | from published to arrived "
        "| CPU ms per message: camera; node; monitor | page faults of the node per message | cores that the three used "
        "| cores that others used |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for (key, rate), rows in rows_of(group).items():
        late = pooled(rows, "late_ms")
        middle = (
            cell(pooled(rows, name)["p50"])
            for name in ("sending_ms", "sent_to_published_ms", "published_to_arrived_ms")
        )
        cpu = "; ".join(
            cell(median(row["cpu_ms_per_message"][name] for row in rows)) for name in ("camera", "node", "monitor")
        )
        lines.append(
            f"| {group['contenders'][key]} | {rate:g} | {cell(late['p50'])}; {cell(late['p99'])} | "
            f"{' | '.join(middle)} | {cpu} | "
            f"{spread([row['page_faults_per_message'] for row in rows], 0)} | "
            f"{median(cores_used(row) for row in rows):.2f} "
            f"| {spread([row['others_cores'] for row in rows], 2)} |"
        )
    return lines


def cores_used(row: Row) -> float:
    """Processor time of camera, node and monitor per second of the schedule."""
    return float(sum(row["cpu_ms_per_message"].values()) * row["rate"] / 1e3)


def ratio_lines(group: Row) -> list[str]:
    """How many times rtseg's p50 and CPU time the tutorial's are, within repetitions."""
    turns, lines = rows_of(group), []
    for (key, rate), rows in turns.items():
        own = next((name for name in group["contenders"] if name.startswith("rtseg") and (name, rate) in turns), None)
        if key.startswith("rtseg") or own is None:
            continue
        pairs = [
            (row, other)
            for row in rows
            for other in turns[own, rate]
            if row["repetition"] == other["repetition"] and row["latency_ms"] and other["latency_ms"]
        ]
        latency = [median(row["latency_ms"]) / median(other["latency_ms"]) for row, other in pairs]
        cpu = [row["cpu_ms_per_message"]["node"] / other["cpu_ms_per_message"]["node"] for row, other in pairs]
        lines.append(
            f"- {group['contenders'][key]} at {rate:g} Hz: {spread(latency, 2)} times the p50 of "
            f"{group['contenders'][own]}, {spread(cpu, 2)} times its CPU time."
        )
    return lines


def section(group: Row) -> list[str]:
    """A group's part of the page."""
    size = group["turns"][0]["message_bytes"] / 1e6
    ratios = ratio_lines(group)
    return [
        f"## {group['title']}",
        "",
        f"`FASTDDS_BUILTIN_TRANSPORTS={group['transports']}`, {', '.join(group['rmw'])}, pictures of {size:.2f} MB.",
        "",
        *latency_table(group),
        "",
        *time_table(group),
        *(["", *ratios] if ratios else []),
        "",
    ]


def in_short(data: Row) -> list[str]:
    """What the tables say about rtseg's node, a line for each of its turns."""
    lines = []
    for group in data["groups"].values():
        for (key, rate), rows in rows_of(group).items():
            if not key.startswith("rtseg"):
                continue
            found = pooled(rows)
            sent, masks = sum(row["sent"] for row in rows), sum(row["masks"] for row in rows)
            received = sum(row["received"] for row in rows)
            lines.append(
                f"- {group['title']}, {group['contenders'][key]} at {rate:g} Hz: {received} of {sent} messages reached "
                f"the node, {masks} masks the subscriber; p50 {cell(found['p50'])} ms, p99 {cell(found['p99'])} ms; "
                f"camera, node and subscriber kept {median(cores_used(row) for row in rows):.2f} of "
                f"{data['machine']['cores']} cores busy."
            )
    return lines


COSTS = {
    "convert": "Between bytes, ROS's typed message, and array",
    "in": "Taking a picture that has arrived",
    "out": "Making a mask's message and publishing it to one subscriber",
}


def cost_table(costs: Row) -> list[str]:
    """What each way to handle a message costs."""
    lines = ["| | samples | p50, ms | p90, ms | max, ms |", "| --- | --- | --- | --- | --- |"]
    for key, title in COSTS.items():
        lines.append(f"| **{title}** | | | | |")
        for name, found in costs.get(key, {}).items():
            cells = " | ".join(cell(found[each], 2) for each in ("p50", "p90", "max"))
            lines.append(f"| {name} | {found['samples']} | {cells} |")
    return lines


def page(data: Row) -> str:
    """The whole page."""
    machine, revision = data["machine"], data["revision"] or {"commit": "unknown", "dirty": False}
    height, width = data["picture"]
    versions = ", ".join(f"{name} {number}" for name, number in data["ros"].items())
    command, day = data["command"], data["date"]
    code = f"{revision['commit'][:12]}{' with changes' if revision['dirty'] else ''}"
    where = f"{machine['cores']} cores of an {machine['cpu']}"
    load = data["load"]
    lines = [
        "# Message-to-mask latency in ROS 2",
        "",
        "Made by `tools/ros_bench/page.py` from [docs/bench/ros.json](bench/ros.json); how it is measured and how to "
        "run it again: [tools/ros_bench](../tools/ros_bench/README.md).",
        "",
        f"`{command}`, {day}, revision {code}, on {where}; {versions}; load average {load['before'][0]} before and "
        f"{load['after'][0]} after.",
        "",
        f"Pictures of {width}x{height}, bgr8, from {data['clip']['name']}; model {data['model']['name']}. Messages are "
        "in memory before a run and go out open loop: the stamp is the time at which a message was due, and latency "
        "runs from there to the mask in the hand of a subscriber, so that a late camera, queues and pauses all count. "
        f"Camera, node and subscriber are three processes and share the {machine['cores']} cores. "
        f"{data['repetitions']} repetitions, contenders in turn; percentiles are over all their messages, nearest "
        "rank, and are left out (–) where samples are too few to say. The tutorial's node has the same network, "
        "preprocessing and labels as rtseg's: what differs is typed messages, work in the callback, and reliable "
        "queues of ten instead of newest wins. A page fault is 4 KB of memory taken from the system anew; megabytes "
        "that are freed and taken again with every message can cost more than copying them.",
        "",
    ]
    lines += ["## In short", "", *in_short(data), ""]
    for group in data["groups"].values():
        lines += section(group)
    lines += [
        "## What a message costs",
        "",
        "One process, nothing beside it, a picture of the same size and a mask of it. `fields checked` is how older "
        "releases of ROS 2, Humble among them, always are; this one checks only with `ROS_PYTHON_CHECK_FIELDS=1`.",
        "",
        *cost_table(data["costs"]),
        "",
    ]
    return "\n".join(lines)


def main() -> int:
    """Write or check the page."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--source", type=Path, default=SOURCE)
    parser.add_argument("--page", type=Path, default=PAGE)
    args = parser.parse_args()
    text = page(json.loads(args.source.read_text(encoding="utf-8")))
    if args.check:
        same = args.page.read_text(encoding="utf-8") == text
        if not same:
            print(f"{args.page} is not what {args.source} says: run tools/ros_bench/page.py", file=sys.stderr)
        return int(not same)
    args.page.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
