"""A benchmark as one HTML file: its charts and all of its numbers, with nothing from outside and no script."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from html import escape
from importlib import resources
from pathlib import Path
from typing import Any

from rtseg.bench import markup, plots
from rtseg.bench.chart import INKS, LATENCIES, PERCENTS, SERIES, Spread, floor, percentile, spread, together, traces
from rtseg.errors import SinkError
from rtseg.files import write_text

__all__ = ["write"]

Data = Mapping[str, Any]

POLICY = "default-src 'none'; style-src 'unsafe-inline'"
"""What a browser may load for the page: nothing but the styles in it."""
COLUMNS = (*PERCENTS, "max")
GLANCE: Mapping[str, Sequence[str]] = {
    "capture_to_overlay_ms": COLUMNS,
    "capture_to_sink_ms": ("p50", "p99", "max"),
    "jitter_ms": ("p50", "p99", "max"),
}
"""What the first table gives for each duration."""
NOTE = (
    "Latencies in milliseconds. p50, rate, processor and memory: the median over the repetitions, beneath it the "
    "lowest and highest. Higher percentiles and max: of all their frames together, beneath them the lowest and highest "
    "of a repetition. Frames: of all repetitions."
)
NO_TRACE = "The benchmark kept no values for each frame, which this chart is drawn from."
MEANING = (
    "Capture-to-overlay is the time from when a frame was due to its overlay in hand, capture-to-sink to the frame "
    "written, one sample per sink; neither is glass-to-glass. Jitter is by how much capture-to-overlay differs from "
    "one frame to the next. Percentiles are nearest-rank, so each is a time that a frame really took."
)
CURVES = (
    "Lines: all repetitions together, dotted beyond what that many frames support (MLPerf's early-stopping rule), "
    "a dot at the slowest frame. "
)
FIGURES: Mapping[str, tuple[str, str, str]] = {
    "latency-histogram": (
        "How long frames took",
        "All repetitions together. The lines are p50 and p99 as in the table; where there is none, frames are too few.",
        NO_TRACE,
    ),
    "latency-percentiles": (
        "Percentiles",
        "{curves}Squares: the median of the repetitions' own percentiles, whiskers from lowest to highest.",
        "No repetition has a frame.",
    ),
    "stages": (
        "Where the time goes",
        "{means} `whole` is capture-to-overlay; the stage `sink`, which hands the result over, comes after it, and "
        "`other` is what lies between the stages. Of pale bars the length is known, but not where in the frame they "
        "lie{gpu}. {sums}",
        "No repetition has a frame.",
    ),
    "latency-over-time": (
        "Latency over time",
        "A point for each frame when it was due; above, in red, the frames that were dropped. Dashed lines: the next "
        "repetition begins.",
        NO_TRACE,
    ),
    "accuracy": (
        "Accuracy against latency",
        "mIoU from {sources}.{otherwise}",
        "None of the models has an accuracy that is known here: `rtseg eval` measures it.",
    ),
}
"""Chart -> title, caption, and the sentence that stands in its place where there is nothing to draw."""


def write(data: Data, path: Path) -> None:
    """Write the page of a benchmark (`rtseg.bench/1`).

    Errors: SinkError where the file cannot be written.
    """
    text = page(data)
    try:
        write_text(path, text)
    except OSError as exc:
        raise SinkError(f"cannot write page {path}: {exc.strerror or exc}") from exc


def page(data: Data) -> str:
    """The whole text of the page."""
    source, settings = data["input"]["source"], data["settings"]
    title = f"rtseg bench: {source}"
    styles = resources.files("rtseg.bench").joinpath("page.css").read_text(encoding="utf-8")
    light, dark = (" ".join(f"--{name}: {pair[side]};" for name, pair in INKS.items()) for side in (0, 1))
    parts = [
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<title>{escape(title)}</title>',
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<style>\n:root {{ {light} }}\n@media (prefers-color-scheme: dark) {{ :root {{ {dark} }} }}\n{styles}</style>",
        f"</head>\n<body>\n<h1>{escape(title)}</h1>",
        f"<p>{escape(_how(settings))}</p>",
        f'<p class="soft">{escape(data["created"])} · {escape(str(data["machine"].get("cpu", "")))}, '
        f"{escape(str(data['machine'].get('cores', '?')))} cores</p>",
        _glance(data["configurations"]),
        _charts(data),
        _comparisons(data.get("comparisons") or ()),
        _search(data.get("search")),
        *(_configuration(place, one) for place, one in enumerate(data["configurations"])),
        _circumstances(data),
        "</body>\n</html>\n",
    ]
    return "\n".join(part for part in parts if part)


def _how(settings: Data) -> str:
    if settings.get("loop") == "open":
        load = (
            f"Open loop: a frame is due {settings['rate']:g} times a second whether or not the last one is done, and "
            "its latency counts from then."
        )
    else:
        load = (
            "Closed loop: the next frame is due when there is room for it, so this is a peak rate, and no latency of a "
            "camera."
        )
    return (
        f"{load} {settings['repetitions']} repetitions of {settings['duration_s']:g} s ({settings.get('order', '')}), "
        f"{settings['warm_up_frames']} frames of warm-up not counted."
    )


def _glance(configurations: Sequence[Data]) -> str:
    """What can be compared: a column for each configuration."""
    rows = [("frames", [_frames(one["repetitions"]) for one in configurations])]
    for group, columns in GLANCE.items():
        for column in columns:
            cells = [_percentile(one, group, column) for one in configurations]
            rows.append((markup.label(f"{group}.{column}").removesuffix(", ms"), cells))
    rows.append(("frames dropped", [_dropped(one["repetitions"]) for one in configurations]))
    for path in ("rate", "cpu_s_per_frame", "memory_mb.peak", "memory_mb.final"):
        values = [spread(one["repetitions"], *path.split(".")) for one in configurations]
        cells = [f"{markup.number(path, value.median)}{_reach(path, value)}" if value else "–" for value in values]
        rows.append((markup.label(path), cells))
    rows.append(("late frames of the load", [_late(one["repetitions"]) for one in configurations]))
    rows.append(("mIoU", [_score(one) for one in configurations]))
    heads = [_key(place) + escape(one["name"]) for place, one in enumerate(configurations)]
    return f"<h2>At a glance</h2>{markup.table(['', *heads], rows, NOTE)}<p class='soft'>{_floors()}</p>"


def _percentile(configuration: Data, group: str, column: str) -> str:
    """A percentile and how far the repetitions' own went; a dash and the samples of those it takes if they are few."""
    value = percentile(configuration, group, column)
    if value is not None:
        return f"{value:.2f}{_reach(group, spread(configuration['repetitions'], group, column))}"
    samples = together(configuration)[group]["samples"]
    needed = floor(float(column[1:])) if column in PERCENTS else 1
    return f"–<small>{samples:,} of {needed:,}</small>" if samples < needed else "–"


def _frames(repetitions: Sequence[Data]) -> str:
    frames, due = (sum(one[key] for one in repetitions) for key in ("frames", "due"))
    return f"{frames:,}<small>of {due:,} due</small>"


def _dropped(repetitions: Sequence[Data]) -> str:
    total, sinks = (sum(one["drops"][key] for one in repetitions) for key in ("total", "sinks"))
    return f"{total:,}<small>{sinks:,} in sinks</small>"


def _floors() -> str:
    needs = ", ".join(f"{key} {floor(float(key[1:])):,}" for key in PERCENTS[1:])
    return f"–: too few frames for that percentile, which take {needs} (MLPerf's early-stopping rule)."


def _late(repetitions: Sequence[Data]) -> str:
    late = [one["late"] for one in repetitions if (one.get("late") or {}).get("frames") is not None]
    if not late:
        return "–"
    worst = max(one["worst_ms"] or 0 for one in late)
    return f"{sum(one['frames'] for one in late):,}<small>worst {worst:.1f} ms</small>"


def _score(configuration: Data) -> str:
    accuracy = configuration.get("accuracy")
    if not accuracy:
        return "–<small>not known</small>"
    return f"{accuracy['miou']:.4f}" + ("" if accuracy.get("as_run", True) else "<small>scored otherwise</small>")


def _charts(data: Data) -> str:
    drawn = plots.svg(data)
    parts = ['<h2>Charts</h2><div class="charts">']
    for name, (title, caption, missing) in FIGURES.items():
        parts.append(f"<section><h3>{title}</h3>")
        if name in drawn:
            text = _code(escape(caption.format(**_facts(data["configurations"]))))
            picture = drawn[name].replace('role="img"', f'role="img" aria-label="{title}"', 1)
            parts.append(f"<figure>{picture}<figcaption>{text}</figcaption></figure>")
        else:
            parts.append(f"<p class='soft'>{_code(missing)}</p>")
        parts.append("</section>")
    return "\n".join(parts) + "</div>"


def _code(text: str) -> str:
    for tag in ("<code>", "</code>") * (text.count("`") // 2):
        text = text.replace("`", tag, 1)
    return text


def _facts(configurations: Sequence[Data]) -> dict[str, str]:
    """What captions say of the data."""
    repetitions = [repetition for one in configurations for repetition in one["repetitions"]]
    kept = [repetition["trace"] for one in configurations for repetition in traces(one)]
    scores = [one["accuracy"] for one in configurations if one.get("accuracy")]
    ratios = [repetition["stages_sum"]["ratio"] for repetition in repetitions if repetition.get("stages_sum")]
    facts = dict.fromkeys(("curves", "gpu", "sums", "otherwise"), "")
    facts["sources"] = ", ".join(dict.fromkeys(str(score["from"]) for score in scores))
    facts["means"] = "Medians of the repetitions' p50, one after the other: medians do not quite add up."
    if kept:
        facts["means"] = "Means over all frames, for means add up."
        facts["curves"] = CURVES
        timed = any(name.startswith("gpu-") for trace in kept for name in trace["stages_ns"])
        if not timed and any(repetition.get("gpu_ms") for repetition in repetitions):
            facts["gpu"] = "; those of the GPU are medians of the repetitions' p50"
    if ratios:
        ends = dict.fromkeys(f"{ratio:.1%}" for ratio in (min(ratios), max(ratios)))
        facts["sums"] = f"In each repetition they add up to {' to '.join(ends)} of the whole and `sink`."
    if not all(score.get("as_run", True) for score in scores):
        facts["otherwise"] = " Hollow: scored at another size or without its refinement, so not quite as it ran here."
    return facts


def _comparisons(comparisons: Sequence[Data]) -> str:
    """Ratios b / a of paired repetitions, under a line for each pair of configurations."""
    parts = []
    for a, b in dict.fromkeys((one["a"], one["b"]) for one in comparisons):
        rows = []
        for one in comparisons:
            if (one["a"], one["b"]) == (a, b):
                between = f"{one['low']:.3f} to {one['high']:.3f}<small>{escape(one.get('interval', ''))}</small>"
                cells = [f"{one['ratio']:.3f}", between, str(one["pairs"])]
                rows.append((markup.label(one["metric"]).removesuffix(", ms"), cells))
        note = f"<b>{escape(b)}</b> as a multiple of <b>{escape(a)}</b>: medians of the ratios of paired repetitions."
        parts.append(markup.table(["", "ratio", "between", "pairs"], rows, note))
    return f"<h2>Compared</h2>{''.join(parts)}" if parts else ""


def _search(search: Data | None) -> str:
    if not search:
        return ""
    if search["kind"] == "rate":
        found = f"{search['rate']:g} frames/s" if search.get("rate") is not None else "none of those tried"
        title, line = "The highest rate that holds", f"{found} (under 1 % of frames dropped and p99 under one period)."
    else:
        title = f"The most accurate within {search['budget_ms']:g} ms"
        line = f"{search['chosen'] or 'None of those tried'}."
        if search.get("written"):
            line += f" Its configuration is in {search['written']}."
    keys, needed = list(dict.fromkeys(key for one in search["tries"] for key in one)), floor(99)
    rows = []
    for number, one in enumerate(search["tries"], start=1):
        rows.append((str(number), [markup.value(key, one.get(key)) for key in keys]))
    note = ""
    if any(one.get("samples", needed) < needed for one in search["tries"]):
        note = f"A p99 of fewer than {needed} frames is an estimate."
    return f"<h2>{title}</h2><p>{escape(line)}</p>{markup.table(['try', *map(markup.label, keys)], rows, note)}"


def _configuration(place: int, one: Data) -> str:
    repetitions = one["repetitions"]
    config = escape(json.dumps(one["config"], indent=2, ensure_ascii=False))
    parts = [
        f"<h2>{_key(place)}{escape(one['name'])}</h2>",
        _latencies(together(one), _of_all(one)),
        _repetitions(repetitions),
        markup.definitions({**one["model"], "network": "x".join(map(str, one["network_size"] or []))}),
        f"<details><summary>Its configuration</summary><pre>{config}</pre></details>",
    ]
    for number, repetition in enumerate(repetitions, start=1):
        text = _latencies(repetition, "Milliseconds.")
        parts.append(f"<details><summary>Latencies of repetition {number}</summary>{text}</details>")
    return "\n".join(parts)


def _of_all(one: Data) -> str:
    if not one.get("pooled"):
        return "Medians over the repetitions, ms."
    on_gpu = any(repetition.get("gpu_ms") for repetition in one["repetitions"])
    return "All repetitions together, ms" + ("; of the GPU's stages the medians over them." if on_gpu else ".")


def _latencies(one: Data, caption: str) -> str:
    """The percentiles of both latencies, of the jitter and of each stage."""
    named = [(markup.label(group).removesuffix(", ms"), one[group]) for group in LATENCIES]
    named += [(escape(name), row) for group in ("stages_ms", "gpu_ms") for name, row in (one.get(group) or {}).items()]
    rows = []
    for name, row in named:
        figures = ["–" if row.get(column) is None else f"{row[column]:.2f}" for column in COLUMNS]
        rows.append((name, [f"{row['samples']:,}", *figures]))
    return markup.table(["", "samples", *COLUMNS], rows, f"{caption} –: too few samples.")


def _repetitions(repetitions: Sequence[Data]) -> str:
    """A column for each repetition."""
    paths = {
        "seconds from the start": "started_s",
        "seconds": "seconds",
        "frames due": "due",
        "frames": "frames",
        "frames per second": "rate",
        "frames dropped": "drops.total",
        "– in capture": "drops.capture",
        "– in sinks": "drops.sinks",
        "late frames of the load": "late.frames",
        "– by at most, ms": "late.worst_ms",
        "sum of stages to whole": "stages_sum.ratio",
        "CPU seconds per frame": "cpu_s_per_frame",
        "peak memory, MiB": "memory_mb.peak",
        "final memory, MiB": "memory_mb.final",
    }
    rows = []
    for name, path in paths.items():
        values = [spread([one], *path.split(".")) for one in repetitions]
        rows.append((name, [markup.number(path, value.median) if value else "–" for value in values]))
    return markup.table(["repetition", *(str(number) for number in range(1, len(repetitions) + 1))], rows)


def _circumstances(data: Data) -> str:
    revision = data.get("revision")
    state = "not known" if not revision else revision["commit"] + (" with changes" if revision["dirty"] else "")
    source = dict(data["input"])
    decode = source.pop("decode", None)
    lines = {**source, "size": "x".join(map(str, source.get("size") or []))}
    if decode:
        lines["decoding, measured apart"] = (
            f"{decode['frames']} frames at {decode['fps'] or 0:.1f} frames/s, p50 "
            + ("–" if decode["ms"]["p50"] is None else f"{decode['ms']['p50']:.2f} ms")
            + f" ({decode['ms']['samples']} samples)"
        )
    command = f"<pre>{escape(shlex.join(map(str, data['command'])))}</pre>"
    return "\n".join(
        [
            "<h2>How it was measured</h2>",
            command,
            markup.definitions({"revision": state, "created": data["created"], "schema": data["schema"]}),
            "<h3>Input</h3>",
            markup.definitions(lines),
            "<h3>Settings</h3>",
            markup.definitions(data["settings"]),
            "<h3>Machine</h3>",
            markup.definitions(data["machine"]),
            f"<p class='soft'>{MEANING}</p>",
        ]
    )


def _reach(path: str, value: Spread | None) -> str:
    if value is None:
        return ""
    return f"<small>{markup.number(path, value.low)} to {markup.number(path, value.high)}</small>"


def _key(place: int) -> str:
    return f'<i class="key" style="background: var(--series-{place % SERIES})"></i>'
