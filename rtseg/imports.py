"""Importing a package without one of the packages that it would use."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

__all__ = ["TELEMETRY", "without"]

TELEMETRY = "openvino_telemetry"
"""What `import openvino` (2026.4) reports itself to its makers with, unasked.

It does so from a process forked off this one, threads and all, which has been seen to hang and to keep the program from
ending. Without the package OpenVINO uses a stub.
"""


@contextmanager
def without(module: str) -> Iterator[None]:
    """Let `import module` fail while the context lasts; what was imported before stays as it is."""
    modules: dict[str, Any] = sys.modules
    if module in modules:
        yield
        return
    modules[module] = None
    try:
        yield
    finally:
        modules.pop(module, None)
