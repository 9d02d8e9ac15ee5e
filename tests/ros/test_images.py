"""Messages to pictures and back: what is damaged is named, whatever the bytes are, and ROS reads what is written."""

from __future__ import annotations

import struct
import tracemalloc
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rtseg.errors import ConfigError
from rtseg.frame import Header
from rtseg.ros import messages
from rtseg.ros.images import (
    BadMessage,
    compressed_bytes,
    compressed_picture,
    decode_picture,
    image_bytes,
    picture,
)
from tests.ros.real import assert_ros_writes_the_same, ros_message
from tests.ros.test_encodings import image_message

HEADER = Header("/camera", 5_000_000_007, "cam", 6)
NOISE = np.random.default_rng(3).integers(0, 256, (12, 16, 3), np.uint8)
SMOOTH = cv2.resize(NOISE[:3, :4], (64, 48), interpolation=cv2.INTER_CUBIC)
KINDS = (messages.IMAGE, messages.COMPRESSED_IMAGE)


def compressed(content: bytes, text: str) -> Any:
    data = np.frombuffer(content, np.uint8)
    return messages.build(messages.COMPRESSED_IMAGE, header=messages.header(1, "c"), format=text, data=data)


def encoded(image: Any, suffix: str = ".png") -> bytes:
    return bytes(cv2.imencode(suffix, image)[1].tobytes())


@pytest.mark.parametrize(
    ("encoding", "size", "step", "length", "big_endian", "kind", "said"),
    [
        ("bgr8", (4, 5), 15, 59, 0, "short data", "bgr8 image of 4x5 has 59 bytes of data, expected 60 (step 15 x 4"),
        ("bgr8", (4, 5), 20, 60, 0, "short data", "expected 80 (step 20 x 4 rows)"),
        ("bgr8", (4, 5), 15, 0, 0, "short data", "has 0 bytes of data"),
        ("nv12", (4, 6), 6, 35, 0, "short data", "has 35 bytes of data, expected 36 (step 6 x 6 rows)"),
        ("nv24", (4, 6), 6, 71, 0, "short data", "expected 72 (step 6 x 12 rows)"),
        ("bgr8", (4, 5), 14, 60, 0, "wrong step", "bgr8 image of 4x5 has step 14, expected 15 or more"),
        ("yuyv", (4, 6), 6, 60, 0, "wrong step", "has step 6, expected 12 or more"),
        ("mono16", (4, 5), 0, 60, 0, "wrong step", "has step 0, expected 10 or more"),
        ("bgr8", (0, 5), 15, 60, 0, "zero size", "bgr8 image of 0x5 (height x width): it has no pixels"),
        ("bgr8", (4, 0), 15, 60, 0, "zero size", "bgr8 image of 4x0"),
        ("bgr9", (4, 5), 15, 60, 0, "unknown encoding", "image encoding 'bgr9' is unknown: did you mean 'bgr8'?"),
        ("", (4, 5), 15, 60, 0, "unknown encoding", "image encoding '' is unknown: (choices: bgr8, rgb8,"),
        ("32FC1", (4, 5), 20, 80, 0, "unknown encoding", "image encoding '32FC1' is unknown"),
        ("\n" * 500, (4, 5), 20, 80, 0, "unknown encoding", "\\n\\n…' is unknown"),
        ("mono16", (4, 5), 10, 40, 1, "big-endian", "mono16 image of 4x5 is big-endian: publish it as little-endian"),
        ("uyvy", (4, 5), 10, 40, 0, "odd size", "uyvy image of 4x5: its width is odd"),
        ("nv21", (5, 4), 4, 32, 0, "odd size", "nv21 image of 5x4: its height and width are odd"),
        ("bayer_rggb8", (2, 4), 4, 8, 0, "odd size", "too small to make colours of, expected 3 pixels or more"),
        ("mono8", (2**32 - 1, 2**32 - 1), 2**32 - 1, 9, 0, "short data", "has 9 bytes of data, expected 184467440"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_an_image_is_said_in_one_line_before_memory_is_taken(
    encoding: str, size: tuple[int, int], step: int, length: int, big_endian: int, kind: str, said: str
) -> None:
    message = image_message(encoding, np.zeros(length, np.uint8), step, size, big_endian)
    tracemalloc.start()
    with pytest.raises(BadMessage) as caught:
        picture(message)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert caught.value.kind == kind
    assert said in str(caught.value) and "\n" not in str(caught.value)
    assert peak < 1_000_000


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


def claiming(content: bytes, height: int, width: int) -> bytes:
    """A JPEG or PNG with another size in its head."""
    if content.startswith(b"\x89PNG"):
        return content[:16] + struct.pack(">II", width, height) + content[24:]
    at = content.index(b"\xff\xc0") + 5
    return content[:at] + struct.pack(">HH", height, width) + content[at + 4 :]


@pytest.mark.parametrize("suffix", [".jpg", ".png"])
def test_what_is_wrong_with_a_compressed_image_is_said_in_one_line(suffix: str) -> None:
    content = encoded(SMOOTH, suffix)
    cases: list[tuple[bytes, str, str, str]] = [
        (b"", "jpeg", "short data", "compressed image of format 'jpeg' has no data"),
        (content, "16UC1; compressedDepth png", "unknown encoding", "is depth: give the camera's picture"),
        (b"RIFF" + content, "webp", "unknown encoding", "of format 'webp' is neither JPEG nor PNG"),
        (content[:-20], "x" * 999, "damaged picture", f"is cut off after {len(content) - 20} bytes"),
        (claiming(content, 20_000, 20_000), "a\nb", "damaged picture", r"'a\nb' claims 20000x20000 pixels"),
        (claiming(content, 0, 64), "jpeg", "damaged picture", "claims 0x64 pixels"),
        (content[:2], "", "damaged picture", "''"),
        (content[:8] + content[-12:], "", "damaged picture", "claims "),
    ]
    for data, text, kind, said in cases[: -2 if suffix == ".png" else None]:
        with pytest.raises(BadMessage) as caught:
            compressed_picture(compressed(data, text))
        assert caught.value.kind == kind
        assert said in str(caught.value) and "\n" not in str(caught.value) and len(str(caught.value)) < 200


def test_a_png_damaged_in_the_middle_is_refused() -> None:
    content = bytearray(encoded(SMOOTH))
    content[len(content) // 2] ^= 0xFF
    with pytest.raises(BadMessage, match="cannot be decoded: it is damaged") as caught:
        compressed_picture(compressed(bytes(content), "png"))
    assert caught.value.kind == "damaged picture"


WHOLE = {
    messages.IMAGE: (
        image_bytes(NOISE, HEADER),
        messages.encode(messages.IMAGE, image_message("nv12", np.zeros(96, np.uint8), 8, (8, 8))),
    ),
    messages.COMPRESSED_IMAGE: (
        compressed_bytes(SMOOTH, HEADER),
        compressed_bytes(NOISE, HEADER, format="png"),
        messages.encode(messages.COMPRESSED_IMAGE, compressed(encoded(NOISE[..., 0]), "bayer_bggr8; png compressed ")),
    ),
}


def decoded_or_bad(kind: str, data: bytes) -> str:
    try:
        image, stamp, frame_id = decode_picture(kind, data)
    except BadMessage as exc:
        return exc.kind
    assert image.ndim == 3 and image.shape[2] == 3 and image.dtype == np.uint8 and image.flags.c_contiguous
    assert isinstance(stamp, int) and isinstance(frame_id, str)
    return "decoded"


@settings(max_examples=300, deadline=None)
@given(kind=st.sampled_from(KINDS), data=st.binary(max_size=200), plausible=st.booleans())
def test_any_bytes_are_a_picture_or_a_bad_message(kind: str, data: bytes, plausible: bool) -> None:
    decoded_or_bad(kind, b"\x00\x01\x00\x00" + data if plausible else data)


@settings(max_examples=300, deadline=None)
@given(data=st.data(), kind=st.sampled_from(KINDS))
def test_a_changed_message_is_a_picture_or_a_bad_message(data: Any, kind: str) -> None:
    changed = bytearray(data.draw(st.sampled_from(WHOLE[kind])))
    # Most changes where the fields and the picture's head are.
    places = st.one_of(st.integers(0, 100), st.integers(0, len(changed) - 1))
    for at, value in data.draw(st.lists(st.tuples(places, st.integers(0, 255)), max_size=4)):
        changed[min(at, len(changed) - 1)] = value
    decoded_or_bad(kind, bytes(changed))


@pytest.mark.parametrize("kind", KINDS)
def test_a_message_cut_anywhere_is_a_bad_message(kind: str) -> None:
    for whole in WHOLE[kind]:
        for length in {*range(0, len(whole), 7), *range(len(whole) - 20, len(whole))}:
            assert decoded_or_bad(kind, whole[:length]) == "not a message", length
        assert decoded_or_bad(kind, whole) == "decoded"
