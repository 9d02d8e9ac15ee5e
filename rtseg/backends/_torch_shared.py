"""What both ways to run a network in torch need: tensors from the host, and tensors that are on the GPU already."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from rtseg.backends._shared import one_line
from rtseg.errors import BackendError

__all__ = ["WARM_UP_RUNS", "failing"]

WARM_UP_RUNS = 3
"""Runs before recording, in which cuDNN chooses its algorithms."""


@contextmanager
def failing(place: torch.device) -> Iterator[None]:
    """torch's errors as BackendError that names the device."""
    try:
        yield
    except BackendError:
        raise
    except RuntimeError as exc:
        raise BackendError(f"torch failed on {place}: {one_line(exc)}") from exc
