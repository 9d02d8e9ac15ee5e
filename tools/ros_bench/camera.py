"""The publisher of the benchmark: `camera.py PICTURES.npy`, then JSON lines (see `Camera`).

As the playback node of ros2_benchmark it has its messages in memory before a run begins. They go out on a schedule
that nothing holds up: each carries the time at which it was due (monotonic clock, as its stamp), so that its being sent
late counts as latency and is noted besides.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from rclpy.node import Node

from end import MATCH_SECONDS, NANO, Command, picture_class, reliable, serve, stamped
from rtseg.frame import Header
from rtseg.messages.images import compressed_bytes, image_bytes

LEAD_SECONDS = 0.2
"""From the command to the first message."""


class Camera:
    """Publishes pictures that are held as bytes of messages; Image, or JPEG of quality 90 on `…/compressed`."""

    def __init__(self, node: Node, pictures: np.ndarray[Any, Any]) -> None:
        self._node, self._pictures = node, pictures
        self._publishers: dict[str, Any] = {}
        self._messages: dict[bool, list[bytes]] = {}

    def messages(self, compressed: bool) -> list[bytes]:
        """The pictures as CDR, made once."""
        if compressed not in self._messages:
            header = Header("", 0, "camera", 0)
            self._messages[compressed] = [
                compressed_bytes(picture, header, quality=90) if compressed else image_bytes(picture, header)
                for picture in self._pictures
            ]
        return self._messages[compressed]

    def advertise(self, topic: str) -> dict[str, Any]:
        """Make a publisher and wait for its subscriber."""
        publisher = self._publishers.get(topic)
        if publisher is None:
            publisher = self._publishers[topic] = self._node.create_publisher(picture_class(topic), topic, reliable())
        end = time.monotonic() + MATCH_SECONDS
        while not publisher.get_subscription_count() and time.monotonic() < end:
            time.sleep(0.02)
        sizes = [len(message) for message in self.messages(topic.endswith("/compressed"))]
        return {"subscribers": publisher.get_subscription_count(), "bytes": sum(sizes) // len(sizes)}

    def play(self, topic: str, rate: float, count: int) -> list[list[int]]:
        """Publish `count` messages at `rate` per second: for each the stamp, when it was sent, how long that took."""
        publisher, messages = self._publishers[topic], self.messages(topic.endswith("/compressed"))
        start, sent = time.monotonic_ns() + int(LEAD_SECONDS * NANO), []
        for index in range(count):
            due = start + round(index * NANO / rate)
            message = stamped(messages[index % len(messages)], due)
            time.sleep(max(0.0, (due - time.monotonic_ns()) / NANO))
            before = time.monotonic_ns()
            publisher.publish(message)
            sent.append([due, before, time.monotonic_ns() - before])
        return sent


def main() -> None:
    cv2.setNumThreads(1)
    pictures = np.load(Path(sys.argv[1]))

    def commands(node: Node) -> dict[str, Command]:
        camera = Camera(node, pictures)
        return {"advertise": camera.advertise, "play": camera.play}

    serve("camera", commands)


if __name__ == "__main__":
    main()
