"""Results for sinks to write, made without a pipeline."""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rtseg.drawing.view import View
from rtseg.frame import Frame, Image, Result, StreamInfo
from rtseg.packages.spec import ModelSpec
from rtseg.sinks import Sink, open_sink

__all__ = ["SPEC", "colour_bars", "free_port", "full_disk", "info", "open_to", "result"]

SPEC = ModelSpec(name="toy", classes=("road", "car", "sky"), palette=((200, 0, 0), (0, 200, 0), (0, 0, 200)))


def info(fps: float | None = 25.0, live: bool = False, time_base: Fraction | None = Fraction(1, 12800)) -> StreamInfo:
    return StreamInfo("memory", live, fps, (48, 64), None, time_base)


def result(
    index: int,
    pts: float | None = None,
    image: Image | None = None,
    labels: Any = None,
    t_capture: int | None = None,
    **fields: Any,
) -> Result:
    image = np.full((48, 64, 3), 40 + 10 * (index % 20), np.uint8) if image is None else image
    labels = np.zeros(image.shape[:2], np.uint8) if labels is None else labels
    frame = Frame(index, index * 40_000_000 if t_capture is None else t_capture, pts, None, image)
    return Result(frame, labels, overlay=image, **fields)


def open_to(path: Path | str, about: StreamInfo | None = None, view: View | None = None, **options: Any) -> Sink:
    return open_sink(str(path), about or info(), SPEC, view or View(), options)


def colour_bars(size: tuple[int, int] = (64, 96)) -> Image:
    """Six columns: red, green, blue, white, black, grey."""
    colors = ((0, 0, 255), (0, 255, 0), (255, 0, 0), (255, 255, 255), (0, 0, 0), (128, 128, 128))
    image = np.empty((*size, 3), np.uint8)
    for index, color in enumerate(colors):
        image[:, index * size[1] // 6 : (index + 1) * size[1] // 6] = color
    return image


def free_port() -> int:
    """A port of this machine that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


@contextmanager
def full_disk(folder: Path, size: str) -> Iterator[Path]:
    """A file system of its own with little room; skips where it may not be made."""
    folder.mkdir()
    mounted = (
        os.geteuid() == 0
        and not subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)], capture_output=True, check=False
        ).returncode
    )
    if not mounted:
        pytest.skip("needs root and the right to mount a tmpfs, to fill a real disk")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)
