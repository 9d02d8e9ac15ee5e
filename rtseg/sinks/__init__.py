"""Sinks: where results go. One file each; the output string decides which."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rtseg import registry
from rtseg.drawing.view import View
from rtseg.errors import ConfigError, nearest
from rtseg.frame import NEEDS, StreamInfo
from rtseg.packages.spec import ModelSpec
from rtseg.sinks.contract import Sink

__all__ = ["NEEDS", "Sink", "open_sink", "sink_kind"]

VIDEO_SUFFIXES = (".mp4", ".mkv", ".mov", ".avi", ".webm", ".m4v", ".ts")
IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff")


def sink_kind(uri: str) -> tuple[str, str]:
    """The kind and target of an output string: `window:` -> ("window", ""), `out/%06d.png` -> ("images", …).

    Pictures are overlays unless the string starts with `labels:` (class ids) or `colors:` (the classes' colours).
    """
    scheme, colon, rest = uri.partition(":")
    if colon and scheme in registry.SINKS:
        return scheme, rest
    if uri.endswith("/"):
        return "images", uri
    suffix = Path(uri).suffix.lower()
    if suffix == ".jsonl":
        return "stats", uri
    if suffix == ".mcap":
        return "bag", uri
    if suffix in IMAGE_SUFFIXES:
        return "images", uri
    if suffix in VIDEO_SUFFIXES:
        return "video", uri
    prefixes = ("window:", "labels:", "colors:", "foxglove:", "rerun:", "ros:", "bag:", "null:")
    known = [*VIDEO_SUFFIXES, *IMAGE_SUFFIXES, ".jsonl", ".mcap", *prefixes]
    raise ConfigError(f"cannot tell what to write from output '{uri}': {nearest(suffix or uri, known)}")


def open_sink(
    uri: str, info: StreamInfo, spec: ModelSpec, view: View | None = None, options: Mapping[str, Any] | None = None
) -> Sink:
    """The sink for an output string, not yet entered.

    `view` is shared with the renderer (a window's keys change it); without, a sink draws as usual. `options` are
    keyword arguments of the sink's class.
    Errors: ConfigError for an unknown kind or an option that does not apply; SinkError when it is entered or written.
    """
    kind, target = sink_kind(uri)
    factory = registry.load(registry.SINKS, kind, "sink")
    chosen = registry.accepted(factory, options or {}, f"{kind} output '{uri}'")
    sink: Sink = factory(target, info, spec, view or View(), **chosen)
    return sink
