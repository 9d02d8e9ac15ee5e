"""Where a frame lies in the network's input: one rectangle, used by preprocess on the way in and labels on the way out.

Sizes are (height, width) everywhere.
"""

from __future__ import annotations

import operator
import re
from dataclasses import dataclass
from typing import Any, Literal, get_args

from rtseg.errors import ConfigError, nearest

__all__ = ["Fit", "FitMode", "checked_mode", "checked_size", "fit", "follow_aspect", "parse_size"]

FitMode = Literal["letterbox", "stretch", "crop"]
LONGEST = 16
"""Most times that a network's long side is its short one, so that a frame one pixel high does not exhaust memory."""


@dataclass(frozen=True, slots=True)
class Fit:
    """A frame's rectangle in the network's input.

    `frame` and `network` are (height, width); the whole frame is resized to (`height`, `width`) network pixels whose
    upper left corner is at (`top`, `left`). Letterboxing leaves a border, cropping makes `top` or `left` negative.
    Network pixel (i, j) samples the frame at ((i - top + 0.5) * frame_h / height - 0.5, …): half-pixel centres.
    """

    frame: tuple[int, int]
    network: tuple[int, int]
    top: int
    left: int
    height: int
    width: int


def fit(frame: tuple[int, int], network: tuple[int, int], mode: FitMode = "letterbox") -> Fit:
    """Place a frame of size `frame` in a network input of size `network`, both (height, width).

    `letterbox` keeps the aspect and centres with a border, `crop` keeps it and cuts what sticks out, `stretch` fills.
    """
    (frame_h, frame_w), (net_h, net_w) = frame, network
    if min(frame_h, frame_w, net_h, net_w) < 1:
        raise ConfigError(f"cannot fit a frame of {frame_h}x{frame_w} into {net_h}x{net_w}: a size is zero")
    if mode == "stretch":
        return Fit(frame, network, 0, 0, net_h, net_w)
    scales = (net_h / frame_h, net_w / frame_w)
    scale = min(scales) if mode == "letterbox" else max(scales)
    height, width = max(1, round(frame_h * scale)), max(1, round(frame_w * scale))
    return Fit(frame, network, (net_h - height) // 2, (net_w - width) // 2, height, width)


def follow_aspect(frame: tuple[int, int], short_side: int, multiple: int) -> tuple[int, int]:
    """The network size (height, width) with the frame's aspect ratio at `short_side`, each side rounded to `multiple`.

    The short side is rounded to the nearest multiple; the long side up, so that a letterboxed frame loses no scale.
    The long side is at most 16 short ones: a longer frame is letterboxed into that.
    """
    frame_h, frame_w = frame
    short = max(multiple, round(short_side / multiple) * multiple)
    scale = short / min(frame_h, frame_w)
    long = min(-(-round(max(frame_h, frame_w) * scale) // multiple) * multiple, LONGEST * short)
    return (short, long) if frame_h <= frame_w else (long, short)


def checked_mode(mode: str) -> FitMode:
    """`mode` if it is one; ConfigError with the nearest otherwise."""
    for known in get_args(FitMode):
        if mode == known:
            return known  # type: ignore[no-any-return]
    raise ConfigError(f"unknown fit '{mode}': {nearest(str(mode), get_args(FitMode))}")


def checked_size(size: Any) -> tuple[int, int]:
    """(height, width) from a pair of whole numbers or from "HxW"; ConfigError otherwise."""
    if isinstance(size, str):
        return parse_size(size)
    try:
        height, width = (operator.index(side) for side in size)
    except (TypeError, ValueError):
        height = width = 0
    if min(height, width) < 1:
        raise ConfigError(f"size is {size!r}, expected (height, width) or 'HxW', for example (360, 640)")
    return height, width


def parse_size(text: str) -> tuple[int, int]:
    """(height, width) from "HxW"; ConfigError otherwise."""
    match = re.fullmatch(r"\s*(\d+)\s*[xX]\s*(\d+)\s*", text)
    if not match or min(int(match[1]), int(match[2])) < 1:
        raise ConfigError(f"size '{text}' is not HEIGHTxWIDTH, for example 360x640")
    return int(match[1]), int(match[2])
