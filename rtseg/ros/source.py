"""`ros:/camera/image`: the pictures of a ROS topic, newest first; `rtseg ros` is the node that also publishes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from types import TracebackType
from typing import TYPE_CHECKING

from rtseg.errors import ConfigError, SourceError
from rtseg.frame import Frame, StreamInfo
from rtseg.ros.rcl import Session, qos, subscribe
from rtseg.ros.subscriber import Subscriber

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["RosSource"]


class RosSource:
    """Pictures of an Image topic, or of a CompressedImage topic, whose name ends in /compressed.

    Messages that are lost, on the way or because newer ones came, are gaps in `Frame.index`; those that are no picture
    are logged and left out. `reliability` (--input-reliability) is "best_effort", which matches every publisher, or
    "reliable"; `depth` (--input-history) is the number of messages that may wait.
    Errors: MissingExtra without rclpy, SourceError without a topic, ConfigError for its name or an option.
    """

    reconnects = 0

    def __init__(self, target: str, *, reliability: str = "best_effort", depth: int = 1) -> None:
        if reliability not in ("reliable", "best_effort"):
            raise ConfigError(f"reliability is '{reliability}', expected best_effort or reliable")
        if depth < 1:
            raise ConfigError(f"depth is {depth}, expected 1 or more")
        if not target:
            raise SourceError("ros: needs a topic, for example ros:/camera/image_raw")
        self._profile = reliability, depth
        self.intake = Subscriber("/" + target.lstrip("/"))
        self._stack = ExitStack()

    @property
    def info(self) -> StreamInfo:
        return self.intake.info

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            session = stack.enter_context(Session())
            node = session.node("rtseg")
            subscribe(node, self.intake.topic, self.intake.kind, qos(*self._profile), self.intake.put)
            session.spin(self.intake.close)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.intake.close()
        self._stack.close()

    def close(self) -> None:
        """End the iteration; from any thread."""
        self.intake.close()

    def __iter__(self) -> Iterator[Frame]:
        return iter(self.intake)
