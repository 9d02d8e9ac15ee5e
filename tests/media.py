"""Makes small clips and pictures for tests, with the encoders that PyAV carries."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np

from rtseg.frame import Image

__all__ = ["number_of", "numbered", "quadrants", "write_audio", "write_clip", "write_images"]

BITS = 8
TICKS = 90_000


def numbered(index: int, size: tuple[int, int] = (64, 96)) -> Image:
    """A picture that carries its number (0 to 255) as eight black or white columns, readable after lossy coding."""
    height, width = size
    bits = (index >> (np.arange(width) * BITS // width)) & 1
    return np.ascontiguousarray(np.broadcast_to(np.where(bits, 235, 20)[None, :, None], (height, width, 3)), np.uint8)


def number_of(image: Image) -> int:
    """The number that `numbered` drew."""
    height, width = image.shape[:2]
    columns = ((np.arange(BITS) + 0.5) * width / BITS).astype(int)
    return int(sum(1 << bit for bit, x in enumerate(columns) if image[height // 2, x].mean() > 127))


def quadrants(size: tuple[int, int] = (64, 96)) -> Image:
    """Blue upper left, green upper right, red lower left, white lower right."""
    height, width = size
    image = np.empty((height, width, 3), np.uint8)
    image[: height // 2, : width // 2] = (255, 0, 0)
    image[: height // 2, width // 2 :] = (0, 255, 0)
    image[height // 2 :, : width // 2] = (0, 0, 255)
    image[height // 2 :, width // 2 :] = (255, 255, 255)
    return image


def write_clip(
    path: Path | str,
    frames: int | Sequence[Image] = 10,
    size: tuple[int, int] = (64, 96),
    *,
    codec: str = "libx264",
    fps: int = 30,
    pts: Sequence[float] | None = None,
    rotation: int = 0,
    pix_fmt: str = "yuv420p",
    options: dict[str, str] | None = None,
    container_options: dict[str, str] | None = None,
    container_format: str | None = None,
    colorspace: int | None = None,
    color_range: int | None = None,
    audio: bool = False,
) -> Path:
    """Encode `frames` (pictures, or how many numbered ones) to `path`.

    `pts` are the frames' times in seconds (default: index / fps), `rotation` the display rotation in degrees
    counter-clockwise, `colorspace` and `color_range` the FFmpeg codes (1 is BT.709, 5 BT.601; 1 limited, 2 full), with
    which the pixels are also converted. `audio` adds a silent track.
    """
    pictures = [numbered(index, size) for index in range(frames)] if isinstance(frames, int) else list(frames)
    height, width = pictures[0].shape[:2]
    with av.open(str(path), "w", format=container_format, options=container_options or {}) as container:
        stream: Any = container.add_stream(codec, rate=fps, options=options or {})
        stream.width, stream.height, stream.pix_fmt = width, height, pix_fmt
        stream.codec_context.time_base = Fraction(1, TICKS if pts is not None and codec != "mpeg4" else fps)
        if rotation:
            stream.set_display_rotation(rotation)
        conversion: dict[str, int] = {}
        if colorspace is not None:
            stream.codec_context.colorspace = colorspace
            conversion["dst_colorspace"] = colorspace
        if color_range is not None:
            stream.codec_context.color_range = color_range
            conversion["dst_color_range"] = color_range
        sound: Any = container.add_stream("aac", rate=48_000, layout="mono") if audio else None
        for index, picture in enumerate(pictures):
            frame = av.VideoFrame.from_ndarray(picture, "bgr24").reformat(format=pix_fmt, **conversion)
            seconds = Fraction(index, fps) if pts is None else Fraction(pts[index])
            frame.time_base = stream.codec_context.time_base
            frame.pts = round(seconds / frame.time_base)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
        if sound is not None:
            _silence(container, sound, len(pictures) / fps)
    return Path(path)


def write_audio(path: Path | str, seconds: float = 0.5) -> Path:
    """A file with one silent audio track and no video."""
    with av.open(str(path), "w") as container:
        _silence(container, container.add_stream("aac", rate=48_000, layout="mono"), seconds)
    return Path(path)


def write_images(folder: Path, names: Sequence[str], size: tuple[int, int] = (64, 96)) -> list[Path]:
    """Numbered pictures under the given names, in the order given."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / name for name in names]
    for index, path in enumerate(paths):
        assert cv2.imwrite(str(path), numbered(index, size)), path
    return paths


def _silence(container: Any, stream: Any, seconds: float) -> None:
    for block in range(max(1, round(seconds * 48_000 / 1024))):
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = 48_000, block * 1024, Fraction(1, 48_000)
        container.mux(stream.encode(frame))
    container.mux(stream.encode(None))
