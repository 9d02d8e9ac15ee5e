"""Video encoders by the names that people type, with settings made for real time."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from typing import Any

import av

from rtseg.errors import ConfigError, SinkError, nearest

__all__ = ["CODECS", "FORMATS", "Encoder", "choose_encoder", "encoder_options", "parse_bitrate"]


@dataclass(frozen=True, slots=True)
class Encoder:
    """An FFmpeg encoder: its name, the pixel format that is written, and options by default."""

    name: str
    options: dict[str, str] = field(default_factory=dict)
    pixels: str = "yuv420p"


QUANTISER_3 = {"flags": "+qscale", "global_quality": str(3 * 118)}
"""A constant, fine quantizer (FFmpeg counts in units of 118) for encoders that have no crf."""

CODECS = {
    # The least effort: at 1080p veryfast takes three times the processor time, which the network then lacks.
    "h264": Encoder("libx264", {"preset": "ultrafast", "crf": "20"}),
    "hevc": Encoder("libx265", {"preset": "veryfast", "crf": "24", "x265-params": "log-level=error"}),
    "vp9": Encoder("libvpx-vp9", {"crf": "32", "b": "0", "deadline": "realtime", "cpu-used": "8", "row-mt": "1"}),
    "av1": Encoder("libsvtav1", {"preset": "8", "crf": "32"}),
    "mpeg4": Encoder("mpeg4", QUANTISER_3),
    "mjpeg": Encoder("mjpeg", QUANTISER_3, "yuvj420p"),
    "ffv1": Encoder("ffv1", {}, "bgr0"),
}
ALIASES = {"avc": "h264", "h265": "hevc", "libx264": "h264", "libx265": "hevc", "libvpx-vp9": "vp9", "libsvtav1": "av1"}
FORMATS = {
    ".mp4": ("mp4", "h264"),
    ".m4v": ("mp4", "h264"),
    ".mov": ("mov", "h264"),
    ".mkv": ("matroska", "h264"),
    ".webm": ("webm", "vp9"),
    ".avi": ("avi", "mpeg4"),
    ".ts": ("mpegts", "h264"),
}
"""FFmpeg's muxer and the codec by default for each suffix."""


def choose_encoder(codec: str) -> Encoder:
    """The encoder for a codec's name or for any FFmpeg encoder's (`h264_nvenc`). Errors: SinkError with the choices."""
    encoder = CODECS.get(ALIASES.get(codec.lower(), codec.lower())) or Encoder(codec)
    try:
        known = av.Codec(encoder.name, "w")
    except ValueError:
        known = None
    if encoder.name == "libsvtav1":
        os.environ.setdefault("SVT_LOG", "1")  # it writes a page about itself to stderr otherwise
    if known is None or known.type != "video":
        there = [name for name, choice in CODECS.items() if choice.name in av.codecs_available]
        raise SinkError(f"no video encoder '{codec}' in this FFmpeg: {nearest(codec, there)}")
    return encoder


def parse_bitrate(bitrate: Any) -> int:
    """Bits per second from a number or `800k`, `4M`. Errors: ConfigError."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([kKmM]?)", str(bitrate).strip())
    value = round(float(match[1]) * {"": 1, "k": 1e3, "m": 1e6}[match[2].lower()]) if match else 0
    if value < 1000:
        raise ConfigError(f"bitrate '{bitrate}' is not a number of bits per second: use for example 800k or 4M")
    return value


def encoder_options(encoder: Encoder, crf: Any, bitrate: int | None, preset: str | None) -> dict[str, str]:
    """The encoder's options with the user's choices. Errors: ConfigError for one that the encoder does not have."""
    options = dict(encoder.options)
    table = {choice.name: choice.options for choice in CODECS.values()}
    for name, value in (("crf", crf), ("preset", preset)):
        if value is None:
            continue
        # An encoder that is not in the table has its options passed on as they are.
        if name not in table.get(encoder.name, {name: ""}):
            raise ConfigError(f"option '{name}' does not apply to video encoder {encoder.name}")
        options[name] = str(value)
    if crf is not None and not re.fullmatch(r"\d+(\.\d+)?", str(crf)):
        raise ConfigError(f"crf '{crf}' is not a number: use for example 18 (finer) to 28 (smaller)")
    if bitrate is not None:
        if crf is not None:
            raise ConfigError("options 'crf' and 'bitrate' exclude each other: give one of them")
        for name in ("crf", "flags", "global_quality"):
            options.pop(name, None)
        options["b"] = str(bitrate)
    return options
