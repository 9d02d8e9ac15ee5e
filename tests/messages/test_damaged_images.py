"""Damaged messages: what is wrong is named in one line, whatever the bytes are, and before memory is taken for it."""

from __future__ import annotations

import struct
import tracemalloc
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rtseg.frame import Header
from rtseg.messages import records as messages
from rtseg.messages.images import BadMessage, compressed_bytes, compressed_picture, decode_picture, image_bytes, picture
from tests.messages.test_encodings import image_message
from tests.messages.test_images import HEADER, NOISE, SMOOTH, compressed, encoded

KINDS = (messages.IMAGE, messages.COMPRESSED_IMAGE)


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
        ("uyvy", (4, 5), 10, 40, 0, "odd size", "uyvy image of 4x5: its width must be even"),
        ("nv21", (5, 4), 4, 32, 0, "odd size", "nv21 image of 5x4: its height and width must be even"),
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


@pytest.mark.parametrize("damage", ["pixels", "length"])
def test_a_png_damaged_in_the_middle_is_refused(damage: str) -> None:
    content = bytearray(encoded(SMOOTH))
    at = len(content) // 2
    if damage == "length":  # for which OpenCV would take two gigabytes
        at = content.index(b"IDAT") - 4
        assert content[at] == 0
    content[at] ^= 0x7F
    with pytest.raises(BadMessage, match="has a chunk that does not match its checksum: it is damaged") as caught:
        compressed_picture(compressed(bytes(content), "png"))
    assert caught.value.kind == "damaged picture"


def test_a_png_of_sound_chunks_that_is_no_picture_is_refused() -> None:
    content = encoded(SMOOTH)
    nothing = content[:33] + content[-12:]  # its head and its end
    with pytest.raises(BadMessage, match="cannot be decoded: it is damaged") as caught:
        compressed_picture(compressed(nothing, "png"))
    assert caught.value.kind == "damaged picture"


def test_a_compressed_mosaic_too_small_to_make_colours_of_is_refused() -> None:
    content = encoded(np.full((2, 8), 9, np.uint8))
    assert compressed_picture(compressed(content, "mono8; png compressed ")).shape == (2, 8, 3)
    with pytest.raises(BadMessage, match="cannot be decoded"):
        compressed_picture(compressed(content, "bayer_rggb8; png compressed "))


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
def test_a_stamp_is_kept_to_its_limits_and_refused_beyond_them(kind: str) -> None:
    for sec, nanosec in ((2**31 - 1, 999_999_999), (-(2**31), 0), (-1, 999_999_999)):
        _, stamp, frame_id = decode_picture(kind, stamped(kind, sec, nanosec))
        again = messages.decode(messages.IMAGE, image_bytes(NOISE, Header("", stamp, frame_id, stamp)))
        assert (again.header.stamp.sec, again.header.stamp.nanosec) == (sec, nanosec)
    for sec, nanosec in ((5, 10**9), (2**31 - 1, 2**32 - 1)):
        with pytest.raises(BadMessage, match=rf"{kind} has a stamp of {nanosec} nanoseconds within its second"):
            decode_picture(kind, stamped(kind, sec, nanosec))


def stamped(kind: str, sec: int, nanosec: int) -> bytes:
    """A sound message with this stamp."""
    return WHOLE[kind][0][:4] + struct.pack("<iI", sec, nanosec) + WHOLE[kind][0][12:]


@pytest.mark.parametrize("kind", KINDS)
def test_a_message_cut_anywhere_is_a_bad_message(kind: str) -> None:
    for whole in WHOLE[kind]:
        for length in {*range(0, len(whole), 7), *range(len(whole) - 20, len(whole))}:
            assert decoded_or_bad(kind, whole[:length]) == "not a message", length
        assert decoded_or_bad(kind, whole) == "decoded"
