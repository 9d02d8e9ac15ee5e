"""What one message costs in one process, with nothing beside it: rclpy's usual ways and rtseg's."""

from __future__ import annotations

import os
import time
from array import array
from collections.abc import Callable
from contextlib import contextmanager
from typing import Any

import numpy as np
import rclpy
from rclpy.node import Node
from rclpy.serialization import deserialize_message, serialize_message
from sensor_msgs.msg import Image

from counting import summary
from end import reliable
from rtseg.frame import Header
from rtseg.messages.images import compressed_bytes, decode_picture, image_bytes
from rtseg.messages.records import COMPRESSED_IMAGE, IMAGE
from tutorial_node import fill_as_cv_bridge, fill_with_bytes, fill_with_list, image_of, mask_message

HEADER = Header("", 1, "camera", 1)
SLOW = 5
"""Samples of what takes a good part of a second."""


def timed(work: Callable[[], Any], samples: int) -> dict[str, Any]:
    """Milliseconds of a call: percentiles, after two that do not count."""
    took = []
    for index in range(samples + 2):
        start = time.perf_counter_ns()
        kept = work()
        if index >= 2:
            took.append((time.perf_counter_ns() - start) / 1e6)
        del kept
    return summary(took)


class Loop:
    """A publisher and a subscription of one process, over the middleware."""

    def __init__(self, node: Node, topic: str, raw: bool) -> None:
        self._node = node
        self._publisher = node.create_publisher(Image, topic, reliable())
        self._subscription = node.create_subscription(Image, topic, lambda message: None, reliable(), raw=raw)
        self._handle = self._subscription.handle
        self._raw = raw
        while not self._publisher.get_subscription_count():
            time.sleep(0.01)

    def publish(self, message: Any) -> None:
        """Hand a message to the middleware."""
        self._publisher.publish(message)

    def take(self, limit: float = 2.0) -> float:
        """Milliseconds that taking the message takes which was just published; it may still be on its way."""
        end = time.monotonic() + limit
        while time.monotonic() < end:
            with self._handle:
                start = time.perf_counter_ns()
                taken = self._handle.take_message(Image, self._raw)
                took = (time.perf_counter_ns() - start) / 1e6
            if taken is not None:
                return took
            time.sleep(0.002)
        raise TimeoutError("the message did not arrive: set FASTDDS_BUILTIN_TRANSPORTS=LARGE_DATA")


def takes(loop: Loop, message: Any, samples: int) -> dict[str, Any]:
    """Milliseconds to take a message that has arrived."""
    took = []
    for _ in range(samples + 2):
        loop.publish(message)
        time.sleep(0.03)
        took.append(loop.take())
    return summary(took[2:])


def publishes(loop: Loop, make: Callable[[], Any], samples: int) -> dict[str, Any]:
    """Milliseconds to make a message and hand it to the middleware, which has a subscriber."""
    took = []
    for _ in range(samples + 2):
        start = time.perf_counter_ns()
        loop.publish(make())
        took.append((time.perf_counter_ns() - start) / 1e6)
        time.sleep(0.02)
        loop.take()
    return summary(took[2:])


@contextmanager
def checked() -> Any:
    """Fields of messages are checked within, as releases up to Iron always do."""
    from sensor_msgs.msg import _image

    before, _image.ros_python_check_fields = _image.ros_python_check_fields, "1"
    try:
        yield
    finally:
        _image.ros_python_check_fields = before


def costs(image: np.ndarray[Any, Any], samples: int, domain: int) -> dict[str, dict[str, Any]]:
    """Milliseconds by what was done to a picture (HWC uint8 BGR) or to a mask of its size.

    Groups: `in` from the middleware to an array, `out` from an array to the middleware, `convert` without it.
    """
    mask = np.ascontiguousarray(image[..., 0])
    message = image_bytes(image, HEADER)
    typed = deserialize_message(message, Image)
    jpeg = compressed_bytes(image, HEADER, quality=90)
    blank = Image(header=typed.header)

    def filled(fill: Callable[[Image, Any], None]) -> Callable[[], Image]:
        return lambda: mask_message(blank, mask, fill)

    convert = {
        "picture, CDR to typed message": timed(lambda: deserialize_message(message, Image), samples),
        "picture, typed message to array (cv_bridge)": timed(lambda: image_of(typed), samples),
        "picture, CDR to array (rtseg)": timed(lambda: decode_picture(IMAGE, message), samples),
        "picture, JPEG to array (rtseg)": timed(lambda: decode_picture(COMPRESSED_IMAGE, jpeg), samples),
        "mask, array to typed message to CDR (cv_bridge)": timed(
            lambda: serialize_message(filled(fill_as_cv_bridge)()), samples
        ),
        "mask, array to CDR (rtseg)": timed(lambda: image_bytes(mask, HEADER), samples),
        "overlay, array to CDR (rtseg)": timed(lambda: image_bytes(image, HEADER), samples),
        "overlay, array to JPEG (rtseg)": timed(lambda: compressed_bytes(image, HEADER), samples),
    }
    os.environ.setdefault("FASTDDS_BUILTIN_TRANSPORTS", "LARGE_DATA")
    rclpy.init(domain_id=domain)
    try:
        node = Node("costs", start_parameter_services=False)
        pictures_raw, pictures_typed = Loop(node, "pictures_raw", True), Loop(node, "pictures_typed", False)
        masks = Loop(node, "masks", True)
        taken = {
            "picture, taken as bytes (rtseg)": takes(pictures_raw, message, samples),
            "picture, taken as typed message": takes(pictures_typed, message, samples),
        }
        out = {
            "mask, bytes (rtseg)": publishes(masks, lambda: image_bytes(mask, HEADER), samples),
            "mask, typed, frombytes (cv_bridge)": publishes(masks, filled(fill_as_cv_bridge), samples),
            "mask, typed, data = array": publishes(masks, filled(fill_with_array), samples),
            "mask, typed, data = bytes": publishes(masks, filled(fill_with_bytes), samples),
            "mask, typed, data = list": publishes(masks, filled(fill_with_list), SLOW),
        }
        with checked():
            out["mask, typed, data = bytes, fields checked"] = publishes(masks, filled(fill_with_bytes), SLOW)
            out["mask, typed, data = list, fields checked"] = publishes(masks, filled(fill_with_list), SLOW)
    finally:
        rclpy.shutdown()
    return {"convert": convert, "in": taken, "out": out}


def fill_with_array(message: Image, labels: np.ndarray[Any, Any]) -> None:
    """Assigning an array."""
    message.data = array("B", labels.tobytes())
