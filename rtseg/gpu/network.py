"""The seam between the frame's path on a GPU and what runs the network there."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from rtseg.gpu.cuda import Device, Stream
from rtseg.packages.spec import ModelSpec

__all__ = ["DeviceNetwork", "ExecutionContext", "Finished", "Recorded"]


@dataclass(frozen=True, slots=True, eq=False)
class Finished:
    """A frame whose results are on the host: the requested arrays by name, and its nanoseconds on the GPU."""

    outputs: dict[str, NDArray[Any]]
    times: dict[str, int]


class Recorded(Protocol):
    """A frame's work, recorded once and launched for each frame."""

    def launch(self, stream: int) -> None: ...

    def close(self) -> None: ...


class ExecutionContext(Protocol):
    """The network at one input size on one stream, one inference at a time.

    `takes` is the spec with the dtype and layout of the tensor that is to be written at `input`, a device address.
    `shape` is that of the output without the batch: (C, h, w) scores, float32 or float16, or (h, w) uint8 labels.
    """

    takes: ModelSpec
    input: int
    shape: tuple[int, ...]
    dtype: np.dtype[np.generic]

    def enqueue(self) -> int:
        """Queue the network on the stream; the device address at which its output will be."""

    def capture(self) -> AbstractContextManager[Recorded]:
        """Record what is queued on the stream inside the block, `enqueue` included; complete when it is left."""

    def close(self) -> None:
        """Give the buffers back; nothing of it may be running."""


class DeviceNetwork(Protocol):
    """Runs a backend's network on tensors that are on its GPU."""

    gpu: Device

    def execution_context(self, size: tuple[int, int], stream: Stream) -> ExecutionContext:
        """The network for an input of (height, width), warmed up, so that it can be recorded."""
