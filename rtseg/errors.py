"""Every error that rtseg raises on purpose.

RtsegError
├── ConfigError(ValueError)      a setting, flag or file that cannot be used as given
├── SourceError(OSError)         frames could not be read
├── SinkError(OSError)           a result could not be written
├── ModelError(ValueError)       a model file or its spec does not fit
├── BackendError(RuntimeError)   a backend could not be started or failed while running
└── MissingExtra(ImportError)    an optional package is not installed

The message is one line: what was found, where, and what to do. The command line prints it and exits with 1.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable

__all__ = [
    "BackendError",
    "ConfigError",
    "MissingExtra",
    "ModelError",
    "RtsegError",
    "SinkError",
    "SourceError",
    "StopRun",
    "nearest",
]


class RtsegError(Exception):
    """The base of all errors below."""


class ConfigError(RtsegError, ValueError):
    """A setting, flag or file cannot be used as given."""


class SourceError(RtsegError, OSError):
    """Frames could not be read."""


class SinkError(RtsegError, OSError):
    """A result could not be written."""


class ModelError(RtsegError, ValueError):
    """A model file or its spec does not fit."""


class BackendError(RtsegError, RuntimeError):
    """A backend could not be started or failed while running."""


class MissingExtra(RtsegError, ImportError):
    """An optional package is not installed."""


class StopRun(Exception):
    """Raised by a sink when the user asked for the end of the run; not an error."""


def nearest(word: str, choices: Iterable[str]) -> str:
    """The choices as text, led by the nearest one: `did you mean 'car'? (choices: …)`."""
    names = list(choices)
    close = difflib.get_close_matches(word.lower(), [name.lower() for name in names], n=1, cutoff=0.5)
    hint = ""
    if close:
        hint = f"did you mean '{next(name for name in names if name.lower() == close[0])}'? "
    return f"{hint}(choices: {', '.join(names)})"
