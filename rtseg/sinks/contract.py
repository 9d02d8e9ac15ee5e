"""What a sink is: every kind of output has these members, and its delivery asks for no others."""

from __future__ import annotations

from types import TracebackType
from typing import TYPE_CHECKING, Protocol

from rtseg.frame import Result

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["Sink"]


class Sink(Protocol):
    """Takes results. `needs` is a subset of `rtseg.frame.NEEDS`; one that is
    `threaded` gets a thread and a bounded queue of its own.

    A sink whose listeners come and go may have a property `wanted` beside it, the part of its needs that somebody asks
    for now: it is read once per frame from the loop's thread, and a result lacks the rest (unless others asked for it).
    One that may have much to do at the end has an attribute `finish_seconds`, how long leaving it may take.
    The arrays of a result may be reused after `write` returns and every reference to them is gone. On an exception
    `__exit__` still finishes what is finishable: a video stays playable, nothing half-written keeps its final name.
    """

    needs: frozenset[str]
    threaded: bool

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def write(self, result: Result) -> None: ...
