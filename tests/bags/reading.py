"""Reads bags back by code that is not ours: mcap with mcap_ros2, and rosbags' AnyReader."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from mcap.reader import make_reader
from mcap_ros2.decoder import DecoderFactory
from numpy.typing import NDArray
from rosbags.highlevel import AnyReader

__all__ = ["Raw", "array", "by_ros2", "by_rosbags", "jpeg", "raw", "stamp"]

Raw = tuple[str, int, int, int, bytes]
"""Topic, sequence, log time, publish time and data of a message."""


def raw(path: Path) -> list[Raw]:
    """Every message of an MCAP in the order in which it lies in the file's chunks; checksums are checked."""
    with path.open("rb") as file:
        return [
            (channel.topic, message.sequence, message.log_time, message.publish_time, message.data)
            for _, channel, message in make_reader(file, validate_crcs=True).iter_messages(log_time_order=False)
        ]


def by_ros2(path: Path) -> dict[str, list[Any]]:
    """The decoded CDR messages of an MCAP by topic."""
    found: dict[str, list[Any]] = defaultdict(list)
    with path.open("rb") as file:
        reader = make_reader(file, decoder_factories=[DecoderFactory()])
        topics = [
            channel.topic
            for channel in reader.get_summary().channels.values()  # type: ignore[union-attr]
            if channel.message_encoding == "cdr"
        ]
        for _, channel, _, message in reader.iter_decoded_messages(topics):
            found[channel.topic].append(message)
    return found


def by_rosbags(path: Path) -> dict[str, list[Any]]:
    """The decoded messages of any bag by topic."""
    found: dict[str, list[Any]] = defaultdict(list)
    with AnyReader([path]) as reader:
        for connection, _, data in reader.messages():
            found[connection.topic].append(reader.deserialize(data, connection.msgtype))
    return found


def array(message: Any) -> NDArray[np.uint8]:
    """The pixels of a mono8 Image."""
    assert (message.encoding, message.step, message.is_bigendian) == ("mono8", message.width, 0)
    return np.frombuffer(bytes(message.data), np.uint8).reshape(message.height, message.width)


def jpeg(message: Any) -> NDArray[np.uint8]:
    """The picture of a CompressedImage."""
    assert message.format == "bgr8; jpeg compressed bgr8"
    return cv2.imdecode(np.frombuffer(bytes(message.data), np.uint8), cv2.IMREAD_COLOR)  # type: ignore[return-value]


def stamp(message: Any) -> tuple[int, str]:
    """The header: nanoseconds and frame."""
    time = message.header.stamp
    return time.sec * 1_000_000_000 + time.nanosec, message.header.frame_id
