"""A segmentation node as rclpy tutorials have it, with the same network, preprocessing and labels as `rtseg ros`.

Typed messages, `cv_bridge`'s way from message to array, everything in the subscription's callback, queues of ten,
reliable. What is left to compare is what ROS costs. cv_bridge itself is not on PyPI; what it does to bgr8 and mono8
(vision_opencv, cv_bridge/core.py) is `image_of` and `fill_as_cv_bridge`. The other ways to fill a message are what
people write who do without it.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable

import numpy as np
import rclpy
from rclpy.executors import ExternalShutdownException
from rclpy.node import Node
from sensor_msgs.msg import Image

from rtseg.backends import open_backend
from rtseg.segmenter.host import HostSegmenter

Labels = np.ndarray


def image_of(message: Image) -> np.ndarray:
    """`CvBridge().imgmsg_to_cv2(message)` of a bgr8 message: a view of its data (asked for "bgr8" it would copy)."""
    return np.ndarray((message.height, message.width, 3), np.uint8, message.data, 0, (message.step, 3, 1))


def fill_as_cv_bridge(message: Image, labels: Labels) -> None:
    """`CvBridge().cv2_to_imgmsg(labels, "mono8")`."""
    message.data.frombytes(labels.tobytes())


def fill_with_bytes(message: Image, labels: Labels) -> None:
    """Assigning bytes: an array is made of them, after a look at each where fields are checked."""
    message.data = labels.tobytes()


def fill_with_list(message: Image, labels: Labels) -> None:
    """Assigning a list of numbers."""
    message.data = labels.flatten().tolist()


FILLS: dict[str, Callable[[Image, Labels], None]] = {
    "cv_bridge": fill_as_cv_bridge,
    "bytes": fill_with_bytes,
    "list": fill_with_list,
}


def mask_message(image: Image, labels: Labels, fill: Callable[[Image, Labels], None]) -> Image:
    """The mask of a picture, with the picture's header."""
    message = Image()
    message.header = image.header
    message.height, message.width = labels.shape
    message.encoding = "mono8"
    fill(message, labels)
    message.step = labels.shape[1]
    return message


class TutorialNode(Node):
    """Subscribes to pictures, publishes masks."""

    def __init__(self, name: str, topic: str, segmenter: HostSegmenter, fill: Callable[[Image, Labels], None]) -> None:
        super().__init__(name)
        self.segmenter, self.fill = segmenter, fill
        self.publisher = self.create_publisher(Image, "~/mask", 10)
        self.subscription = self.create_subscription(Image, topic, self.on_image, 10)

    def on_image(self, message: Image) -> None:
        labels = self.segmenter(image_of(message))
        self.publisher.publish(mask_message(message, labels, self.fill))


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--name", required=True)
    parser.add_argument("--image", required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--backend", default="auto")
    parser.add_argument("--short-side", type=int)
    parser.add_argument("--warm-up-size", required=True)
    parser.add_argument("--fill", choices=FILLS, default="cv_bridge")
    args = parser.parse_args()
    height, width = map(int, args.warm_up_size.split("x"))
    with open_backend(args.backend, args.model) as backend:
        segmenter = HostSegmenter(backend, short_side=args.short_side)
        segmenter.warm_up((height, width))
        rclpy.init()
        node = TutorialNode(args.name, args.image, segmenter, FILLS[args.fill])
        try:
            rclpy.spin(node)
        except (KeyboardInterrupt, ExternalShutdownException):
            pass
        finally:
            node.destroy_node()
            rclpy.try_shutdown()
    return 0


if __name__ == "__main__":
    sys.exit(main())
