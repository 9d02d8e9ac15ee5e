"""The two records that run the whole path, and what is known of a stream before its first frame."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Frame", "Header", "Image", "Labels", "Result", "StreamInfo"]

Image = NDArray[np.uint8]
"""HWC uint8, channels in BGR order, C-contiguous."""
Labels = NDArray[np.uint8]
"""HW uint8 class ids; 255 is unlabelled."""


@dataclass(frozen=True, slots=True)
class Header:
    """What a robot's message says of its picture; whatever is made of the frame says the same.

    `topic` is where the picture came from, `stamp_ns` the header's time in nanoseconds, `frame_id` its frame,
    `log_time_ns` when a bag recorded the message (equal to the stamp for a message received live).
    """

    topic: str
    stamp_ns: int
    frame_id: str
    log_time_ns: int


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """One captured picture.

    `index` counts frames as captured, from 0: a gap is a drop. `t_capture` is when the frame was in hand
    (`time.monotonic_ns()`). `pts` is seconds in the source's own clock, `stamp` the wall clock or ROS header time
    in seconds; None where the source has none. `image` is HWC uint8 BGR, C-contiguous, and is not written to. `header`
    is there where a robot's message brought the picture.
    """

    index: int
    t_capture: int
    pts: float | None
    stamp: float | None
    image: Image
    header: Header | None = None

    @property
    def wall_ns(self) -> int:
        """This machine's wall clock when the frame was in hand, in nanoseconds since 1970."""
        return time.time_ns() - (time.monotonic_ns() - self.t_capture)


@dataclass(frozen=True, slots=True, eq=False)
class Result:
    """What became of a frame; a field is None where no sink asked for it.

    `labels` HW uint8 class ids and `overlay` HWC uint8 BGR have the frame's size (an overlay of a split view is wider);
    `confidence` HW uint8 is 255 times the winner's probability; `areas` the fraction of pixels per class, float64.
    `stages` holds nanoseconds by stage name, `t_overlay` the monotonic nanoseconds when everything asked for was in
    hand, `drops` the frames lost so far before inference.
    """

    frame: Frame
    labels: Labels | None
    confidence: NDArray[np.uint8] | None = None
    overlay: Image | None = None
    areas: NDArray[np.float64] | None = None
    stages: dict[str, int] = field(default_factory=dict)
    t_overlay: int = 0
    drops: int = 0

    @property
    def latency_ns(self) -> int:
        """Capture-to-overlay, in nanoseconds."""
        return self.t_overlay - self.frame.t_capture


@dataclass(frozen=True, slots=True)
class StreamInfo:
    """What is known of a source once it is open, for sinks and progress.

    `size` is (height, width) of the first frame or None; `fps` the nominal rate or None; `frames` the expected number
    of frames or None; `time_base` the source's clock tick in seconds; `details` what the device or stream really gave.
    """

    source: str
    live: bool
    fps: float | None = None
    size: tuple[int, int] | None = None
    frames: int | None = None
    time_base: Fraction | None = None
    details: dict[str, Any] = field(default_factory=dict)
