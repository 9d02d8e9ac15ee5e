"""What a source is: every kind of input has these members, and the capture thread asks for no others."""

from __future__ import annotations

from collections.abc import Iterator
from types import TracebackType
from typing import TYPE_CHECKING, Protocol

from rtseg.frame import Frame, StreamInfo

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["Source"]


class Source(Protocol):
    """Iterates frames. The capture thread enters it, iterates it and leaves it; every blocking read has a timeout.

    `info` is valid once entered. `close` may be called from any thread and makes a blocked read return soon.
    `reconnects` counts reopened connections.
    """

    reconnects: int

    @property
    def info(self) -> StreamInfo: ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def __iter__(self) -> Iterator[Frame]: ...

    def close(self) -> None: ...
