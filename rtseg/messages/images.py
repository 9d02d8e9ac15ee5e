"""Pictures of ROS messages: sensor_msgs/Image and CompressedImage to BGR, and pictures to messages.

Whatever is wrong with a message is a BadMessage, found before memory is taken for the picture that it claims to be.
"""

from __future__ import annotations

import struct
import zlib
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from rtseg.errors import ConfigError, SourceError, nearest
from rtseg.frame import Header, Image
from rtseg.image_file import cut_off, quiet
from rtseg.messages import records as messages
from rtseg.messages.encodings import ENCODINGS

__all__ = [
    "ENCODINGS",
    "BadMessage",
    "compressed_bytes",
    "compressed_picture",
    "decode_picture",
    "image_bytes",
    "picture",
]


class BadMessage(SourceError):
    """A message that holds no usable picture.

    `kind` is a few words that stay the same for all messages of one fault, to count and to throttle logs by.
    """

    def __init__(self, kind: str, text: str) -> None:
        super().__init__(text)
        self.kind = kind


JPEG, PNG = b"\xff\xd8", b"\x89PNG\r\n\x1a\n"
MOST_PIXELS = 1 << 26
"""Of a compressed picture, so that a few damaged bytes in its head do not exhaust memory: 201 MB of BGR."""


def picture(message: Any) -> Image:
    """The picture of a sensor_msgs/Image, a view of its data where that is packed bgr8.

    Any `step` that holds a row will do, and data may be longer than step * height (an NV12 or NV21 picture is half as
    many rows again, interleaved chroma of the same step; NV24 as many again, each of two steps). `is_bigendian` means
    nothing for one-byte numbers, drivers set it at will, and like `cv_bridge` this ignores it for them; big-endian
    numbers of two bytes are refused. Errors: BadMessage.
    """
    height, width, step, name = int(message.height), int(message.width), int(message.step), str(message.encoding)
    encoding = ENCODINGS.get(name)
    if encoding is None:
        raise BadMessage("unknown encoding", f"image encoding {_quoted(name)} is unknown: {nearest(name, ENCODINGS)}")
    found = f"{name} image of {height}x{width}"
    if height < 1 or width < 1:
        raise BadMessage("zero size", f"{found} (height x width): it has no pixels, check its publisher")
    if encoding.bits == 16 and message.is_bigendian:
        raise BadMessage("big-endian", f"{found} is big-endian: publish it as little-endian, or with 8 bits")
    if height % encoding.multiple[0] or width % encoding.multiple[1]:
        sides = "width" if encoding.multiple[0] == 1 else "height and width"
        raise BadMessage("odd size", f"{found}: its {sides} must be even, as neighbours share their colour")
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
    `compressed rgb8` has red and blue exchanged back. Of 16 bits (PNG) the upper eight are kept. Errors: BadMessage;
    a JPEG damaged in the middle goes unnoticed, as decoders conceal it.
    """
    text = str(message.format)
    found = f"compressed image of format {_quoted(text)}"
    original, _, codec = (part.strip() for part in text.partition(";"))
    if "compressedDepth" in text:
        raise BadMessage("unknown encoding", f"{found} is depth: give the camera's picture")
    data = np.frombuffer(message.data, np.uint8)
    if not data.size:
        raise BadMessage("short data", f"{found} has no data, check its publisher")
    content = data.tobytes()
    if not content.startswith((JPEG, PNG)):
        raise BadMessage("unknown encoding", f"{found} is neither JPEG nor PNG: send those")
    if cut_off(content):
        raise BadMessage("damaged picture", f"{found} is cut off after {data.size} bytes")
    height, width = _claimed_size(content)
    if not 0 < height * width <= MOST_PIXELS:
        raise BadMessage(
            "damaged picture", f"{found} claims {height}x{width} pixels, expected {MOST_PIXELS} at most: it is damaged"
        )
    if content.startswith(PNG) and not _sound_png(memoryview(content)):
        raise BadMessage("damaged picture", f"{found} has a chunk that does not match its checksum: it is damaged")
    mosaic = ENCODINGS.get(original) if original.startswith("bayer_") and not codec.endswith(("bgr8", "rgb8")) else None
    flags = cv2.IMREAD_GRAYSCALE if mosaic else cv2.IMREAD_COLOR
    try:
        with quiet():
            image = cv2.imdecode(data, flags | cv2.IMREAD_IGNORE_ORIENTATION)
    except cv2.error:
        image = None
    if image is None or not image.size or (mosaic and min(image.shape) < mosaic.least):
        raise BadMessage("damaged picture", f"{found} cannot be decoded: it is damaged")
    if mosaic:
        return mosaic.convert(image)
    if "compressed rgb" in codec:
        image = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    return np.ascontiguousarray(image, np.uint8)


def _quoted(text: str) -> str:
    """A word of a message for an error's one line, whatever it holds."""
    return repr(text if len(text) <= 60 else text[:60] + "…")


def _claimed_size(content: bytes) -> tuple[int, int]:
    """(height, width) that the head of a PNG or JPEG says; (0, 0) where it says none."""
    try:
        if content.startswith(PNG):
            width, height = struct.unpack_from(">II", content, 16)
            return height, width
        at = 2
        while content[at] == 0xFF:
            marker = content[at + 1]
            if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):  # a start of frame, none of the tables
                height, width = struct.unpack_from(">HH", content, at + 5)
                return height, width
            # 0xFF may be repeated before a marker; anything else has its length after it.
            at += 1 if marker == 0xFF else 2 + struct.unpack_from(">H", content, at + 2)[0]
    except (IndexError, struct.error):
        pass
    return 0, 0


def _sound_png(content: memoryview) -> bool:
    """Whether all chunks of a PNG are as they were written; OpenCV takes memory for any length that one claims."""
    at = len(PNG)
    while at + 12 <= len(content):
        end = at + 12 + int.from_bytes(content[at : at + 4], "big")
        if end > len(content) or zlib.crc32(content[at + 4 : end - 4]) != int.from_bytes(content[end - 4 : end], "big"):
            return False
        if bytes(content[at + 4 : at + 8]) == b"IEND":
            return True
        at = end
    return False


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
    except messages.SerdeError as exc:
        raise BadMessage("not a message", f"{len(data)} bytes are not a {kind}: {exc}") from exc
    nanosec = int(message.header.stamp.nanosec)
    if nanosec >= messages.NANO:  # with a large sec it would be no stamp of a message that could be made again
        raise BadMessage("bad stamp", f"{kind} has a stamp of {nanosec} nanoseconds within its second: it is damaged")
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
