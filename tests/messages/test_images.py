"""Messages to pictures and back; ROS reads what is written."""

from __future__ import annotations

import struct
from typing import Any

import cv2
import numpy as np
import pytest

from rtseg.errors import ConfigError
from rtseg.frame import Header
from rtseg.messages import records as messages
from rtseg.messages.images import (
    BadMessage,
    compressed_bytes,
    compressed_picture,
    decode_picture,
    image_bytes,
    picture,
)
from tests.ros.real import assert_ros_writes_the_same, ros_message

HEADER = Header("/camera", 5_000_000_007, "cam", 6)
NOISE = np.random.default_rng(3).integers(0, 256, (12, 16, 3), np.uint8)
SMOOTH = cv2.resize(NOISE[:3, :4], (64, 48), interpolation=cv2.INTER_CUBIC)


def compressed(content: bytes, text: str) -> Any:
    data = np.frombuffer(content, np.uint8)
    return messages.build(messages.COMPRESSED_IMAGE, header=messages.header(1, "c"), format=text, data=data)


def encoded(image: Any, suffix: str = ".png") -> bytes:
    return bytes(cv2.imencode(suffix, image)[1].tobytes())


def test_image_bytes_come_back_as_the_same_picture_stamp_and_frame() -> None:
    data = image_bytes(NOISE, HEADER)
    image, stamp, frame_id = decode_picture(messages.IMAGE, data)
    np.testing.assert_array_equal(image, NOISE)
    assert (stamp, frame_id) == (5_000_000_007, "cam")
    assert np.shares_memory(image, np.frombuffer(data, np.uint8))
    message = messages.decode(messages.IMAGE, image_bytes(NOISE[..., 0], HEADER))
    fields = (message.encoding, message.height, message.width, message.step, message.is_bigendian)
    assert fields == ("mono8", 12, 16, 16, 0)
    np.testing.assert_array_equal(message.data.reshape(12, 16), NOISE[..., 0])


@pytest.mark.parametrize("array", [NOISE[..., :2], NOISE.astype(np.int16), NOISE[:0], NOISE.reshape(-1)])
def test_only_pictures_become_images(array: Any) -> None:
    for write in (image_bytes, compressed_bytes):
        with pytest.raises(ValueError, match="made of HW or HWx3 uint8, found"):
            write(array, HEADER)


@pytest.mark.ros
@pytest.mark.parametrize("array", [NOISE, NOISE[..., 1], NOISE[:, ::-2], NOISE[:5, :7, 0]])
def test_ros_reads_an_image_and_writes_the_same_bytes(array: Any) -> None:
    data = image_bytes(array, HEADER)
    message = ros_message("sensor_msgs", "Image", data)
    assert (message.height, message.width, message.step) == (*array.shape[:2], array[0].size)
    assert (message.encoding, message.is_bigendian) == ("bgr8" if array.ndim == 3 else "mono8", 0)
    assert (message.header.stamp.sec, message.header.stamp.nanosec, message.header.frame_id) == (5, 7, "cam")
    assert bytes(message.data) == array.tobytes()
    assert_ros_writes_the_same(message, data)
    np.testing.assert_array_equal(picture(message), array if array.ndim == 3 else np.dstack([array] * 3))


@pytest.mark.ros
def test_ros_reads_a_compressed_image_and_writes_the_same_bytes() -> None:
    data = compressed_bytes(NOISE, HEADER, format="png")
    message = ros_message("sensor_msgs", "CompressedImage", data)
    assert message.format == "bgr8; png compressed bgr8"
    assert (message.header.stamp.sec, message.header.stamp.nanosec, message.header.frame_id) == (5, 7, "cam")
    np.testing.assert_array_equal(cv2.imdecode(np.frombuffer(message.data, np.uint8), -1), NOISE)
    assert_ros_writes_the_same(message, data)


def test_compressed_bytes_are_jpeg_of_the_quality_asked_for_or_lossless_png() -> None:
    good, poor = (compressed_bytes(SMOOTH, HEADER, quality=quality) for quality in (95, 5))
    assert len(good) > len(poor) + 400
    image, stamp, frame_id = decode_picture(messages.COMPRESSED_IMAGE, good)
    assert np.abs(image.astype(int) - SMOOTH).mean() < 2
    assert (stamp, frame_id) == (5_000_000_007, "cam")
    assert messages.decode(messages.COMPRESSED_IMAGE, good).format == "bgr8; jpeg compressed bgr8"
    grey = compressed_bytes(SMOOTH[..., 1], HEADER, format="png")
    assert messages.decode(messages.COMPRESSED_IMAGE, grey).format == "mono8; png compressed mono8"
    np.testing.assert_array_equal(decode_picture(messages.COMPRESSED_IMAGE, grey)[0], np.dstack([SMOOTH[..., 1]] * 3))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"format": "gif"}, "image format is 'gif', expected jpeg or png"),
        ({"quality": 0}, "JPEG quality is 0, expected 1 to 100"),
        ({"quality": 101}, "JPEG quality is 101"),
    ],
)
def test_settings_of_compression_are_checked(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        compressed_bytes(NOISE, HEADER, **options)


def test_pictures_come_of_two_kinds_of_message() -> None:
    with pytest.raises(ConfigError, match="found sensor_msgs/msg/CameraInfo: give another topic"):
        decode_picture(messages.CAMERA_INFO, b"")


@pytest.mark.parametrize("text", ["png", "PNG", "", "jpeg", "bgr8; png compressed bgr8", "rgb8; png compressed bgr8"])
def test_a_compressed_picture_is_what_its_data_is_whatever_the_format_says(text: str) -> None:
    np.testing.assert_array_equal(compressed_picture(compressed(encoded(NOISE), text)), NOISE)


def test_compressed_grey_transparent_16_bit_and_exchanged_colours() -> None:
    grey = compressed_picture(compressed(encoded(NOISE[..., 0]), "mono8; png compressed "))
    np.testing.assert_array_equal(grey, np.dstack([NOISE[..., 0]] * 3))
    clear = np.dstack((NOISE, NOISE[..., 0]))
    np.testing.assert_array_equal(compressed_picture(compressed(encoded(clear), "bgra8; png compressed bgr8")), NOISE)
    deep = NOISE.astype(np.uint16) * 256 + 255
    np.testing.assert_array_equal(compressed_picture(compressed(encoded(deep), "bgr16; png compressed bgr16")), NOISE)
    swapped = compressed_picture(compressed(encoded(NOISE), "rgb8; png compressed rgb8"))
    np.testing.assert_array_equal(swapped, NOISE[..., ::-1])
    assert swapped.flags.c_contiguous


def test_a_mosaic_compressed_as_grey_is_interpolated_and_one_that_was_before_is_not() -> None:
    mosaic = np.tile(np.array([[200, 100], [100, 10]], np.uint8), (4, 4))
    image = compressed_picture(compressed(encoded(mosaic), "bayer_rggb8; png compressed "))
    assert image.shape == (8, 8, 3) and (image == (10, 100, 200)).all()
    done = compressed_picture(compressed(encoded(NOISE), "bayer_rggb8; png compressed bgr8"))
    np.testing.assert_array_equal(done, NOISE)


def test_exif_does_not_turn_a_picture_away_from_its_calibration() -> None:
    exif = b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0"  # orientation 6: a quarter turn
    plain = encoded(SMOOTH, ".jpg")
    turned = plain[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + plain[2:]
    assert cv2.imdecode(np.frombuffer(turned, np.uint8), cv2.IMREAD_COLOR).shape == (64, 48, 3)
    assert compressed_picture(compressed(turned, "jpeg")).shape == (48, 64, 3)


def test_a_jpeg_may_be_progressive_have_fill_bytes_and_its_tables_first() -> None:
    plain = encoded(SMOOTH, ".jpg")
    expected = compressed_picture(compressed(plain, "jpeg"))
    progressive = bytes(cv2.imencode(".jpg", SMOOTH, [cv2.IMWRITE_JPEG_PROGRESSIVE, 1])[1])
    assert b"\xff\xc2" in progressive
    np.testing.assert_array_equal(compressed_picture(compressed(progressive, "jpeg")), expected)
    frame, tables, scan = (plain.index(marker) for marker in (b"\xff\xc0", b"\xff\xc4", b"\xff\xda"))
    assert frame < tables < scan
    reordered = plain[:frame] + b"\xff" + plain[tables:scan] + plain[frame:tables] + plain[scan:]
    np.testing.assert_array_equal(compressed_picture(compressed(reordered, "jpeg")), expected)
    head = reordered.index(b"\xff\xc0") + 5
    large = reordered[:head] + struct.pack(">HH", 20_000, 30_000) + reordered[head + 4 :]
    with pytest.raises(BadMessage, match="claims 20000x30000 pixels"):
        compressed_picture(compressed(large, "jpeg"))
