"""The only importer of rclpy: sessions, subscriptions of bytes, publishers of bytes, and what they say of themselves.

Messages cross rclpy as CDR bytes in both directions, so it neither builds nor reads lists. rclpy comes with ROS 2, or
without one from PyPI (`pip install 'rtseg[ros-wheels]'`).
"""

from __future__ import annotations

import importlib
import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import TYPE_CHECKING, Any

from rtseg.errors import BackendError, ConfigError, MissingExtra
from rtseg.frame import Header
from rtseg.messages.records import LABEL_INFO
from rtseg.messages.status import label_info_bytes
from rtseg.packages.spec import ModelSpec

try:
    import rclpy
except ImportError as exc:  # rclpy of a ROS installation needs its set-up file to be sourced
    raise MissingExtra(
        "ros needs rclpy: source the set-up file of a ROS 2 installation, or pip install 'rtseg[ros-wheels]' "
        f"(Python 3.11): {' '.join(str(exc).split())}"
    ) from exc
from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor, SetParametersResult
from rclpy.context import Context
from rclpy.event_handler import PublisherEventCallbacks, SubscriptionEventCallbacks
from rclpy.exceptions import NameValidationException, ParameterException
from rclpy.executors import SingleThreadedExecutor
from rclpy.impl.implementation_singleton import rclpy_implementation
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile, ReliabilityPolicy, qos_policy_name_from_kind
from rclpy.signals import SignalHandlerOptions
from rclpy.validate_node_name import validate_node_name

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = [
    "LabelInfo",
    "LifecycleNode",
    "LifecycleState",
    "Node",
    "NodeLog",
    "Parameter",
    "ParameterException",
    "Publishers",
    "Session",
    "SetParametersResult",
    "TransitionCallbackReturn",
    "check_node_name",
    "descriptor",
    "message_class",
    "qos",
    "resolved",
    "subscribe",
]

log = logging.getLogger("rtseg")

SPIN_SECONDS = 0.1
JOIN_SECONDS = 5.0
OLDEST_SECONDS = 10.0
"""Ages of messages beyond this are clocks that differ, not delays."""
FIX = {
    "RELIABILITY": "ask for best_effort (image_reliability of the node, --input-reliability of rtseg run)",
    "DURABILITY": "the publisher must offer at least what is asked for",
}
Put = Callable[[bytes, bytes, "int | None", int], None]
"""Takes a message: its bytes, its publisher's id, its number there (None where unknown), its age in nanoseconds."""


def message_class(kind: str) -> Any:
    """The Python class of a message type, "package/msg/Name". Errors: MissingExtra without its package."""
    package, _, name = kind.split("/")
    try:
        return getattr(importlib.import_module(f"{package}.msg"), name)
    except ImportError as exc:
        distribution = package.replace("_", "-")
        raise MissingExtra(
            f"{kind} needs the ROS package {package}: apt install ros-$ROS_DISTRO-{distribution}"
        ) from exc


@contextmanager
def wrong_names() -> Iterator[None]:
    """What rclpy says of names becomes a ConfigError of one line."""
    try:
        yield
    except (NameValidationException, rclpy_implementation.RCLError) as exc:
        raise ConfigError(" ".join(str(exc).split())) from exc


def check_node_name(name: str) -> None:
    """ConfigError for what cannot be a node's name."""
    with wrong_names():
        validate_node_name(name)


def resolved(node: Node, topic: str) -> str:
    """A topic's whole name, after remapping. Errors: ConfigError."""
    try:
        with wrong_names():
            return str(node.resolve_topic_name(topic))
    except ConfigError as exc:
        raise ConfigError(f"topic '{topic}': {exc}") from exc


def descriptor(
    text: str, low: float | None, high: float | None, integer: bool, constraints: str
) -> ParameterDescriptor:
    """What tools show of a parameter, with its range, which rclpy enforces."""
    made = ParameterDescriptor(description=text, additional_constraints=constraints)
    if low is not None and high is not None:
        if integer:
            made.integer_range = [IntegerRange(from_value=int(low), to_value=int(high), step=0)]
        else:
            made.floating_point_range = [FloatingPointRange(from_value=float(low), to_value=float(high), step=0.0)]
    return made


def qos(reliability: str, depth: int, *, latched: bool = False) -> QoSProfile:
    """Keep the last `depth` messages, "reliable" or "best_effort"; `latched` is transient local."""
    return QoSProfile(
        history=HistoryPolicy.KEEP_LAST,
        depth=depth,
        reliability=ReliabilityPolicy.RELIABLE if reliability == "reliable" else ReliabilityPolicy.BEST_EFFORT,
        durability=DurabilityPolicy.TRANSIENT_LOCAL if latched else DurabilityPolicy.VOLATILE,
    )


def subscribe(node: Node, topic: str, kind: str, profile: QoSProfile, put: Put) -> Any:
    """Subscribe to a topic as bytes; publishers whose QoS does not match are reported once each time they appear.

    Errors: ConfigError for the topic's name, MissingExtra without the message's package.
    """
    resolved(node, topic)

    def take(data: bytes, info: Mapping[str, Any]) -> None:
        # Both times are the middleware's, by the wall clock; older releases have neither.
        received = info.get("received_timestamp") or 0
        age = time.time_ns() - received
        publisher = (info.get("publisher_gid") or {}).get("data", b"")
        put(
            data,
            bytes(publisher),
            info.get("publication_sequence_number"),
            age if 0 < age < OLDEST_SECONDS * 1e9 else 0,
        )

    def mismatch(event: Any) -> None:
        policy = qos_policy_name_from_kind(event.last_policy_kind)
        asked = f"reliability {profile.reliability.name.lower()}, durability {profile.durability.name.lower()}"
        log.warning(
            "%s: %d publisher(s) do not match this subscription's QoS, nothing comes from them: their %s is less than "
            "asked for (%s): %s",
            node.resolve_topic_name(topic), event.total_count, policy.lower(), asked,
            FIX.get(policy, "make them equal"),
        )  # fmt: skip

    return node.create_subscription(
        message_class(kind),
        topic,
        take,
        profile,
        raw=True,
        event_callbacks=SubscriptionEventCallbacks(incompatible_qos=mismatch),
    )


class Publishers:
    """Publishers of bytes by topic; `listened` says which of them have subscribers.

    Their names are relative to the node's. Of a lifecycle node they publish only while it is active, unless `managed`
    is False. Publishing is allowed from any one thread at a time, and does nothing once they are destroyed.
    """

    def __init__(self, node: Node, kinds: Mapping[str, str], profile: QoSProfile, *, managed: bool = True) -> None:
        self._node, self._publishers = node, dict[str, Any]()
        create, self._destroy = node.create_publisher, node.destroy_publisher
        if managed and isinstance(node, LifecycleNode):
            create, self._destroy = node.create_lifecycle_publisher, node.destroy_lifecycle_publisher
        for topic, kind in kinds.items():
            events = PublisherEventCallbacks(incompatible_qos=self._mismatch(f"~/{topic}", profile))
            self._publishers[topic] = create(message_class(kind), f"~/{topic}", profile, event_callbacks=events)

    def _mismatch(self, topic: str, profile: QoSProfile) -> Callable[[Any], None]:
        def report(event: Any) -> None:
            policy = qos_policy_name_from_kind(event.last_policy_kind)
            log.warning(
                "%s: %d subscriber(s) ask for more %s than is offered (%s, %s) and get nothing: see output_reliability",
                self._node.resolve_topic_name(topic), event.total_count, policy.lower(),
                profile.reliability.name.lower(), profile.durability.name.lower(),
            )  # fmt: skip

        return report

    def listened(self) -> frozenset[str]:
        """The topics that have a subscriber."""
        return frozenset(
            topic for topic, publisher in tuple(self._publishers.items()) if publisher.get_subscription_count()
        )

    def publish(self, topic: str, data: bytes) -> None:
        """Publish a message's bytes."""
        publisher = self._publishers.get(topic)
        if publisher is not None:
            publisher.publish(data)

    def destroy(self) -> None:
        """Take the topics off the graph."""
        publishers, self._publishers = self._publishers, {}
        for publisher in publishers.values():
            self._destroy(publisher)


class LabelInfo:
    """The class map, latched: whoever comes late gets it too. Without vision_msgs there is none, which is logged."""

    def __init__(self, node: Node, topic: str) -> None:
        self._publisher: Any = None
        try:
            kind = message_class(LABEL_INFO)
        except MissingExtra as exc:
            log.warning("no %s: %s", node.resolve_topic_name(topic), exc)
            return
        self._node = node
        self._publisher = node.create_publisher(kind, topic, qos("reliable", 1, latched=True))

    def publish(self, spec: ModelSpec, header: Header) -> None:
        """Publish the classes of a model."""
        if self._publisher is not None:
            self._publisher.publish(label_info_bytes(spec, header))

    def destroy(self) -> None:
        """Take the topic off the graph."""
        publisher, self._publisher = self._publisher, None
        if publisher is not None:
            self._node.destroy_publisher(publisher)


class NodeLog(logging.Handler):
    """Lets rtseg's log lines go out as those of a node, to its console and /rosout.

    There is one log in a process: with several nodes in it, each of them logs every line.
    """

    before = logging.NOTSET

    def __init__(self, node: Node) -> None:
        super().__init__(logging.INFO)
        self._logger = node.get_logger()
        if not any(isinstance(handler, NodeLog) for handler in log.handlers):
            NodeLog.before = log.level
            log.setLevel(logging.INFO)
        log.addHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        text = self.format(record)
        if record.levelno >= logging.ERROR:
            self._logger.error(text)
        elif record.levelno >= logging.WARNING:
            self._logger.warning(text)
        else:
            self._logger.info(text)

    def close(self) -> None:
        """Give the log back, with its level when this was the last node."""
        log.removeHandler(self)
        if not any(isinstance(handler, NodeLog) for handler in log.handlers):
            log.setLevel(NodeLog.before)
        super().close()


class Session:
    """A ROS context of its own: nodes made with `context` are spun by one thread from `spin` on, until it is left.

    `arguments` are those after `--ros-args`. Signals stay with the program. Errors: ConfigError for the arguments.
    """

    def __init__(self, arguments: Sequence[str] = ()) -> None:
        self.context = Context()
        self._arguments = list(arguments)
        self._nodes: list[Node] = []
        self._thread: threading.Thread | None = None
        self._leaving = threading.Event()

    def __enter__(self) -> Self:
        arguments = ["--ros-args", *self._arguments] if self._arguments else None
        try:
            rclpy.init(args=arguments, context=self.context, signal_handler_options=SignalHandlerOptions.NO)
        except Exception as exc:  # rclpy has an exception of its own for each kind of argument
            raise ConfigError(f"--ros-args {' '.join(self._arguments)}: {' '.join(str(exc).split())}") from exc
        return self

    @contextmanager
    def executor(self) -> Iterator[SingleThreadedExecutor]:
        """Serves nodes of this context in the calling thread."""
        executor = SingleThreadedExecutor(context=self.context)
        try:
            yield executor
        finally:
            executor.shutdown()

    def node(self, name: str) -> Node:
        """A plain node in this context. Errors: ConfigError for the name."""
        check_node_name(name)
        node = Node(name, context=self.context, start_parameter_services=False)
        self._nodes.append(node)
        return node

    def spin(self, failed: Callable[[BaseException], None]) -> None:
        """Serve the nodes in a thread; `failed` gets the error that ends it, from that thread."""

        def serve() -> None:
            try:
                with self.executor() as executor:
                    for node in self._nodes:
                        executor.add_node(node)
                    while not self._leaving.is_set() and self.context.ok():
                        executor.spin_once(timeout_sec=SPIN_SECONDS)
            except Exception as exc:  # noqa: BLE001 - rclpy raises what its callbacks do, and errors of its own
                failed(exc)

        self._thread = threading.Thread(target=serve, name="ros", daemon=True)
        self._thread.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._leaving.set()
        if self._thread is not None:
            self._thread.join(JOIN_SECONDS)
            if self._thread.is_alive():
                raise BackendError(f"ROS did not stop within {JOIN_SECONDS:.0f} s")
        for node in self._nodes:
            node.destroy_node()
        if self.context.ok():
            rclpy.shutdown(context=self.context)
