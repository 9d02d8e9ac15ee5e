"""The other side in a test with ROS: python -m tests.ros.peer NAME, driven by JSON lines.

A line {"number": 1, "command": "subscribe", "arguments": {…}} on stdin calls that method of `Peer`; stdout gets
{"number": 1, "result": …} or {"number": 1, "error": "…"} when it is done. Commands run beside each other. The process
ends with its stdin. Times are nanoseconds of the monotonic clock, which all processes of a machine share.
"""

from __future__ import annotations

import base64
import importlib
import json
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import rclpy
from rclpy.event_handler import PublisherEventCallbacks, SubscriptionEventCallbacks
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.qos import QoSProfile, qos_policy_name_from_kind
from rclpy.serialization import deserialize_message, serialize_message
from rclpy.signals import SignalHandlerOptions

from rtseg.messages import records as messages
from tests.messages.pictures import digest, image_message, pixels
from tests.ros.peer_services import Services


def type_of(kind: str) -> Any:
    """The class of "package/msg/Name"."""
    package, folder, name = kind.split("/")
    return getattr(importlib.import_module(f"{package}.{folder}"), name)


def profile(depth: int = 10, **policies: str) -> QoSProfile:
    """A QoS profile of names as ROS writes them: reliability="best_effort", durability="transient_local", …"""
    from rclpy.qos import DurabilityPolicy, HistoryPolicy, ReliabilityPolicy

    kinds = {"reliability": ReliabilityPolicy, "durability": DurabilityPolicy, "history": HistoryPolicy}
    return QoSProfile(depth=depth, **{name: kinds[name][value.upper()] for name, value in policies.items()})


@dataclass
class End:
    """A publisher or a subscription, what it saw of others, and what it received."""

    kind: str
    typed: bool
    handle: Any = None
    incompatible: list[str] = field(default_factory=list)
    received: list[dict[str, Any]] = field(default_factory=list)
    kept: deque[bytes] = field(default_factory=deque)


class Peer:
    def __init__(self, name: str) -> None:
        rclpy.init(args=[], signal_handler_options=SignalHandlerOptions.NO)
        self.node = rclpy.create_node(name, enable_rosout=False, start_parameter_services=False)
        self.executor = SingleThreadedExecutor()
        self.executor.add_node(self.node)
        self.services = Services(self.node)
        self.publishers: dict[str, End] = {}
        self.subscriptions: dict[str, End] = {}
        self.changed = threading.Condition()

    def spin(self) -> None:
        with suppress(ExternalShutdownException):
            self.executor.spin()

    def _wait(self, reached: Callable[[], bool], seconds: float) -> bool:
        with self.changed:
            return self.changed.wait_for(reached, seconds)

    def _matched(self, _event: Any) -> None:
        with self.changed:
            self.changed.notify_all()

    def _refused(self, end: End) -> Callable[[Any], None]:
        def note(event: Any) -> None:
            with self.changed:
                end.incompatible.append(qos_policy_name_from_kind(event.last_policy_kind))
                self.changed.notify_all()

        return note

    # Publishing

    def advertise(self, topic: str, kind: str, typed: bool = False, **qos: Any) -> None:
        """A publisher; a `typed` one hands ROS an object of Python, the usual way, and not bytes."""
        end = End(kind, typed)
        events = PublisherEventCallbacks(matched=self._matched, incompatible_qos=self._refused(end))
        end.handle = self.node.create_publisher(type_of(kind), topic, profile(**qos), event_callbacks=events)
        self.publishers[topic] = end

    def wait_subscribers(self, topic: str, count: int = 1, seconds: float = 20.0) -> int:
        """The number of subscriptions that match the publisher, once it is `count` or the time is over."""
        handle = self.publishers[topic].handle
        self._wait(lambda: handle.get_subscription_count() == count, seconds)
        return int(handle.get_subscription_count())

    def publish(self, topic: str, data: str, count: int = 1, rate: float = 0.0) -> None:
        """A message in base64, `count` times, `rate` per second (0: as fast as it goes).

        What arrives is padded to a multiple of four bytes, as DDS wants it.
        """
        content = base64.b64decode(data)
        self._publish(topic, count, rate, lambda _index: content)

    def publish_images(
        self,
        topic: str,
        height: int,
        width: int,
        encoding: str = "bgr8",
        padding: int = 0,
        count: int = 1,
        rate: float = 0.0,
        first: int = 0,
        distinct: bool = True,
        stamp_ns: int = 0,
        stamp_step_ns: int = 1,
        frame_id: str = "camera",
    ) -> list[dict[str, Any]]:
        """The pictures `first` … of tests/messages/pictures.py with stamps `stamp_ns` + index * `stamp_step_ns`.

        Gives for each its index, stamp, time of sending and the digest of its data. Not `distinct`: all have the bytes
        of the first, where there is no time to make others.
        """
        sent: list[dict[str, Any]] = []
        data = pixels(first, height, width, encoding, padding)

        def make(number: int) -> bytes:
            nonlocal data
            index = first + number
            if distinct and number:
                data = pixels(index, height, width, encoding, padding)
            stamp = stamp_ns + index * stamp_step_ns
            sent.append({"index": index, "stamp_ns": stamp, "sha256": digest(data) if distinct else ""})
            return image_message(data, height, width, encoding, stamp, frame_id)

        for record, sent_ns in zip(sent, self._publish(topic, count, rate, make), strict=False):
            record["time_ns"] = sent_ns
        return sent

    def _publish(self, topic: str, count: int, rate: float, make: Callable[[int], bytes]) -> list[int]:
        end = self.publishers[topic]
        times: list[int] = []
        start = time.monotonic()
        for number in range(count):
            content: Any = make(number)
            if end.typed:
                content = deserialize_message(content, type_of(end.kind))
            if rate:
                time.sleep(max(0.0, start + number / rate - time.monotonic()))
            times.append(time.monotonic_ns())
            end.handle.publish(content)
        return times

    # Subscribing

    def subscribe(
        self, topic: str, kind: str, typed: bool = False, keep: int = 1, hashed: bool = True, **qos: Any
    ) -> None:
        """A subscription that takes note of each message, `hashed` or not, and keeps the last `keep`.

        A `typed` one gets objects of Python from ROS, the usual way, and makes bytes of them again.
        """
        end = End(kind, typed, kept=deque(maxlen=keep))

        def note(content: Any, info: Any) -> None:
            now = time.monotonic_ns()
            data = serialize_message(content) if typed else content
            record = {"time_ns": now, "sequence": info["publication_sequence_number"], **facts(kind, data, hashed)}
            if typed:
                record["text"] = str(content)
            with self.changed:
                end.kept.append(data)
                end.received.append(record)
                self.changed.notify_all()

        events = SubscriptionEventCallbacks(matched=self._matched, incompatible_qos=self._refused(end))
        end.handle = self.node.create_subscription(
            type_of(kind), topic, note, profile(**qos), raw=not typed, event_callbacks=events
        )
        self.subscriptions[topic] = end

    def wait_publishers(self, topic: str, count: int = 1, seconds: float = 20.0) -> int:
        """The number of publishers that match the subscription, once it is `count` or the time is over."""
        handle = self.subscriptions[topic].handle
        self._wait(lambda: handle.get_publisher_count() == count, seconds)
        return int(handle.get_publisher_count())

    def received(self, topic: str, count: int = 1, seconds: float = 20.0, first: int = 0) -> list[dict[str, Any]]:
        """What was received, from the `first`-th on, once it is `count` in all or the time is over.

        For each message the time, publication sequence number, header's stamp and frame_id (null where it has none),
        size in bytes, and SHA-256 of its field `data`, or of the whole where it has no such bytes.
        """
        end = self.subscriptions[topic]
        self._wait(lambda: len(end.received) >= count, seconds)
        return end.received[first:]

    def save(self, topic: str, index: int, path: str) -> None:
        """One of the kept messages as uint8 in a .npy file."""
        np.save(path, np.frombuffer(self.subscriptions[topic].kept[index], np.uint8))

    def wait_incompatible(self, topic: str, count: int = 1, seconds: float = 20.0) -> list[str]:
        """The policies that kept others from matching, once there are `count` or the time is over."""
        ends = [ends[topic] for ends in (self.publishers, self.subscriptions) if topic in ends]
        self._wait(lambda: sum(len(end.incompatible) for end in ends) >= count, seconds)
        return [policy for end in ends for policy in end.incompatible]

    def close(self, topic: str) -> None:
        """Without the publisher and the subscription of a topic."""
        if end := self.publishers.pop(topic, None):
            self.node.destroy_publisher(end.handle)
        if end := self.subscriptions.pop(topic, None):
            self.node.destroy_subscription(end.handle)


def facts(kind: str, data: bytes, hashed: bool) -> dict[str, Any]:
    """What `received` says of a message's bytes; of those that cannot be decoded their size and digest."""
    stamp_ns, frame_id, content = None, None, data
    try:
        message = messages.decode(kind, data)
    except Exception:
        message = None
    if hasattr(message, "header"):
        stamp_ns, frame_id = messages.stamp_ns(message), message.header.frame_id
    if isinstance(field_ := getattr(message, "data", None), np.ndarray):
        content = field_
    return {"stamp_ns": stamp_ns, "frame_id": frame_id, "size": len(data), "sha256": digest(content) if hashed else ""}


def main() -> None:
    peer = Peer(sys.argv[1])
    writing = threading.Lock()

    def work(line: str) -> None:
        request = json.loads(line)
        answer: dict[str, Any] = {"number": request["number"]}
        try:
            holder = peer if hasattr(peer, request["command"]) else peer.services
            answer["result"] = getattr(holder, request["command"])(**request["arguments"])
        except Exception as exc:
            answer["error"] = f"{type(exc).__name__}: {exc}"
        with writing:
            print(json.dumps(answer), flush=True)

    spinning = threading.Thread(target=peer.spin)
    spinning.start()
    with ThreadPoolExecutor(8) as pool:
        for line in sys.stdin:
            pool.submit(work, line)
    peer.executor.shutdown(5)
    rclpy.shutdown()
    spinning.join(5)


if __name__ == "__main__":
    main()
