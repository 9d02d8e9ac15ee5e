"""Every encoding against an independent computation in float64, packed and with padded rows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from rtseg.messages import records as messages
from rtseg.messages.encodings import ENCODINGS
from rtseg.messages.images import picture

SIZE = HEIGHT, WIDTH = 6, 8
Rows = NDArray[np.uint8]
Floats = NDArray[np.float64]


def image_message(encoding: str, data: Any, step: int, size: tuple[int, int] = SIZE, big_endian: int = 0) -> Any:
    return messages.build(
        messages.IMAGE,
        header=messages.header(1, "camera"),
        height=size[0],
        width=size[1],
        encoding=encoding,
        is_bigendian=big_endian,
        step=step,
        data=data,
    )


def random_rows(encoding: str) -> Rows:
    row = WIDTH * ENCODINGS[encoding].channels * ENCODINGS[encoding].bits // 8
    return np.random.default_rng(7).integers(0, 256, (HEIGHT * ENCODINGS[encoding].rows // 2, row), np.uint8)


def bgr_of_yuv(luma: Rows, blue: Rows, red: Rows) -> Floats:
    """BT.601 of limited range from Kr = 0.299 and Kb = 0.114; luma below black is black, as OpenCV has it."""
    luma = np.maximum(luma, 16)
    y, pb, pr = (luma - 16.0) / 219, (blue - 128.0) / 224, (red - 128.0) / 224
    b, r = y + 2 * (1 - 0.114) * pb, y + 2 * (1 - 0.299) * pr
    g = (y - 0.114 * b - 0.299 * r) / 0.587
    return np.clip(np.dstack((b, g, r)) * 255, 0, 255)


def packed_422(first_luma: int, first_chroma: int) -> Callable[[Rows], Floats]:
    def compute(rows: Rows) -> Floats:
        blue, red = rows[:, first_chroma::4], rows[:, first_chroma + 2 :: 4]
        return bgr_of_yuv(rows[:, first_luma::2], blue.repeat(2, 1), red.repeat(2, 1))

    return compute


def planar(first: int, scale: int) -> Callable[[Rows], Floats]:
    """Luma, then chroma in pairs, of which `first` says where blue is; each pair colours scale x scale pixels."""

    def compute(rows: Rows) -> Floats:
        chroma = rows[HEIGHT:].reshape(HEIGHT // scale, WIDTH // scale, 2)
        chroma = chroma.repeat(scale, 0).repeat(scale, 1)
        return bgr_of_yuv(rows[:HEIGHT], chroma[..., first], chroma[..., 1 - first])

    return compute


def channels(*order: int, count: int) -> Callable[[Rows], Floats]:
    return lambda rows: rows.reshape(HEIGHT, WIDTH, count)[..., list(order)].astype(float)


def grey(rows: Rows) -> Floats:
    return np.dstack([rows.astype(float)] * 3)


def grey_16(rows: Rows) -> Floats:
    return grey((rows[:, ::2] + 256.0 * rows[:, 1::2]) * 255 / 65535)


ROUNDED = 0.6
"""By how much OpenCV's whole-number arithmetic may differ."""
# By name: what BGR is, and how near to it a picture must be.
EXPECTED: dict[str, tuple[Callable[[Rows], Floats], float]] = {
    "bgr8": (channels(0, 1, 2, count=3), 0),
    "8UC3": (channels(0, 1, 2, count=3), 0),
    "rgb8": (channels(2, 1, 0, count=3), 0),
    "bgra8": (channels(0, 1, 2, count=4), 0),
    "8UC4": (channels(0, 1, 2, count=4), 0),
    "rgba8": (channels(2, 1, 0, count=4), 0),
    "mono8": (grey, 0),
    "8UC1": (grey, 0),
    "mono16": (grey_16, 0.5),
    "16UC1": (grey_16, 0.5),
    "yuv422": (packed_422(1, 0), ROUNDED),
    "uyvy": (packed_422(1, 0), ROUNDED),
    "yuv422_yuy2": (packed_422(0, 1), ROUNDED),
    "yuyv": (packed_422(0, 1), ROUNDED),
    "nv12": (planar(0, 2), ROUNDED),
    "nv21": (planar(1, 2), ROUNDED),
    "nv24": (planar(0, 1), 0.501),
}
BAYER = ("bayer_rggb8", "bayer_bggr8", "bayer_gbrg8", "bayer_grbg8")


def test_every_encoding_is_tested() -> None:
    assert {*EXPECTED, *BAYER} == set(ENCODINGS)


@pytest.mark.parametrize("encoding", EXPECTED)
def test_picture_is_what_the_encoding_says(encoding: str) -> None:
    compute, tolerance = EXPECTED[encoding]
    rows = random_rows(encoding)
    image = picture(image_message(encoding, rows.reshape(-1), rows.shape[1]))
    assert image.shape == (*SIZE, 3) and image.dtype == np.uint8 and image.flags.c_contiguous
    assert np.abs(image - compute(rows)).max() <= tolerance


@pytest.mark.parametrize("encoding", BAYER)
def test_a_bayer_pattern_is_interpolated_from_the_corner_that_its_name_says(encoding: str) -> None:
    rows = random_rows(encoding)
    pattern = encoding.removeprefix("bayer_").removesuffix("8")
    expected = np.zeros((HEIGHT, WIDTH, 3))
    for y in range(1, HEIGHT - 1):
        for x in range(1, WIDTH - 1):
            for channel, colour in enumerate("bgr"):
                # The mean of the colour's samples around a pixel, or the pixel's own sample.
                near = [(y, x)] if pattern[y % 2 * 2 + x % 2] == colour else [
                    (i, j) for i in (y - 1, y, y + 1) for j in (x - 1, x, x + 1) if pattern[i % 2 * 2 + j % 2] == colour
                ]  # fmt: skip
                if colour == "g" and len(near) > 1:
                    near = [(i, j) for i, j in near if abs(i - y) + abs(j - x) == 1]
                expected[y, x, channel] = np.mean([float(rows[at]) for at in near])
    image = picture(image_message(encoding, rows.reshape(-1), WIDTH))
    assert np.abs(image[1:-1, 1:-1] - expected[1:-1, 1:-1]).max() <= 0.5


@pytest.mark.parametrize("encoding", BAYER)
@pytest.mark.parametrize("size", [(3, 3), (4, 4), (5, 8)])
def test_a_plain_colour_behind_a_bayer_pattern_reaches_the_edges(encoding: str, size: tuple[int, int]) -> None:
    colours = {"b": 10, "g": 100, "r": 200}
    values = np.array([colours[letter] for letter in encoding[6:10]], np.uint8).reshape(2, 2)
    mosaic = np.tile(values, (4, 4))[: size[0], : size[1]]
    image = picture(image_message(encoding, mosaic.reshape(-1), size[1], size))
    assert (image == (10, 100, 200)).all()


@pytest.mark.parametrize("padding", [1, 2, 5, 64])
@pytest.mark.parametrize("encoding", ENCODINGS)
def test_bytes_after_each_row_and_after_the_last_are_passed_over(encoding: str, padding: int) -> None:
    rows = random_rows(encoding)
    packed = picture(image_message(encoding, rows.reshape(-1), rows.shape[1]))
    step = rows.shape[1] + padding
    data = np.random.default_rng(8).integers(0, 256, step * len(rows) + 11, np.uint8)
    padded = data[:-11].reshape(len(rows), step)
    if encoding == "nv24":  # whose rows of chroma are two steps long
        padded[:HEIGHT, :WIDTH] = rows[:HEIGHT]
        padded[HEIGHT:].reshape(HEIGHT, 2 * step)[:, : 2 * WIDTH] = rows[HEIGHT:].reshape(HEIGHT, 2 * WIDTH)
    else:
        padded[:, : rows.shape[1]] = rows
    data.flags.writeable = False
    image = picture(image_message(encoding, data, step))
    np.testing.assert_array_equal(image, packed)
    assert image.flags.c_contiguous


@pytest.mark.parametrize("encoding", ["mono8", "rgb8", "bgr8", "bgra8", "mono16", "nv24", "8UC1"])
@pytest.mark.parametrize("size", [(1, 1), (1, 7), (5, 1)])
def test_pictures_of_one_pixel_row_or_column(encoding: str, size: tuple[int, int]) -> None:
    kind = ENCODINGS[encoding]
    row = size[1] * kind.channels * kind.bits // 8
    data = np.full(row * size[0] * kind.rows // 2, 128, np.uint8)
    image = picture(image_message(encoding, data, row, size))
    assert image.shape == (*size, 3)
    assert (image == (130 if encoding == "nv24" else 128)).all()


def test_all_levels_of_16_bits() -> None:
    values = np.arange(65536, dtype="<u2")
    image = picture(image_message("mono16", values.view(np.uint8), 512, (256, 256)))
    np.testing.assert_array_equal(image[..., 0].reshape(-1), np.rint(values * 255.0 / 65535))


def test_packed_bgr_is_a_view_and_so_is_what_is_longer_than_it() -> None:
    data = np.arange(HEIGHT * WIDTH * 3 + 5, dtype=np.uint8)
    data.flags.writeable = False
    image = picture(image_message("bgr8", data, WIDTH * 3))
    assert np.shares_memory(image, data) and not image.flags.writeable


def test_endianness_of_one_byte_numbers_means_nothing() -> None:
    rows = random_rows("rgb8")
    plain, flagged = (picture(image_message("rgb8", rows.reshape(-1), WIDTH * 3, big_endian=flag)) for flag in (0, 1))
    np.testing.assert_array_equal(plain, flagged)
