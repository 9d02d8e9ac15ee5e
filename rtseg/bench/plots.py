"""The charts of a benchmark, drawn by matplotlib: as PNG files, and as SVG whose colours are CSS variables.

The only importer of matplotlib; MissingExtra at its own import where that is not installed. The charts' names in CHARTS
are those of the PNG files.
"""

from __future__ import annotations

import io
import math
import re
import textwrap
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from rtseg.bench.chart import INKS, PERCENTS, SERIES, bars, latencies, percentile, spread, supported, thinned, timeline
from rtseg.errors import SinkError
from rtseg.files import write_bytes
from rtseg.registry import require

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["CHARTS", "svg", "write"]

# At import, so that it is known before a benchmark is run and not after it.
require("matplotlib", "a chart of a benchmark", "bench")

Inks = Mapping[str, str]

WIDTH = 4.4
"""Inches; a screen of 400 pixels shows them without shrinking the text below 9 pixels."""
DPI = 220
BINS = 75
"""Bins of a histogram at most."""
POINTS = 1500
"""Points of a line over time: beyond them neighbours fall into the same pixel."""
TAIL = 1.25
"""Frames slower than so many times the slowest p99 are counted at the histogram's edge."""
DASHES = ("-", "--", ":", "-.")
MARK = "#5e{:02x}a7"
"""A colour that stands for the variable of the ink with that number until the SVG is finished."""
STYLE = {
    "font.family": "sans-serif",
    "font.size": 8.5,
    "axes.titlesize": 8.5,
    "axes.labelsize": 8.5,
    "xtick.labelsize": 8.0,
    "ytick.labelsize": 8.0,
    "legend.fontsize": 8.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.unicode_minus": False,
    "text.parse_math": False,
    "svg.fonttype": "none",
    "svg.hashsalt": "rtseg",
    "path.simplify": False,
}


def write(data: Mapping[str, Any], folder: Path) -> list[Path]:
    """Write the charts that the benchmark has values for as PNG files on white and return their paths.

    Errors: SinkError where a file cannot be written.
    """
    inks = {name: light for name, (light, _) in INKS.items()}
    written = []
    for name, picture in _pictures(data, inks, "png"):
        path = folder / f"{name}.png"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            write_bytes(path, picture)
        except OSError as exc:
            raise SinkError(f"cannot write plot {path}: {exc.strerror or exc}") from exc
        written.append(path)
    return written


def svg(data: Mapping[str, Any]) -> dict[str, str]:
    """The charts that the benchmark has values for as SVG elements to stand in a page, by name.

    Colours are `var(--NAME)` for the names in INKS.
    """
    marks = {name: MARK.format(number) for number, name in enumerate(INKS)}
    pictures = _pictures(data, marks, "svg")
    return {name: _inline(picture.decode(), name) for name, picture in pictures}


def _pictures(data: Mapping[str, Any], inks: Inks, kind: str) -> list[tuple[str, bytes]]:
    import matplotlib

    out = []
    lines = {"axes.edgecolor": inks["rule"], "axes.labelcolor": inks["soft"], "text.color": inks["ink"]}
    ticks = {f"{axis}tick.{part}": inks["soft"] for axis in "xy" for part in ("color", "labelcolor")}
    paper = {"figure.facecolor": inks["paper"], "axes.facecolor": "none", "savefig.facecolor": "auto"}
    style: dict[Any, Any] = {**STYLE, **lines, **ticks, **paper, "grid.color": inks["rule"]}
    with matplotlib.rc_context(style):
        for name, draw in CHARTS.items():
            figure = draw(data, inks)
            if figure is None:
                continue
            buffer = io.BytesIO()
            if kind == "svg":
                figure.patch.set_visible(False)
                figure.savefig(buffer, format="svg", metadata={"Date": None})
            else:
                figure.savefig(buffer, format="png", dpi=DPI, metadata={"Software": None})
            out.append((name, buffer.getvalue()))
    return out


def _inline(text: str, name: str) -> str:
    """An SVG file as an element of an HTML page: no prologue, no names of other places, ids of its own."""
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>|<style .*?</style>", "", text, flags=re.DOTALL)
    view = re.search(r'viewBox="[^"]*"', text)
    text = re.sub(r"<svg[^>]*>", f'<svg {view.group() if view else ""} role="img">', text, count=1)
    return re.sub(r"<[^>]*>", lambda tag: _tag(tag.group(), name), text)


def _tag(tag: str, name: str) -> str:
    tag = tag.replace(' id="', f' id="{name}-').replace("url(#", f"url(#{name}-")
    tag = tag.replace(' xlink:href="#', f' href="#{name}-')
    for number, ink in enumerate(INKS):
        tag = tag.replace(f": {MARK.format(number)}", f": var(--{ink})")
    tag = re.sub(r"\bfont: ([\d.]+px)[^;\"]*", r"font-size: \1", tag)
    return re.sub(r"font-family: [^;\"]*", "font-family: inherit", tag)


def _panels(heights: Sequence[float], room: float, *, x: bool = True, y: bool = True) -> tuple[Figure, list[Axes]]:
    """A figure of panels beneath each other, heights in inches, with `room` for titles; axes shared or not."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(WIDTH, sum(heights) + room), layout="constrained")
    axes = figure.subplots(len(heights), 1, sharex=x, sharey=y, squeeze=False, height_ratios=heights)[:, 0]
    return figure, list(axes)


def _title(axes: Axes, name: str, note: str = "", color: str | None = None) -> None:
    text = "\n".join(textwrap.wrap(name, 56, max_lines=2, placeholder=" …"))
    axes.set_title(text, loc="left", pad=15 if note else 5)
    axes.annotate(note, (0, 1), (0, 4), xycoords="axes fraction", textcoords="offset points", color=color, fontsize=8)


def _color(inks: Inks, place: int) -> str:
    return inks[f"series-{place % SERIES}"]


def _histogram(data: Mapping[str, Any], inks: Inks) -> Figure | None:
    """The share of frames per bin of latency, a panel for each configuration on the same axes."""
    found = [(place, one, latencies(one)) for place, one in enumerate(data["configurations"])]
    found = [entry for entry in found if entry[2].size]
    if not found:
        return None
    slow = max(float(np.percentile(taken, 99, method="inverted_cdf")) for _, _, taken in found)
    reach = 1.02 * min(slow * TAIL, max(float(taken.max()) for _, _, taken in found))
    width = _nice(reach / BINS)
    edges = width * np.arange(math.ceil(reach / width) + 1)
    figure, panels = _panels([1.3] * len(found), 0.5, y=False)
    for axes, (place, one, taken) in zip(panels, found, strict=True):
        color = _color(inks, place)
        counts = np.histogram(taken, edges)[0] / taken.size * 100
        axes.stairs(counts, edges, fill=True, color=color, alpha=0.85)
        axes.grid(axis="y", linewidth=0.6)
        axes.set_ylim(bottom=0)
        notes = [f"{taken.size:,} frames"]
        for key in ("p50", "p99"):
            value = percentile(one, "capture_to_overlay_ms", key)
            if value is not None and value <= edges[-1]:
                axes.axvline(value, color=inks["ink"], linewidth=0.9, linestyle="-" if key == "p50" else "--")
                notes.append(f"{key} {value:.1f} ({'—' if key == 'p50' else '– –'})")
        beyond = taken[taken > edges[-1]]
        if beyond.size:
            notes.append(f"{beyond.size:,} beyond, to {beyond.max():.0f} ms ►")
        _title(axes, one["name"], ", ".join(notes), inks["soft"])
    panels[0].set_xlim(0, edges[-1])
    figure.supylabel(f"% of frames per {width:g} ms", fontsize=8.5, color=inks["soft"])
    panels[-1].set_xlabel("capture-to-overlay, ms")
    return figure


def _nice(least: float) -> float:
    """The smallest of 1, 2, 5 times a power of ten that is not below `least`."""
    power = 10.0 ** math.floor(math.log10(max(least, 1e-3)))
    return next(step * power for step in (1, 2, 5, 10) if step * power >= least * (1 - 1e-9))


def _percentiles(data: Mapping[str, Any], inks: Inks) -> Figure | None:
    """Latency against percentile, the scale such that each further nine takes the same room."""
    from matplotlib.ticker import FixedLocator, NullLocator

    figure, (axes,) = _panels([2.5], 0.2 * len(data["configurations"]))
    right, drawn = 2.0, False
    for place, one in enumerate(data["configurations"]):
        style: dict[str, Any] = {"color": _color(inks, place), "linewidth": 1.5}
        style["linestyle"] = DASHES[place // SERIES % len(DASHES)]
        label = "\n".join(textwrap.wrap(one["name"], 48))
        ordered = np.sort(latencies(one))
        if ordered.size:
            drawn, end = True, math.log10(ordered.size)
            sure = -math.log10(1 - supported(ordered.size) / 100) if ordered.size > 7 else 0.0
            nines = np.union1d(np.linspace(0, end, 400), [sure])
            ranks = np.ceil(np.round((1 - 10.0**-nines) * ordered.size, 9)).astype(int)
            values = ordered[np.clip(ranks - 1, 0, ordered.size - 1)]
            values[-1] = ordered[-1]
            solid = nines <= sure
            style["drawstyle"] = "steps-pre"
            axes.plot(nines[solid], values[solid], label=f"{label} ({ordered.size:,} frames)", **style)
            axes.plot(
                nines[nines >= sure], values[nines >= sure], **{**style, "linewidth": 0.9, "linestyle": (0, (1, 1.6))}
            )
            axes.plot(end, ordered[-1], marker="o", markersize=3.5, color=style["color"])
            right = max(right, end * 1.02)
        points = [(key, spread(one["repetitions"], "capture_to_overlay_ms", key)) for key in PERCENTS]
        known = [(-math.log10(1 - float(key[1:]) / 100), value) for key, value in points if value is not None]
        if known:
            x, middle = [at for at, _ in known], [value.median for _, value in known]
            reach = [[v.median - v.low for _, v in known], [v.high - v.median for _, v in known]]
            joined = {} if ordered.size else {"label": label, "linestyle": style["linestyle"]}
            axes.errorbar(
                x, middle, yerr=reach, color=style["color"], marker="s", markersize=3, capsize=2.5, elinewidth=0.9,
                **{"linestyle": "none", **joined},
            )  # fmt: skip
            drawn = True
    if not drawn:
        return None
    ticks = [0.0, *(-math.log10(1 - float(key[1:]) / 100) for key in PERCENTS), 4.0]
    names = ["0", "50", "90", "95", "99", "99.9", "99.99"]
    shown = [(at, name) for at, name in zip(ticks, names, strict=True) if at <= right]
    axes.xaxis.set_major_locator(FixedLocator([at for at, _ in shown]))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xticklabels([name for _, name in shown])
    axes.set_xlim(0, right)
    axes.set_ylim(bottom=0)
    axes.grid(linewidth=0.6)
    axes.set_xlabel("percent of frames that took no longer")
    axes.set_ylabel("capture-to-overlay, ms")
    figure.legend(loc="outside upper left", frameon=False, handlelength=1.6)
    return figure


def _stages(data: Mapping[str, Any], inks: Inks) -> Figure | None:
    """Where the time of the average frame goes: a bar for each stage, where it begins and as long as it lasts."""
    found = [(place, one, *bars(one)) for place, one in enumerate(data["configurations"])]
    found = [entry for entry in found if entry[2]]
    if not found:
        return None
    heights = [0.32 + 0.175 * (len(stages) + 1) for _, _, stages, _ in found]
    figure, panels = _panels(heights, 0.45, x=False, y=False)
    right = max(bar.start + bar.duration for _, _, stages, _ in found for bar in stages)
    right = 1.13 * max(right, *(whole or 0 for *_, whole in found))
    behind = {"facecolor": inks["paper"], "edgecolor": "none", "pad": 0.8}
    for axes, (place, one, stages, whole) in zip(panels, found, strict=True):
        for row, bar in enumerate(stages):
            pale = 0.45 if bar.assumed else 1
            axes.barh(row, bar.duration, left=bar.start, height=0.72, color=_color(inks, place), alpha=pale)
            axes.text(
                bar.start + bar.duration + right * 0.01,
                row,
                f"{bar.duration:.2f}",
                va="center",
                fontsize=8,
                bbox=behind,
            )
        names = [bar.name for bar in stages]
        if whole is not None:
            axes.barh(len(stages), whole, height=0.3, color=inks["ink"])
            axes.text(whole + right * 0.01, len(stages), f"{whole:.2f}", va="center", fontsize=8, bbox=behind)
            axes.axvline(whole, color=inks["ink"], linewidth=0.6, linestyle=":")
            names.append("whole")
        axes.set_yticks(range(len(names)), names)
        axes.tick_params(axis="y", length=0)
        axes.set_ylim(len(names) - 0.4, -0.6)
        axes.set_xlim(0, right)
        axes.grid(axis="x", linewidth=0.6)
        _title(axes, one["name"])
    panels[-1].set_xlabel("ms since the frame was due")
    return figure


def _over_time(data: Mapping[str, Any], inks: Inks) -> Figure | None:
    """Latency of every frame over time, a panel for each configuration, the repetitions end to end."""
    from matplotlib.transforms import blended_transform_factory

    found = [(place, one, timeline(one)) for place, one in enumerate(data["configurations"])]
    found = [entry for entry in found if entry[2].starts]
    if not found:
        return None
    figure, panels = _panels([1.5] * len(found), 0.5)
    for axes, (place, one, line) in zip(panels, found, strict=True):
        x, y = thinned(line.seconds, line.latency_ms, POINTS)
        axes.plot(x, y, color=_color(inks, place), linewidth=0.8)
        for start in line.starts[1:]:
            axes.axvline(start, color=inks["soft"], linewidth=0.7, linestyle="--")
        if line.drops.size:
            strip = blended_transform_factory(axes.transData, axes.transAxes)
            shown = np.unique(np.round(line.drops / line.end * 2000)) * line.end / 2000
            across, up = np.repeat(shown, 3), np.tile([0.90, 0.99, math.nan], shown.size)
            axes.plot(across, up, transform=strip, color=inks["drop"], linewidth=1)
        due = line.drops.size + int(np.count_nonzero(~np.isnan(line.latency_ms)))
        color = inks["drop"] if line.drops.size else inks["soft"]
        _title(axes, one["name"], f"{line.drops.size:,} of {due:,} frames dropped", color)
        axes.grid(axis="y", linewidth=0.6)
    top = max(float(np.nanmax(line.latency_ms)) for *_, line in found)
    panels[0].set_ylim(0, top * 1.18)
    panels[0].set_xlim(0, max(line.end for *_, line in found))
    panels[-1].set_xlabel("seconds measured, repetitions end to end")
    figure.supylabel("capture-to-overlay, ms", fontsize=8.5, color=inks["soft"])
    return figure


def _accuracy(data: Mapping[str, Any], inks: Inks) -> Figure | None:
    """Accuracy against latency: a point at p50, a line to the highest percentile that every configuration has."""
    found = [(place, one) for place, one in enumerate(data["configurations"]) if one.get("accuracy")]
    found = [(place, one) for place, one in found if percentile(one, "capture_to_overlay_ms", "p50")]
    if not found:
        return None
    known = [key for key in PERCENTS if all(percentile(one, "capture_to_overlay_ms", key) for _, one in found)]
    figure, (axes,) = _panels([2.5], 0.2 * len(data["configurations"]))
    for place, one in found:
        color, score = _color(inks, place), float(one["accuracy"]["miou"])
        ends = [percentile(one, "capture_to_overlay_ms", key) or 0.0 for key in (known[0], known[-1])]
        full = color if one["accuracy"].get("as_run", True) else inks["paper"]
        label = "\n".join(textwrap.wrap(one["name"], 52))
        if len(known) > 1:
            axes.plot(ends, [score, score], color=color, linewidth=1.2)
            axes.plot(ends[-1], score, "|", color=color, markersize=9)
        marker = "os^Dv"[place // SERIES % 5]
        axes.plot(ends[0], score, marker, color=color, markerfacecolor=full, markersize=6, label=label)
    axes.set_xlim(0, axes.get_xlim()[1])
    axes.set_ylim(0, 1)
    axes.grid(linewidth=0.6)
    axes.set_xlabel(f"capture-to-overlay, ms: p50{f', the line to {known[-1]}' if len(known) > 1 else ''}")
    axes.set_ylabel("mIoU")
    figure.legend(loc="outside upper left", frameon=False, handlelength=1.6)
    return figure


CHARTS: Mapping[str, Callable[[Mapping[str, Any], Inks], Any]] = {
    "latency-histogram": _histogram,
    "latency-percentiles": _percentiles,
    "stages": _stages,
    "latency-over-time": _over_time,
    "accuracy": _accuracy,
}
