"""Stands for the modules that write reports."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def html(data: dict[str, Any], path: Path) -> None:
    """Replaced by the test."""
    raise NotImplementedError
