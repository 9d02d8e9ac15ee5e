"""`ros:NAME`: results as topics of a node, /NAME/mask and so on; `rtseg ros` is the node that also takes pictures."""

from __future__ import annotations

import time
from contextlib import ExitStack
from types import TracebackType
from typing import TYPE_CHECKING

from rtseg.drawing.view import View
from rtseg.errors import ConfigError
from rtseg.frame import Header, Result, StreamInfo
from rtseg.geometry import fit
from rtseg.packages.spec import ModelSpec
from rtseg.ros.outputs import BY_CAMERA, OUTPUTS, Outputs
from rtseg.ros.publishing import NEEDS, ResultPublisher
from rtseg.ros.rcl import LabelInfo, Publishers, Session, qos

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["RosSink"]

KINDS = {output.topic: output.kind for output in OUTPUTS if output.topic not in BY_CAMERA}


class RosSink:
    """Publishes what somebody listens to: mask, confidence, overlay (also compressed), areas; label_info is latched.

    `target` is the node's name (default `segmentation`). Frames without a ROS header get their wall clock as stamp and
    the frame_id "camera". `reliability` (--output-reliability) is "reliable" or "best_effort", `depth`
    (--output-history) the number of messages that may wait, `quality` that of the compressed overlay (1 to 100).
    Errors: MissingExtra without rclpy, ConfigError for what does not fit.
    """

    needs = NEEDS
    threaded = True

    def __init__(
        self,
        target: str,
        info: StreamInfo,
        spec: ModelSpec,
        view: View,
        *,
        reliability: str = "reliable",
        depth: int = 5,
        quality: int = 80,
    ) -> None:
        if reliability not in ("reliable", "best_effort"):
            raise ConfigError(f"reliability is '{reliability}', expected reliable or best_effort")
        if depth < 1 or not 1 <= quality <= 100:
            raise ConfigError(f"depth is {depth} and quality {quality}, expected 1 or more and 1 to 100")
        self._name, self._spec = target or "segmentation", spec
        self._profile = reliability, depth
        self._outputs = Outputs(spec, lambda size: fit(size, size), jpeg_quality=quality)
        self._publisher: ResultPublisher | None = None
        self._failures: list[BaseException] = []
        self._stack = ExitStack()

    @property
    def wanted(self) -> frozenset[str]:
        """What the topics that have listeners now are made of."""
        publisher = self._publisher  # which the sink's thread takes away at the end
        return publisher.wanted if publisher else frozenset()

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            session = stack.enter_context(Session())
            node = session.node(self._name)
            topics = Publishers(node, KINDS, qos(*self._profile))
            self._label_info = LabelInfo(node, "~/label_info")
            now = time.time_ns()
            self._label_info.publish(self._spec, Header("", now, "", now))
            session.spin(self._failures.append)
            self._publisher = ResultPublisher(topics, self._outputs)
            self._stack = stack.pop_all()
        return self

    def write(self, result: Result) -> None:
        """Publish what is listened to. Errors: whatever ended the serving of the node."""
        if self._failures:
            raise self._failures[0]
        assert self._publisher is not None
        self._publisher.write(result)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._publisher = None
        self._stack.close()
