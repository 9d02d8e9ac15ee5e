"""Sources: where frames come from. One file each; the URI decides which."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rtseg import registry
from rtseg.bags import is_bag, split_target
from rtseg.errors import SourceError
from rtseg.sources.contract import Source

__all__ = ["Source", "open_source", "source_kind"]


def source_kind(uri: str) -> tuple[str, str]:
    """The kind and target of an input string: `camera:0` -> ("camera", "0"), `clip.mp4` -> ("file", "clip.mp4").

    `drive.mcap#/camera/image` is a bag with a topic of it, and so is a folder with a metadata.yaml.
    """
    scheme, colon, rest = uri.partition(":")
    if scheme in ("camera", "synthetic", "images", "file", "bag", "ros") and colon:
        if scheme == "file":
            rest = rest.removeprefix("//")
            return ("images" if Path(rest).is_dir() else "file"), rest
        return scheme, rest
    if re.fullmatch(r"/dev/video\d+", uri):
        return "camera", uri
    if "://" in uri:
        return "stream", uri
    if is_bag(split_target(uri)[0]):
        return "bag", uri
    if any(mark in uri for mark in "*?[") and not Path(uri).exists():
        return "images", uri
    path = Path(uri)
    if path.is_dir() or path.suffix.lower() in (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp"):
        return "images", uri
    return "file", uri


def open_source(uri: str, options: Mapping[str, Any] | None = None) -> Source:
    """The source for an input string, not yet entered; `options` are keyword arguments of its class.

    Errors: ConfigError for an unknown kind or an option that does not apply; SourceError when it is entered.
    """
    if not uri:
        raise SourceError("the input is empty: give a file, camera:N, a stream URL, a folder, a bag or synthetic:drive")
    kind, target = source_kind(uri)
    factory = registry.load(registry.SOURCES, kind, "source")
    source: Source = factory(target, **registry.accepted(factory, options or {}, f"{kind} input '{uri}'"))
    return source
