"""The two records that run the whole path, and what is known of a stream before its first frame."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rtseg import interchange
from rtseg.errors import ConfigError, nearest

__all__ = [
    "NEEDS",
    "UNLABELLED",
    "Frame",
    "Header",
    "Image",
    "Labels",
    "Result",
    "StreamInfo",
    "checked_image",
    "checked_needs",
]

Image = NDArray[np.uint8]
"""HWC uint8, channels in BGR order, C-contiguous."""
Labels = NDArray[np.uint8]
"""HW uint8 class ids; 255 is unlabelled."""
UNLABELLED = interchange.UNLABELLED
NEEDS = frozenset({"overlay", "labels", "confidence", "areas", "image"})
"""What can be asked of a result."""


def checked_image(image: Any) -> Image:
    """`image` if it is HWC uint8 with three channels, C-contiguous (copied if it is not).

    Raises:
        ConfigError: it is none, with what was found and what to do.
    """
    if image is None:
        raise ConfigError("the image is None, which cv2.imread returns for a file that it cannot read: check its path")
    if not isinstance(image, np.ndarray):
        raise ConfigError(f"an image is a NumPy array, HWC uint8 in BGR, got {type(image).__name__}: convert it first")
    shape = "x".join(map(str, image.shape)) or "scalar"
    if image.size == 0:
        raise ConfigError(f"the image is empty ({shape}): check what it was cut out of")
    if image.ndim != 3 or image.shape[2] != 3:
        hint = "cv2.cvtColor(image, cv2.COLOR_GRAY2BGR)" if image.ndim == 2 else "three channels in BGR order"
        raise ConfigError(f"an image is HWC with 3 channels in BGR, got {shape}: give {hint}")
    if image.dtype != np.uint8:
        raise ConfigError(f"an image is uint8 (0 to 255), got {image.dtype}: convert it with its range in mind")
    return np.ascontiguousarray(image)


def checked_needs(needs: Iterable[str]) -> frozenset[str]:
    """`needs` as a set.

    Raises:
        ConfigError: one of them is not in NEEDS.
    """
    wanted = frozenset((needs,) if isinstance(needs, str) else needs)
    for need in wanted:
        if need not in NEEDS:
            raise ConfigError(f"unknown need '{need}': {nearest(need, sorted(NEEDS))}")
    return wanted


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
    is there where a robot's message brought the picture, `path` where it has a file of its own.
    """

    index: int
    t_capture: int
    pts: float | None
    stamp: float | None
    image: Image
    header: Header | None = None
    path: Path | None = None

    @property
    def wall_ns(self) -> int:
        """This machine's wall clock when the frame was in hand, in nanoseconds since 1970."""
        return time.time_ns() - (time.monotonic_ns() - self.t_capture)


@dataclass(frozen=True, slots=True, eq=False)
class Result:
    """What became of a frame; a field is None where no sink asked for it.

    `labels` HW uint8 class ids and `overlay` HWC uint8 BGR have the frame's size (an overlay of a split view is wider);
    `confidence` HW uint8 is 255 times the winner's probability; `areas` the fraction of pixels per class, float64.
    `classes` are the names of the label ids. `stages` holds nanoseconds by stage name, `t_overlay` the monotonic
    nanoseconds when everything asked for was in hand, `drops` the frames lost so far before inference. The arrays stay
    valid as long as they are held.
    """

    frame: Frame
    labels: Labels | None
    confidence: NDArray[np.uint8] | None = None
    overlay: Image | None = None
    areas: NDArray[np.float64] | None = None
    stages: dict[str, int] = field(default_factory=dict)
    t_overlay: int = 0
    drops: int = 0
    classes: tuple[str, ...] = ()

    def masks(self) -> dict[str, NDArray[np.bool_]]:
        """A boolean HW mask for each class that is in the picture, by class name, in the order of their ids.

        Raises:
            ConfigError: the labels were not asked for.
        """
        return interchange.masks(self._labels("masks"), self.classes)

    def to_pil(self) -> Any:
        """The overlay where it was asked for, else the frame, as a PIL image in RGB.

        Raises:
            MissingExtra: Pillow is not installed.
        """
        return interchange.pil(self.frame.image if self.overlay is None else self.overlay)

    def to_coco_rle(self) -> dict[str, dict[str, Any]]:
        """COCO's compressed run lengths, {"size": [height, width], "counts": str}, by the name of each class in sight.

        Raises:
            ConfigError: the labels were not asked for.
            MissingExtra: pycocotools is not installed.
        """
        return interchange.coco_rle(self._labels("run lengths"), self.classes)

    def to_supervision(self) -> Any:
        """`supervision.Detections` with one mask, box and class id for each class in sight.

        Raises:
            ConfigError: the labels were not asked for.
            MissingExtra: supervision is not installed.
        """
        return interchange.supervision(self._labels("detections"), self.classes, self.confidence)

    def _labels(self, what: str) -> Labels:
        if self.labels is None:
            raise ConfigError(f"this result has no labels to make {what} of: add 'labels' to needs")
        return self.labels

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
