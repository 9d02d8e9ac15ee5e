"""TensorRT (10.3 or later, or 11) or TensorRT-RTX, whichever is installed: the only importer of both.

The two have one API, less a few builder options that TensorRT-RTX does without. Where both are installed TensorRT is
taken, which runs on every GPU. Importing this module raises ModuleNotFoundError where neither is there.
"""

from __future__ import annotations

import importlib
import logging
from types import ModuleType
from typing import TYPE_CHECKING, Any

from rtseg.errors import BackendError

__all__ = ["FLAVOUR", "IS_RTX", "OLDEST", "VERSION", "Log", "trt"]

OLDEST = (10, 3)
"""The first TensorRT with everything that is used here; TensorRT-RTX has it from 1.0 on."""

logger = logging.getLogger(__name__)


def _load() -> ModuleType:
    for name in ("tensorrt", "tensorrt_rtx"):
        try:
            module = importlib.import_module(name)
        except ModuleNotFoundError as exc:
            if exc.name != name:  # installed, and broken
                raise
            continue
        if hasattr(module, "Builder"):  # type stubs alone make an empty package of the name
            return module
    raise ModuleNotFoundError("No module named 'tensorrt'", name="tensorrt")


if TYPE_CHECKING:
    import tensorrt as trt
else:
    trt = _load()

FLAVOUR: str = trt.__name__
"""tensorrt or tensorrt_rtx."""
IS_RTX = FLAVOUR == "tensorrt_rtx"
VERSION: str = trt.__version__


def check_version() -> None:
    """BackendError where TensorRT is older than `OLDEST`."""
    if not IS_RTX and tuple(int(part) for part in VERSION.split(".")[:2]) < OLDEST:
        oldest = ".".join(map(str, OLDEST))
        raise BackendError(f"TensorRT {VERSION} is too old, {oldest} is the first that works: pip install -U tensorrt")


class Log(trt.ILogger):
    """TensorRT's log: errors are kept for messages, warnings and information go to ours."""

    def __init__(self) -> None:
        super().__init__()
        self.errors: list[str] = []

    def log(self, severity: Any, message: str) -> None:
        """Called by TensorRT, from any of its threads."""
        text = " ".join(message.split())
        if severity == trt.ILogger.ERROR:
            self.errors.append(text)
        # Internal errors that matter come with an error; one about a missing thread context comes with every build.
        logger.debug("%s: %s", FLAVOUR, text)

    @property
    def said(self) -> str:
        """The first error, which names the cause, in one line."""
        return self.errors[0][:300] if self.errors else "it gave no reason"
