"""Real-time video segmentation: frames in, exact label maps and overlays out, the latency of every frame known.

Importing this package loads nothing heavy; each name below is imported from its module when it is first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rtseg.backends import open_backend
    from rtseg.config import RunConfig, load_config
    from rtseg.errors import (
        BackendError,
        ConfigError,
        MissingExtra,
        ModelError,
        RtsegError,
        SinkError,
        SourceError,
    )
    from rtseg.frame import Frame, Result, StreamInfo
    from rtseg.packages.spec import ModelSpec
    from rtseg.pipeline.opening import run_config
    from rtseg.segmenter.host import Segmenter
    from rtseg.sinks import open_sink
    from rtseg.sources import open_source

__version__ = "0.1.0"

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
    "Segmenter": "segmenter.host",
    "SinkError": "errors",
    "SourceError": "errors",
    "StreamInfo": "frame",
    "load_config": "config",
    "open_backend": "backends",
    "open_sink": "sinks",
    "open_source": "sources",
    "run_config": "pipeline.opening",
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
    "SinkError",
    "SourceError",
    "StreamInfo",
    "__version__",
    "load_config",
    "open_backend",
    "open_sink",
    "open_source",
    "run_config",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'rtseg' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"rtseg.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
