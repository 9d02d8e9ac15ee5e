"""What a backend is: the part that runs the network, the same for every runtime."""

from __future__ import annotations

from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from rtseg.packages.spec import ModelSpec

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["Backend"]


class Backend(Protocol):
    """Runs one network on one device.

    `submit` takes the input tensor that `preprocess` made (1xCxHxW or 1xHxWxC, the spec's dtype), which must stay
    untouched until its `collect`. `collect` waits for the oldest submitted one and returns its output as (C, h, w)
    float32 scores, or (h, w) uint8 for a label-map network; the array is valid until `depth` more submits.
    At most `depth` may be in flight. A new input size is compiled on first use and kept.
    `spec` is complete: read from the package, the graph and the caller's overrides. `name` is the registry's word for
    it, `device` what it runs on in lower case, `precision` fp32, bf16 or fp16 (final after the first `prepare`).
    """

    name: str
    spec: ModelSpec
    device: str
    precision: str
    depth: int

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def prepare(self, size: tuple[int, int]) -> None:
        """Compile and warm up for an input of (height, width), so that the first frame does not pay for it."""

    def submit(self, tensor: NDArray[Any]) -> None: ...

    def collect(self) -> NDArray[np.float32] | NDArray[np.uint8]: ...

    def close(self) -> None: ...
