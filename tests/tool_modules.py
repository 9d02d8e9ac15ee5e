"""The scripts of a folder under tools/, imported by name as they import each other."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

__all__ = ["tool_modules"]


@contextmanager
def tool_modules(folder: Path) -> Iterator[Callable[[str], ModuleType]]:
    """Imports a module of `folder` by name; afterwards none of them is left behind."""
    sys.path.insert(0, str(folder))
    try:
        yield importlib.import_module
    finally:
        sys.path.remove(str(folder))
        for path in folder.glob("*.py"):
            sys.modules.pop(path.stem, None)
