"""Results to topics: what somebody listens to is made and published, from the sink's own thread."""

from __future__ import annotations

import time
from types import TracebackType
from typing import TYPE_CHECKING, Protocol

from rtseg.frame import Frame, Header, Result
from rtseg.messages.records import NANO
from rtseg.ros.outputs import OUTPUTS, Outputs
from rtseg.timing import Rolling

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["NEEDS", "ResultPublisher", "Topics", "made_up_header"]

WINDOW = 1024
"""Frames over which latency is reported: enough for a p99."""
NEEDS = frozenset[str]().union(*(output.needs for output in OUTPUTS))
FRAME_ID = "camera"
"""The frame of pictures that came without a header."""


class Topics(Protocol):
    """Where messages go: the publishers of a node."""

    def listened(self) -> frozenset[str]: ...

    def publish(self, topic: str, data: bytes) -> None: ...


class ResultPublisher:
    """Publishes each result on those topics of `OUTPUTS` that have listeners; `make` makes the messages.

    It is a sink with a thread of its own, so that neither encoding nor the middleware holds up the next frame.
    `to_mask` holds the latencies from message in hand to mask published; `published` counts the results of which
    something was published.
    """

    needs = NEEDS
    threaded = True

    def __init__(self, topics: Topics, make: Outputs) -> None:
        self._topics, self._make = topics, make
        self.to_mask = Rolling(WINDOW)
        self.published = 0

    @property
    def wanted(self) -> frozenset[str]:
        """What the topics that have listeners now are made of."""
        listened = self._topics.listened()
        return frozenset[str]().union(*(output.needs for output in OUTPUTS if output.topic in listened))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """The topics belong to the node."""

    def write(self, result: Result) -> None:
        """Publish what is listened to."""
        header, some = result.frame.header or made_up_header(result.frame), False
        for topic, data in self._make.messages(result, header, self._topics.listened()):
            self._topics.publish(topic, data)
            some = True
            if topic == "mask":
                now = time.monotonic_ns()
                self.to_mask.add(now, now - result.frame.t_capture)
        self.published += some


def made_up_header(frame: Frame) -> Header:
    """The header of a frame that did not come from a robot: its wall clock, or now where it has none."""
    stamp_ns = time.time_ns() if frame.stamp is None else round(frame.stamp * NANO)
    return Header("", stamp_ns, FRAME_ID, stamp_ns)
