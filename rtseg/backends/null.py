"""null: no network at all. Fixed logits after a fixed delay, so that a whole pipeline runs in a test."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from rtseg.backends._shared import InFlight, Outputs, check_count
from rtseg.errors import BackendError, ConfigError
from rtseg.packages.shapes import input_shape, tensor_size
from rtseg.packages.spec import ModelSpec

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["NULL_SPEC", "NullBackend", "bands", "one_hot"]

NULL_SPEC = ModelSpec(
    name="null",
    classes=("left", "middle left", "middle right", "right"),
    short_side=256,
    multiple=8,
    output_stride=8,
    license="Apache-2.0",
)
"""What `--backend null` runs when no model is given: four vertical bands."""
WIN, LOSE = 8.0, -8.0
KEPT_SIZES = 8

Answer = NDArray[Any] | Callable[[NDArray[Any]], NDArray[Any]]


def one_hot(labels: NDArray[np.integer[Any]], classes: int) -> NDArray[np.float32]:
    """Logits (C, h, w) float32 whose argmax is `labels` (h, w); an id that is not a class leaves all scores equal."""
    logits = np.full((classes, *labels.shape), LOSE, np.float32)
    for index in range(classes):
        logits[index][labels == index] = WIN
    return logits


def bands(spec: ModelSpec, size: tuple[int, int]) -> NDArray[Any]:
    """The output for an input of (height, width): one vertical band per class, left to right, at the output stride."""
    height, width = (max(1, -(-side // spec.output_stride)) for side in size)
    columns = np.arange(width) * len(spec.classes) // width
    labels = np.broadcast_to(columns, (height, width))
    return labels.astype(np.uint8) if spec.output_kind == "labels" else one_hot(labels, len(spec.classes))


class NullBackend:
    """Answers every tensor with the same picture, or with what the caller gives.

    `answer` is an array (C, h, w) or (h, w), or a function of the input tensor; left out, `bands`. Each answer takes
    `delay_ms`, one after the other as on a device. The `stall_at`-th answer (from 0), or each `stall_every`-th, takes
    `stall_ms` more, and the `fail_at`-th raises BackendError.
    """

    name = "null"

    def __init__(
        self,
        path: Path | None = None,
        spec: ModelSpec = NULL_SPEC,
        *,
        device: str | None = None,
        precision: str | None = None,
        threads: int | None = None,
        depth: int = 1,
        delay_ms: float = 0.0,
        stall_at: int | None = None,
        stall_every: int | None = None,
        stall_ms: float = 0.0,
        fail_at: int | None = None,
        answer: Answer | None = None,
    ) -> None:
        if (device or "cpu").lower() != "cpu" or precision not in (None, "fp32"):
            raise BackendError(f"the null backend is on cpu in fp32 only, got {device or 'cpu'}, {precision or 'fp32'}")
        if delay_ms < 0 or stall_ms < 0:
            raise ConfigError(f"delay_ms and stall_ms start at 0, got {delay_ms} and {stall_ms}")
        check_count("threads", threads)
        check_count("stall_every", stall_every)
        self.spec, self.depth = spec, depth
        self.device, self.precision = "cpu", "fp32"
        self._pending: InFlight[tuple[int, float, NDArray[Any]]] = InFlight(self.name, depth)
        self._delay, self._stall = delay_ms / 1e3, stall_ms / 1e3
        self._stall_at, self._stall_every = stall_at, stall_every
        self._fail_at, self._answer = fail_at, answer
        self._count, self._busy_until = 0, 0.0
        self._outputs = Outputs(spec, depth)
        self._bands: dict[tuple[int, int], NDArray[Any]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def prepare(self, size: tuple[int, int]) -> None:
        """Check that the spec takes an input of (height, width)."""
        self._pending.check_open()
        input_shape(self.spec, size)

    def submit(self, tensor: NDArray[Any]) -> None:
        """Note when the answer to this tensor will be ready."""
        self._pending.check_room()
        size = tensor_size(self.spec, tensor)
        input_shape(self.spec, size)
        stalls = self._count == self._stall_at or (self._stall_every and (self._count + 1) % self._stall_every == 0)
        took = self._delay + (self._stall if stalls else 0.0)
        self._busy_until = max(self._busy_until, time.monotonic()) + took
        self._pending.push((self._count, self._busy_until, self._answer_to(tensor, size)))
        self._count += 1

    def collect(self) -> NDArray[np.float32] | NDArray[np.uint8]:
        """Wait until the oldest answer is due and return it."""
        index, due, answer = self._pending.pop()
        time.sleep(max(0.0, due - time.monotonic()))
        if index == self._fail_at:
            raise BackendError(f"the null backend fails at frame {index}, as requested")
        return self._outputs(answer)

    def close(self) -> None:
        """Drop what is in flight; a second time does nothing."""
        self._pending.close()

    def _answer_to(self, tensor: NDArray[Any], size: tuple[int, int]) -> NDArray[Any]:
        if callable(self._answer):
            return self._answer(tensor)
        if self._answer is not None:
            return self._answer
        if size not in self._bands:
            if len(self._bands) >= KEPT_SIZES:
                self._bands.clear()
            self._bands[size] = bands(self.spec, size)
        return self._bands[size]
