"""ROS messages as they travel and lie in bags: CDR bytes to records and back, without ROS.

`rosbags` has the definitions and the encoding; arrays of a decoded message are views into the bytes. The node and the
bags use the same code, so a message costs one copy each way and no list is ever made of its data.
"""

from __future__ import annotations

import struct
from functools import cache
from typing import Any

import numpy as np
from rosbags.serde.errors import SerdeError
from rosbags.typesys import Stores, get_types_from_msg, get_typestore
from rosbags.typesys.store import Typestore

from rtseg.frame import Header

__all__ = [
    "AREAS",
    "CAMERA_INFO",
    "COMPRESSED_IMAGE",
    "DIAGNOSTICS",
    "IMAGE",
    "LABEL_INFO",
    "LASER_SCAN",
    "OCCUPANCY_GRID",
    "TF",
    "SerdeError",
    "build",
    "decode",
    "definition",
    "encode",
    "encode_with",
    "header",
    "header_of",
    "stamp_ns",
    "types",
]

IMAGE = "sensor_msgs/msg/Image"
COMPRESSED_IMAGE = "sensor_msgs/msg/CompressedImage"
CAMERA_INFO = "sensor_msgs/msg/CameraInfo"
LABEL_INFO = "vision_msgs/msg/LabelInfo"
AREAS = "std_msgs/msg/Float32MultiArray"
DIAGNOSTICS = "diagnostic_msgs/msg/DiagnosticArray"
OCCUPANCY_GRID = "nav_msgs/msg/OccupancyGrid"
LASER_SCAN = "sensor_msgs/msg/LaserScan"
TF = "tf2_msgs/msg/TFMessage"

VISION = {
    "vision_msgs/msg/VisionClass": "uint16 class_id\nstring class_name\n",
    LABEL_INFO: "std_msgs/Header header\nvision_msgs/VisionClass[] class_map\nfloat32 threshold\n",
}
"""The fields of vision_msgs 4 (ros-perception/vision_msgs, LabelInfo.msg and VisionClass.msg)."""
NANO = 1_000_000_000


@cache
def types() -> Typestore:
    """The definitions of ROS 2 Humble, whose messages later releases kept, with those of `vision_msgs`."""
    store = get_typestore(Stores.ROS2_HUMBLE)
    for name, text in VISION.items():
        store.register(get_types_from_msg(text, name))
    return store


def build(kind: str, **fields: Any) -> Any:
    """A message of type `kind` ("package/msg/Name") from its fields; TypeError for fields that it does not have."""
    return types().types[kind](**fields)


def encode(kind: str, message: Any) -> bytes:
    """A message as little-endian CDR with its four bytes of header, as ROS 2 sends and stores it."""
    return bytes(types().serialize_cdr(message, kind))


def encode_with(kind: str, data: Any, **fields: Any) -> bytes:
    """A message whose last field is `data`, bytes or a contiguous array of one-byte numbers, copied once.

    That is Image, CompressedImage and OccupancyGrid.
    """
    empty = types().serialize_cdr(build(kind, **fields, data=np.zeros(0, np.uint8)), kind)
    content = memoryview(data).cast("B")  # which a C-contiguous buffer allows only
    return b"".join((empty[:-4], struct.pack("<I", content.nbytes), content))


def decode(kind: str, data: bytes | memoryview) -> Any:
    """The message in CDR bytes; numeric arrays in it are views of `data`.

    Errors: SerdeError, of rosbags, for bytes that are not such a message.
    """
    return types().deserialize_cdr(memoryview(data), kind)  # a slice of bytes would be a copy


def definition(kind: str) -> str:
    """The text of a message's definition and of those in it, as MCAP (`ros2msg`) and Foxglove want it."""
    return types().generate_msgdef(kind, ros_version=2)[0]


def header(stamp_ns: int, frame_id: str) -> Any:
    """A std_msgs/Header of a time in nanoseconds."""
    time = build("builtin_interfaces/msg/Time", sec=stamp_ns // NANO, nanosec=stamp_ns % NANO)
    return build("std_msgs/msg/Header", stamp=time, frame_id=frame_id)


def stamp_ns(message: Any) -> int:
    """The header's time of a message, in nanoseconds."""
    stamp = message.header.stamp
    return int(stamp.sec) * NANO + int(stamp.nanosec)


def header_of(frame_header: Header) -> Any:
    """The std_msgs/Header of what is made of a frame: that of its picture."""
    return header(frame_header.stamp_ns, frame_header.frame_id)
