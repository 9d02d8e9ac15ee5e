"""Real-time video segmentation: frames in, exact label maps and overlays out, the latency of every frame known.

Importing this package loads nothing heavy; each name below is imported from its module when it is first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from rtseg.moved import install as _find_moved

if TYPE_CHECKING:
    from rtseg.backends import open_backend
    from rtseg.config import RunConfig, load_config
    from rtseg.drawing.draw import draw
    from rtseg.errors import (
        BackendError,
        ConfigError,
        MissingExtra,
        ModelError,
        RtsegError,
        SinkError,
        SourceError,
        StopRun,
    )
    from rtseg.frame import Frame, Result, StreamInfo
    from rtseg.packages.spec import ModelSpec
    from rtseg.pipeline.opening import run_config
    from rtseg.segmenter.segmenter import Segmenter, SegmenterPool
    from rtseg.sinks import Sink, open_sink
    from rtseg.sources import Source, open_source
    from rtseg.streaming import Stream, astream, run, stream

__version__ = "0.1.0"
_find_moved()

_HOMES = {
    "BackendError": "errors",
    "ConfigError": "errors",
    "Frame": "frame",
    "MissingExtra": "errors",
    "ModelError": "errors",
    "ModelSpec": "packages.spec",
    "Result": "frame",
    "RtsegError": "errors",
    "RunConfig": "config",
    "Segmenter": "segmenter.segmenter",
    "SegmenterPool": "segmenter.segmenter",
    "Sink": "sinks",
    "SinkError": "errors",
    "Source": "sources",
    "SourceError": "errors",
    "StopRun": "errors",
    "Stream": "streaming",
    "StreamInfo": "frame",
    "astream": "streaming",
    "draw": "drawing.draw",
    "load_config": "config",
    "open_backend": "backends",
    "open_sink": "sinks",
    "open_source": "sources",
    "run": "streaming",
    "run_config": "pipeline.opening",
    "stream": "streaming",
}

__all__ = [
    "BackendError",
    "ConfigError",
    "Frame",
    "MissingExtra",
    "ModelError",
    "ModelSpec",
    "Result",
    "RtsegError",
    "RunConfig",
    "Segmenter",
    "SegmenterPool",
    "Sink",
    "SinkError",
    "Source",
    "SourceError",
    "StopRun",
    "Stream",
    "StreamInfo",
    "__version__",
    "astream",
    "draw",
    "load_config",
    "open_backend",
    "open_sink",
    "open_source",
    "run",
    "run_config",
    "stream",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'rtseg' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"rtseg.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return list(__all__)
