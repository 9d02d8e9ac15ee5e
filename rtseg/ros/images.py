"""Pictures of ROS messages: sensor_msgs/Image and CompressedImage to BGR, and pictures to messages.

The conversions are OpenCV's, as `cv_bridge` uses them: YUV is BT.601 of limited range, Bayer patterns are interpolated
bilinearly, 16 bits become 8 by value * 255 / 65535. `is_bigendian` means nothing for one-byte numbers, drivers set it
at will, and it is ignored for them; two-byte numbers that are big-endian are refused.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray
from rosbags.serde.errors import SerdeError

from rtseg.errors import ConfigError, SourceError, nearest
from rtseg.frame import Header, Image
from rtseg.ros import messages
from rtseg.sources._opencv import quiet
from rtseg.sources.images import cut_off

__all__ = [
    "ENCODINGS",
    "BadMessage",
    "compressed_bytes",
    "compressed_picture",
    "decode_picture",
    "image_bytes",
    "picture",
]

Bytes = NDArray[np.uint8]


class BadMessage(SourceError):
    """A message that holds no usable picture.

    `kind` is a few words that stay the same for all messages of one fault, to count and to throttle logs by.
    """

    def __init__(self, kind: str, text: str) -> None:
        super().__init__(text)
        self.kind = kind


@dataclass(frozen=True, slots=True)
class Encoding:
    """How a row of `width` pixels lies in a message: `channels` numbers of `bits` each per pixel.

    There are height * `rows` // 2 rows of `step` bytes. `multiple` is what (height, width) must be divisible by,
    `least` what each must reach. `convert` makes BGR of the rows, an array of (rows, width * channels * bits // 8)
    bytes that may be a strided view.
    """

    channels: int
    convert: Callable[[Bytes], Image]
    bits: Literal[8, 16] = 8
    rows: int = 2
    multiple: tuple[int, int] = (1, 1)
    least: int = 1


def _by(code: int, channels: int) -> Callable[[Bytes], Image]:
    """OpenCV's conversion `code` of rows with `channels` bytes per pixel, in one pass."""

    def convert(rows: Bytes) -> Image:
        pixels = rows if channels == 1 else rows.reshape(rows.shape[0], -1, channels)
        return np.asarray(cv2.cvtColor(pixels, code), np.uint8)

    return convert


def _bgr8(rows: Bytes) -> Image:
    return np.ascontiguousarray(rows.reshape(rows.shape[0], -1, 3))


def _mono16(rows: Bytes) -> Image:
    grey = cv2.convertScaleAbs(rows.view("<u2"), alpha=255 / 65535)
    return np.asarray(cv2.cvtColor(grey, cv2.COLOR_GRAY2BGR), np.uint8)


BT601 = np.array(
    [
        [255 / 219, 2 * 0.886 * 255 / 224, 0],
        [255 / 219, -2 * 0.886 * 0.114 / 0.587 * 255 / 224, -2 * 0.701 * 0.299 / 0.587 * 255 / 224],
        [255 / 219, 0, 2 * 0.701 * 255 / 224],
    ]
)
"""BGR of (Y - 16, Cb - 128, Cr - 128), limited range (ITU-R BT.601-7, 2.5); OpenCV has no code for NV24."""
OFFSET = BT601 @ [-16.0, -128.0, -128.0]


def _nv24(rows: Bytes) -> Image:
    height, width = rows.shape[0] // 3, rows.shape[1]
    # A row of chroma is two steps long and its padding comes after both.
    shape, strides = (height, width, 2), (2 * rows.strides[0], 2, 1)
    chroma = np.lib.stride_tricks.as_strided(rows[height:], shape, strides, writeable=False)
    pixels = np.dstack((rows[:height], chroma))
    return np.asarray(cv2.transform(pixels, np.column_stack((BT601, OFFSET))), np.uint8)


_UYVY = Encoding(2, _by(cv2.COLOR_YUV2BGR_UYVY, 2), multiple=(1, 2))
_YUYV = Encoding(2, _by(cv2.COLOR_YUV2BGR_YUYV, 2), multiple=(1, 2))
_MONO8 = Encoding(1, _by(cv2.COLOR_GRAY2BGR, 1))
_MONO16 = Encoding(1, _mono16, bits=16)
_BGR8 = Encoding(3, _bgr8)
_BGRA8 = Encoding(4, _by(cv2.COLOR_BGRA2BGR, 4))


# ROS names a pattern by its first two rows from the corner, OpenCV by the second row from the second pixel.
ENCODINGS: dict[str, Encoding] = {
    "bgr8": _BGR8,
    "rgb8": Encoding(3, _by(cv2.COLOR_RGB2BGR, 3)),
    "bgra8": _BGRA8,
    "rgba8": Encoding(4, _by(cv2.COLOR_RGBA2BGR, 4)),
    "mono8": _MONO8,
    "mono16": _MONO16,
    "8UC1": _MONO8,
    "8UC3": _BGR8,
    "8UC4": _BGRA8,
    "16UC1": _MONO16,
    "yuv422": _UYVY,
    "uyvy": _UYVY,
    "yuv422_yuy2": _YUYV,
    "yuyv": _YUYV,
    "nv12": Encoding(1, _by(cv2.COLOR_YUV2BGR_NV12, 1), rows=3, multiple=(2, 2)),
    "nv21": Encoding(1, _by(cv2.COLOR_YUV2BGR_NV21, 1), rows=3, multiple=(2, 2)),
    "nv24": Encoding(1, _nv24, rows=6),
    "bayer_rggb8": Encoding(1, _by(cv2.COLOR_BayerBG2BGR, 1), least=3),
    "bayer_bggr8": Encoding(1, _by(cv2.COLOR_BayerRG2BGR, 1), least=3),
    "bayer_gbrg8": Encoding(1, _by(cv2.COLOR_BayerGR2BGR, 1), least=3),
    "bayer_grbg8": Encoding(1, _by(cv2.COLOR_BayerGB2BGR, 1), least=3),
}
"""What `picture` reads, by the names of sensor_msgs/image_encodings.hpp; 8UC3 and 8UC4 are taken as BGR and BGRA."""


def picture(message: Any) -> Image:
    """The picture of a sensor_msgs/Image, a view of its data where that is packed bgr8.

    Any `step` that holds a row will do, and data may be longer than step * height (an NV12 or NV21 picture is half as
    many rows again, interleaved chroma of the same step; NV24 as many again, each of two steps). Errors: BadMessage.
    """
    height, width, step, name = int(message.height), int(message.width), int(message.step), str(message.encoding)
    encoding = ENCODINGS.get(name)
    if encoding is None:
        raise BadMessage("unknown encoding", f"image encoding '{name}' is not supported: {nearest(name, ENCODINGS)}")
    found = f"{name} image of {height}x{width}"
    if height < 1 or width < 1:
        raise BadMessage("zero size", f"{found} (height x width): it has no pixels, check its publisher")
    if encoding.bits == 16 and message.is_bigendian:
        raise BadMessage("big-endian", f"{found} is big-endian: publish it as little-endian, or with 8 bits")
    if height % encoding.multiple[0] or width % encoding.multiple[1]:
        sides = "width is" if encoding.multiple[0] == 1 else "height and width are"
        raise BadMessage("odd size", f"{found}: its {sides} odd, but two pixels share their colour")
    if min(height, width) < encoding.least:
        raise BadMessage("odd size", f"{found}: too small to make colours of, expected {encoding.least} pixels or more")
    row = width * encoding.channels * encoding.bits // 8
    if step < row:
        raise BadMessage("wrong step", f"{found} has step {step}, expected {row} or more")
    rows = height * encoding.rows // 2
    data = np.frombuffer(message.data, np.uint8)
    if data.size < step * rows:
        raise BadMessage(
            "short data", f"{found} has {data.size} bytes of data, expected {step * rows} (step {step} x {rows} rows)"
        )
    return encoding.convert(data[: step * rows].reshape(rows, step)[:, :row])


def compressed_picture(message: Any) -> Image:
    """The picture of a sensor_msgs/CompressedImage, JPEG or PNG, whatever its format field says of them.

    Its EXIF orientation is ignored, as the camera's calibration is for pixels as they were taken. A grey picture whose
    format starts with a Bayer encoding (compressed before interpolation) is interpolated here; one that says
    `compressed rgb8` has red and blue exchanged back. Errors: BadMessage.
    """
    text = str(message.format)
    original, _, codec = (part.strip() for part in text.partition(";"))
    if "compressedDepth" in text:
        raise BadMessage("unknown encoding", f"compressed image of format '{text}' is depth: give the camera's picture")
    data = np.frombuffer(message.data, np.uint8)
    if not data.size:
        raise BadMessage("short data", f"compressed image of format '{text}' has no data, check its publisher")
    content = data.tobytes()
    if not content.startswith((b"\xff\xd8", b"\x89PNG\r\n\x1a\n")):
        raise BadMessage("unknown encoding", f"compressed image of format '{text}' is neither JPEG nor PNG: send those")
    if cut_off(content):
        raise BadMessage("damaged picture", f"compressed image of format '{text}' is cut off after {data.size} bytes")
    mosaic = ENCODINGS.get(original) if original.startswith("bayer_") and not codec.endswith(("bgr8", "rgb8")) else None
    flags = cv2.IMREAD_GRAYSCALE if mosaic else cv2.IMREAD_COLOR
    try:
        with quiet():
            image = cv2.imdecode(data, flags | cv2.IMREAD_IGNORE_ORIENTATION)
    except cv2.error:
        image = None
    if image is None or not image.size or (mosaic and min(image.shape) < mosaic.least):
        raise BadMessage("damaged picture", f"compressed image of format '{text}' cannot be decoded: it is damaged")
    if mosaic:
        return mosaic.convert(image)
    if "compressed rgb" in codec:
        image = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    return np.ascontiguousarray(image, np.uint8)


def decode_picture(kind: str, data: bytes | memoryview) -> tuple[Image, int, str]:
    """The picture, stamp in nanoseconds and frame_id of the CDR bytes of a `messages.IMAGE` or `COMPRESSED_IMAGE`.

    Errors: BadMessage, whatever the bytes are.
    """
    if kind not in (messages.IMAGE, messages.COMPRESSED_IMAGE):
        raise ConfigError(
            f"pictures are {messages.IMAGE} or {messages.COMPRESSED_IMAGE}, found {kind}: give another topic"
        )
    try:
        message = messages.decode(kind, data)
    except SerdeError as exc:
        raise BadMessage("not a message", f"{len(data)} bytes are not a {kind}: {exc}") from exc
    image = picture(message) if kind == messages.IMAGE else compressed_picture(message)
    return image, messages.stamp_ns(message), str(message.header.frame_id)


def image_bytes(array: NDArray[np.uint8], header: Header) -> bytes:
    """A sensor_msgs/Image as CDR: HW uint8 becomes mono8, HWC uint8 BGR bgr8; step is the row's bytes."""
    name = _encoding_of(array)
    height, width = array.shape[:2]
    return messages.encode_with(
        messages.IMAGE,
        np.ascontiguousarray(array),
        header=messages.header_of(header),
        height=height,
        width=width,
        encoding=name,
        is_bigendian=0,
        step=width * (3 if name == "bgr8" else 1),
    )


def compressed_bytes(
    image: NDArray[np.uint8],
    header: Header,
    *,
    format: Literal["jpeg", "png"] = "jpeg",  # noqa: A002 - the message's own word
    quality: int = 80,
) -> bytes:
    """A sensor_msgs/CompressedImage as CDR of HW uint8 or HWC uint8 BGR; `quality` 1 to 100 is JPEG's.

    The format field is image_transport's: `bgr8; jpeg compressed bgr8`. Errors: ConfigError for format or quality.
    """
    if format not in ("jpeg", "png"):
        raise ConfigError(f"image format is '{format}', expected jpeg or png")
    if not 1 <= quality <= 100:
        raise ConfigError(f"JPEG quality is {quality}, expected 1 to 100")
    name = _encoding_of(image)
    options = [cv2.IMWRITE_JPEG_QUALITY, quality] if format == "jpeg" else []
    made, content = cv2.imencode(f".{format}", image, options)
    assert made, "OpenCV encodes 8-bit pictures of one or three channels"
    return messages.encode_with(
        messages.COMPRESSED_IMAGE,
        content,
        header=messages.header_of(header),
        format=f"{name}; {format} compressed {name}",
    )


def _encoding_of(array: NDArray[np.uint8]) -> str:
    if array.dtype == np.uint8 and array.size and array.ndim in (2, 3):
        if array.ndim == 2:
            return "mono8"
        if array.shape[2] == 3:
            return "bgr8"
    raise ValueError(f"an image message is made of HW or HWx3 uint8, found {array.dtype} of {array.shape}")
