"""What camera.py and monitor.py share: a ROS node driven by JSON lines, and where a message keeps its stamp."""

from __future__ import annotations

import json
import os
import struct
import sys
import threading
from collections.abc import Callable, Mapping
from typing import Any

import rclpy
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CompressedImage, Image

MATCH_SECONDS = 20.0
NANO = 1_000_000_000
STAMP = struct.Struct("<iI")
STAMP_AT = 4
"""The header comes first in pictures: seconds and nanoseconds lie behind the four bytes of CDR's own header."""

Command = Callable[..., Any]


def picture_class(topic: str) -> Any:
    """Image, or CompressedImage for a name that image_transport gives those."""
    return CompressedImage if topic.endswith("/compressed") else Image


def reliable(depth: int = 10) -> QoSProfile:
    """What `create_publisher(kind, topic, 10)` gives: reliable, the last ten."""
    return QoSProfile(depth=depth, reliability=ReliabilityPolicy.RELIABLE)


def stamped(message: bytes, nanoseconds: int) -> bytes:
    """The message with another stamp; one copy."""
    return b"".join((message[:STAMP_AT], STAMP.pack(*divmod(nanoseconds, NANO)), message[STAMP_AT + STAMP.size :]))


def stamp_of(message: bytes) -> int:
    """The stamp of a message that begins with a header, in nanoseconds."""
    seconds, nanoseconds = STAMP.unpack_from(message, STAMP_AT)
    return int(seconds * NANO + nanoseconds)


def serve(name: str, commands: Callable[[Node], Mapping[str, Command]]) -> None:
    """Spin a node in a thread and do what the lines of standard input ask, one answer a line, until they end."""
    # Libraries may print: what they say goes to standard error, and only answers to the asker.
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    rclpy.init()
    node = Node(name, start_parameter_services=False)
    known = commands(node)
    executor = SingleThreadedExecutor()
    executor.add_node(node)

    def spin() -> None:
        try:
            executor.spin()
        except ExternalShutdownException:
            return

    spinning = threading.Thread(target=spin, name="ros")
    spinning.start()
    print(json.dumps({"rmw": rclpy.get_rmw_implementation_identifier()}), file=out, flush=True)
    try:
        for line in sys.stdin:
            request = json.loads(line)
            print(json.dumps(known[request.pop("do")](**request)), file=out, flush=True)
    finally:
        rclpy.shutdown()
        spinning.join(10)
