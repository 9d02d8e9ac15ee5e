"""Numbers, names and tables of a benchmark as HTML."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

__all__ = ["definitions", "label", "number", "table", "value"]

NAMES: Mapping[str, str] = {
    "capture_to_overlay_ms": "capture-to-overlay, ms",
    "capture_to_sink_ms": "capture-to-sink, ms",
    "jitter_ms": "jitter, ms",
    "cpu_s_per_frame": "CPU seconds per frame",
    "memory_mb.peak": "peak memory, MiB",
    "memory_mb.final": "final memory, MiB",
    "drops.total": "frames dropped",
    "rate": "frames per second",
    "p99_ms": "p99, ms",
    "duration_s": "seconds each",
    "warm_up_frames": "warm-up frames, not counted",
    "sha256": "SHA-256",
}


def label(key: str) -> str:
    """What a person calls the figure at this path of the JSON."""
    if key in NAMES:
        return escape(NAMES[key])
    group, _, rest = key.partition(".")
    name = NAMES.get(group, group.replace("_", " "))
    if group.endswith("_ms") and rest:
        return escape(f"{name.removesuffix(', ms')} {rest}, ms")
    return escape(f"{name} {rest}" if rest else name)


def number(key: str, value: float) -> str:
    """The figure at this path of the JSON, with the decimals that mean something."""
    if key.startswith("cpu_"):
        return f"{value:.4f}"
    if key == "stages_sum.ratio":
        return f"{value:.1%}"
    if key.startswith("memory") or key in ("started_s", "seconds", "late.worst_ms"):
        return f"{value:.1f}"
    return f"{value:,g}" if key.startswith("drops") or key in ("due", "frames", "late.frames") else f"{value:.2f}"


def value(key: str, given: Any) -> str:
    """Anything that stands in a table without a path that is known; `drops` in it is a share."""
    if given is None:
        return "–"
    if isinstance(given, bool):
        return "yes" if given else "no"
    if key == "drops":
        return f"{given:.1%}"
    return escape(f"{given:.4g}" if isinstance(given, float) else str(given))


def table(heads: Sequence[str], rows: Iterable[tuple[str, Sequence[str]]], caption: str = "") -> str:
    """A table of HTML cells that scrolls by itself where it is too wide."""
    top = "".join(f'<th scope="col">{head}</th>' for head in heads)
    body = "\n".join(
        f'<tr><th scope="row">{name}</th>' + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>"
        for name, cells in rows
    )
    note = f'<p class="soft">{caption}</p>' if caption else ""
    return f'{note}<div class="wide"><table><thead><tr>{top}</tr></thead><tbody>\n{body}\n</tbody></table></div>'


def definitions(values: Mapping[str, Any]) -> str:
    """Names and what they stand for; a mapping or a list within is one line."""
    lines = []
    for key, given in values.items():
        if isinstance(given, Mapping):
            text = ", ".join(f"{name} {each}" for name, each in given.items())
        elif isinstance(given, list | tuple):
            text = ", ".join(map(str, given))
        else:
            text = "–" if given is None else str(given)
        lines.append(f"<dt>{label(key)}</dt><dd>{escape(text)}</dd>")
    return f"<dl>{''.join(lines)}</dl>"
