"""Checkpoints: one file of tensors and plain values, written whole or not at all, read without running code."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import torch

from rtseg.errors import ConfigError
from rtseg.files import put_in_place

__all__ = ["load_checkpoint", "save_checkpoint", "sweep"]

NEEDED = ("recipe", "average")
"""What no checkpoint has been without."""


def save_checkpoint(state: dict[str, Any], path: Path) -> None:
    """Write a checkpoint so that the name never holds half of it, not even after a power cut."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with temporary.open("wb") as file:
            torch.save(state, file)
            file.flush()
            os.fsync(file.fileno())
        put_in_place(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def sweep(folder: Path) -> None:
    """Remove what processes that are gone left of checkpoints that they were killed at; call it before the first save.

    A file of this process' own id is from an earlier one that had it too.
    """
    for path in folder.glob(".*.pt.*"):
        found = re.fullmatch(r"\..+\.pt\.(\d+)", path.name)
        if found and (int(found[1]) == os.getpid() or not _alive(int(found[1]))):
            path.unlink(missing_ok=True)


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Read a training checkpoint (tensors and plain values only) onto the CPU; ConfigError if it is none."""
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as exc:
        raise ConfigError(f"no checkpoint at {path}") from exc
    except OSError as exc:
        raise ConfigError(f"cannot read checkpoint {path}: {exc.strerror or exc}") from exc
    except Exception as exc:  # torch.load raises whatever its unpickler or zip reader meets, with advice of many lines
        first = exc.__cause__ or exc.__context__ or exc
        cause = re.split(r"\n|\. ", str(first).strip())[0] or type(first).__name__
        raise _none(path, cause) from exc
    missing = [key for key in NEEDED if not isinstance(state, dict) or key not in state]
    if missing:
        raise _none(path, f"it has no {missing[0]}")
    return dict(state)


def _none(path: Path, cause: str) -> ConfigError:
    return ConfigError(f"{path} is not a training checkpoint ({cause}): give last.pt or best.pt of an rtseg train run")


def _alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True
