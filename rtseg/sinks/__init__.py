"""Sinks: where results go. One file each; the output string decides which."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol

from rtseg import registry
from rtseg.errors import ConfigError, nearest
from rtseg.frame import NEEDS, Result, StreamInfo
from rtseg.packages.spec import ModelSpec

if TYPE_CHECKING:
    from typing_extensions import Self

    from rtseg.drawing.view import View

__all__ = ["NEEDS", "Sink", "open_sink", "sink_kind"]

VIDEO_SUFFIXES = (".mp4", ".mkv", ".mov", ".avi", ".webm", ".m4v", ".ts")
IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff")


class Sink(Protocol):
    """Takes results. `needs` is a subset of NEEDS; `threaded` sinks get a thread and a bounded queue of their own.

    A sink whose listeners come and go may have a property `wanted` beside it, the part of its needs that somebody asks
    for now: it is read once per frame from the loop's thread, and a result lacks the rest (unless others asked for it).
    One that may have much to do at the end has an attribute `finish_seconds`, how long leaving it may take.
    The arrays of a result may be reused after `write` returns and every reference to them is gone. On an exception
    `__exit__` still finishes what is finishable: a video stays playable, nothing half-written keeps its final name.
    """

    needs: frozenset[str]
    threaded: bool

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def write(self, result: Result) -> None: ...


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
    uri: str, info: StreamInfo, spec: ModelSpec, view: View, options: Mapping[str, Any] | None = None
) -> Sink:
    """The sink for an output string, not yet entered.

    `view` is shared with the renderer (a window's keys change it); `options` are keyword arguments of the sink's class.
    Errors: ConfigError for an unknown kind or an option that does not apply; SinkError when it is entered or written.
    """
    kind, target = sink_kind(uri)
    factory = registry.load(registry.SINKS, kind, "sink")
    chosen = registry.accepted(factory, options or {}, f"{kind} output '{uri}'")
    sink: Sink = factory(target, info, spec, view, **chosen)
    return sink
