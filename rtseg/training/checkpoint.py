"""Checkpoints: one file of tensors and plain values, written whole or not at all, read without running code."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch

from rtseg.errors import ConfigError

__all__ = ["load_checkpoint", "save_checkpoint"]


def save_checkpoint(state: dict[str, Any], path: Path) -> None:
    """Write a checkpoint so that the name never holds half of it, not even after a power cut."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with temporary.open("wb") as file:
            torch.save(state, file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Read a training checkpoint (tensors and plain values only) onto the CPU; ConfigError if it is none."""
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        state["recipe"], state["average"]
    except FileNotFoundError as exc:
        raise ConfigError(f"no checkpoint at {path}") from exc
    except Exception as exc:  # torch.load raises whatever its unpickler or zip reader meets
        raise ConfigError(f"{path} is not a training checkpoint: {exc}") from exc
    return dict(state)
