"""What the sinks of viewers share: addresses, the time and the name of a frame's camera, compressed pictures."""

from __future__ import annotations

import re
import socket

import cv2

from rtseg.errors import ConfigError, SinkError
from rtseg.frame import Frame, Image
from rtseg.sinks._encoding import encoder_flags

__all__ = ["bracketed", "host_and_port", "jpeg", "listening", "name_of", "png", "time_of"]

CAMERA = "/camera"
"""What the camera of frames that came by no topic is called."""
ADDRESS = re.compile(r"(?P<only>\d+)|(?P<host>\[[0-9A-Fa-f:.%]+\]|[^\s:/\[\]]+)(?::(?P<port>\d+))?")


def host_and_port(text: str, port: int, what: str) -> tuple[str, int]:
    """The host and port of `HOST:PORT`, `HOST`, `PORT` or nothing, which is this machine and the given `port`.

    IPv6 addresses stand in brackets, and lose them. `what` names the output in messages. Errors: ConfigError.
    """
    if not text:
        return "127.0.0.1", port
    match = ADDRESS.fullmatch(text)
    if match is None:
        raise ConfigError(f"{what}: write the address as HOST:PORT, HOST or PORT")
    number = int(match["only"] or match["port"] or port)
    if not 1 <= number <= 65535:
        raise ConfigError(f"{what}: port {number} is not between 1 and 65535")
    return (match["host"] or "127.0.0.1").strip("[]"), number


def bracketed(host: str) -> str:
    """A host as it stands before a colon and a port."""
    return f"[{host}]" if ":" in host else host


def listening(host: str, port: int) -> bool:
    """Whether something accepts connections there."""
    try:
        socket.create_connection((host, port), 3.0).close()
    except OSError:
        return False
    return True


def time_of(frame: Frame) -> int:
    """When the frame was taken, in nanoseconds since 1970.

    A bag's or robot's own log time, else the source's wall clock, else this machine's when the frame was in hand.
    """
    if frame.header is not None:
        return frame.header.log_time_ns
    if frame.stamp is not None:
        return round(frame.stamp * 1e9)
    return frame.wall_ns


def name_of(frame: Frame) -> str:
    """The topic that brought the frame, beginning with a slash; `/camera` where none did."""
    return CAMERA if frame.header is None else "/" + frame.header.topic.strip("/")


def jpeg(image: Image, quality: int) -> bytes:
    """A picture as JPEG. Errors: SinkError for a size that JPEG does not have."""
    return _encoded(".jpg", image, quality)


def png(image: Image) -> bytes:
    """A picture as PNG, which keeps every value."""
    return _encoded(".png", image)


def _encoded(suffix: str, image: Image, quality: int = 100) -> bytes:
    try:
        done, data = cv2.imencode(suffix, image, encoder_flags(suffix, quality))
    except cv2.error:
        done = False
    if not done:
        raise SinkError(f"cannot send a picture of {image.shape[1]}x{image.shape[0]} as {suffix[1:]}: it is too large")
    return bytes(data.data)
