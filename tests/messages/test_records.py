"""CDR as ROS 2 writes it: known bytes, no copies on the way in, one on the way out."""

from __future__ import annotations

import numpy as np
import pytest
from rosbags.serde.errors import SerdeError

from rtseg.frame import Header
from rtseg.messages import records as messages


def test_label_info_has_the_bytes_that_ros_sends() -> None:
    label = messages.build("vision_msgs/msg/VisionClass", class_id=7, class_name="Road")
    info = messages.build(
        messages.LABEL_INFO, header=messages.header(5_000_000_007, "cam"), class_map=[label], threshold=0.5
    )
    expected = (
        b"\x00\x01\x00\x00"  # little-endian CDR
        b"\x05\x00\x00\x00\x07\x00\x00\x00"  # 5 s and 7 ns
        b"\x04\x00\x00\x00cam\x00"
        b"\x01\x00\x00\x00"  # one class
        b"\x07\x00\x00\x00"  # its id, padded for the length that follows
        b"\x05\x00\x00\x00Road\x00\x00\x00\x00"
        b"\x00\x00\x00\x3f"
    )
    data = messages.encode(messages.LABEL_INFO, info)
    assert data == expected
    assert messages.decode(messages.LABEL_INFO, data) == info
    assert messages.definition(messages.LABEL_INFO).startswith("std_msgs/Header header\nvision_msgs/VisionClass[]")


@pytest.mark.parametrize("frame_id", ["", "a", "ab", "abc", "abcd"])
def test_bulk_data_is_encoded_like_any_other_field_whatever_the_alignment(frame_id: str) -> None:
    picture = np.arange(3 * 5 * 3, dtype=np.uint8).reshape(3, 5, 3)
    fields = {
        "header": messages.header(-1, frame_id), "height": 3, "width": 5, "encoding": "bgr8",
        "is_bigendian": 0, "step": 15,
    }  # fmt: skip
    whole = messages.encode(messages.IMAGE, messages.build(messages.IMAGE, **fields, data=picture.reshape(-1)))
    assert messages.encode_with(messages.IMAGE, picture, **fields) == whole
    assert messages.encode_with(messages.IMAGE, picture.tobytes(), **fields) == whole


def test_data_of_a_decoded_image_is_a_view_of_its_bytes() -> None:
    fields = {
        "header": messages.header(1, "c"),
        "height": 1,
        "width": 4,
        "encoding": "mono8",
        "is_bigendian": 0,
        "step": 4,
    }
    data = bytearray(messages.encode_with(messages.IMAGE, b"abcd", **fields))
    image = messages.decode(messages.IMAGE, data)
    data[-1] = ord("z")
    assert image.data.tobytes() == b"abcz"


def test_header_of_a_frame_is_the_header_of_its_picture_to_the_nanosecond() -> None:
    made = messages.header_of(Header("/camera", 1_700_000_000_123_456_789, "front", 3))
    message = messages.build(messages.COMPRESSED_IMAGE, header=made, format="png", data=np.zeros(0, np.uint8))
    assert messages.stamp_ns(message) == 1_700_000_000_123_456_789
    assert (made.stamp.sec, made.stamp.nanosec, made.frame_id) == (1_700_000_000, 123_456_789, "front")


@pytest.mark.parametrize("data", [b"", b"\x00\x01\x00\x00", b"\x00\x01\x00\x00" + b"\xff" * 40])
def test_bytes_that_are_no_message_are_an_error_of_one_kind(data: bytes) -> None:
    with pytest.raises(SerdeError):
        messages.decode(messages.IMAGE, data)
