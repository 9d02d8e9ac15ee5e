"""What every backend does the same way: the check at the door, the queue in flight, and the shape of its answer."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeoutError
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from rtseg.errors import BackendError, ConfigError
from rtseg.frame import UNLABELLED
from rtseg.packages.shapes import answer_shape
from rtseg.packages.spec import ModelSpec

__all__ = ["WAIT_S", "InFlight", "Outputs", "Ring", "Worker", "check_count", "one_line"]

WAIT_S = 120.0
"""Longest wait for one answer, in seconds; a network that takes longer is taken for stuck."""

NOISE = (
    "Exception from",
    "Check '",
    "Search for `cuda",
    "CUDA kernel errors might",
    "For debugging consider",
    "Compile with `TORCH_USE_CUDA_DSA`",
)
"""How lines begin that do not give an error's cause: OpenVINO's, and those behind every CUDA error of torch."""

T = TypeVar("T")


def check_count(name: str, value: int | None) -> int | None:
    """`value` if it is None or at least 1; ConfigError otherwise."""
    if value is not None and value < 1:
        raise ConfigError(f"{name} is {value}: it must be at least 1")
    return value


def one_line(error: BaseException) -> str:
    """The line of a foreign error's text that says most, without source positions of the library's own files."""
    lines = [line.strip() for line in str(error).splitlines()]
    lines = [line for line in lines if line and not line.startswith(NOISE)]
    text = lines[-1] if lines else type(error).__name__
    for line in lines:
        if "No conversion rule" in line or "While validating" in line:
            text = line
    text = re.sub(r"^\[ONNXRuntimeError\] : \d+ : \w+ : ", "", text)
    text = re.sub(r"^Load model from .* failed: ?", "", text)
    text = re.sub(r"/?[\w./-]+\.(cc|cpp|h|hpp):\d+ ?", "", text)
    text = re.sub(r"[\w:]+::\w+\(.*\) (?=[A-Z])", "", text)  # a C++ signature
    return text if len(text) <= 300 else f"{text[:297]}..."


class InFlight(Generic[T]):
    """The submitted and not yet collected, oldest first; misuse is the same error for every backend."""

    def __init__(self, name: str, depth: int) -> None:
        check_count("depth", depth)
        self.name, self.depth, self.closed = name, depth, False
        self._items: deque[T] = deque()

    def check_room(self) -> None:
        """BackendError when closed, or when `depth` are in flight already."""
        self.check_open()
        if len(self._items) >= self.depth:
            raise BackendError(f"{self.name} has {self.depth} in flight already: collect one, or open it deeper")

    def check_open(self) -> None:
        """BackendError when closed."""
        if self.closed:
            raise BackendError(f"the {self.name} backend is closed")

    def push(self, item: T) -> None:
        """Add the newest."""
        self._items.append(item)

    def pop(self) -> T:
        """Take the oldest; BackendError when there is none."""
        self.check_open()
        if not self._items:
            raise BackendError(f"nothing was submitted to the {self.name} backend")
        return self._items.popleft()

    def waiting(self) -> list[T]:
        """What is in flight, oldest first."""
        return list(self._items)

    def close(self) -> list[T]:
        """Close and return what was never collected; nothing the second time."""
        self.closed = True
        left = list(self._items)
        self._items.clear()
        return left


class Ring:
    """Arrays made once per shape and handed out in turn.

    With `depth` in flight an answer must outlive `depth` more submits, so the ring holds `2 * depth - 1`.
    """

    def __init__(self, depth: int) -> None:
        self._count = 2 * depth - 1
        self._arrays: dict[tuple[tuple[int, ...], str], deque[NDArray[Any]]] = {}

    def next(self, shape: tuple[int, ...], dtype: str) -> NDArray[Any]:
        """The array of this shape and dtype that was handed out longest ago."""
        arrays = self._arrays.get((shape, dtype))
        if arrays is None:
            if len(self._arrays) >= 8:  # sizes that are no longer used
                self._arrays.pop(next(iter(self._arrays)))
            arrays = deque(np.empty(shape, dtype) for _ in range(self._count))
            self._arrays[(shape, dtype)] = arrays
        arrays.rotate(-1)
        return arrays[-1]


class Outputs:
    """Turns raw network output into the contract's: (C, h, w) float32 scores or (h, w) uint8 labels, no batch.

    A network with one score for two classes (a binary mask) gets its second: 0 beside a logit, 1 - p beside a
    probability. Label values that are no class id (negative or above 254) become 255, unlabelled.
    """

    def __init__(self, spec: ModelSpec, depth: int) -> None:
        self._spec = spec
        self._ring = Ring(depth)

    def __call__(self, raw: NDArray[Any]) -> NDArray[Any]:
        """The answer in contract form: `raw` itself (a view) where it already is, else one of a few reused arrays."""
        if self._spec.output_kind == "labels":
            return self._labels(raw.reshape(answer_shape(self._spec, raw.shape)))
        scores = raw[0] if raw.ndim == 4 else raw
        if self._spec.output_layout == "NHWC":
            scores = scores.transpose(2, 0, 1)
        elif scores.ndim == 2:
            scores = scores[None]
        if len(scores) == 1 and len(self._spec.classes) == 2:
            return self._binary(scores[0])
        if scores.dtype == np.float32 and scores.flags.c_contiguous:
            return scores
        out = self._ring.next(scores.shape, "float32")
        np.copyto(out, scores, casting="unsafe")
        return out

    def _labels(self, raw: NDArray[Any]) -> NDArray[Any]:
        if raw.dtype == np.uint8:
            return raw
        out = self._ring.next(raw.shape, "uint8")
        np.copyto(out, raw, casting="unsafe")
        out[(raw < 0) | (raw >= UNLABELLED)] = UNLABELLED
        return out

    def _binary(self, score: NDArray[Any]) -> NDArray[Any]:
        out = self._ring.next((2, *score.shape), "float32")
        out[1] = score
        if self._spec.output_kind == "probabilities":
            np.subtract(1, out[1], out=out[0])
        else:
            out[0] = 0
        return out


class Worker:
    """One thread that runs a blocking runtime's calls in order, so that `submit` returns at once."""

    def __init__(self, name: str, start: Callable[[], None] | None = None) -> None:
        self._name = name
        self._pool = ThreadPoolExecutor(1, thread_name_prefix=f"rtseg-{name}", initializer=start)

    def submit(self, call: Callable[[], T]) -> Future[T]:
        """Queue a call."""
        return self._pool.submit(call)

    def result(self, future: Future[T]) -> T:
        """The call's value; its own error, or BackendError after WAIT_S."""
        try:
            return future.result(WAIT_S)
        except FutureTimeoutError as exc:
            raise BackendError(f"{self._name} gave no answer within {WAIT_S:.0f} s") from exc

    def close(self) -> None:
        """Drop what has not begun; what runs is let finish in its thread."""
        self._pool.shutdown(wait=False, cancel_futures=True)
