"""The folder that a command writes to, made and tried before the work begins."""

from __future__ import annotations

import tempfile
from pathlib import Path

from rtseg.errors import ConfigError

__all__ = ["make_folder"]


def make_folder(path: Path) -> None:
    """Make a folder, with those above it, unless it is there; ConfigError where no file can be written in it."""
    try:
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            pass
    except OSError as exc:
        found = "it is a file" if path.is_file() else exc.strerror or exc
        raise ConfigError(f"cannot write to the folder {path} ({found}): give another --out") from exc
