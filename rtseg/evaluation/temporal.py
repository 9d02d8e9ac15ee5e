"""Whether labels stay with what moves: the labels of the frame before, carried along by optical flow."""

from __future__ import annotations

import re
from pathlib import PurePosixPath

import cv2
import numpy as np
from numpy.typing import NDArray

from rtseg.evaluation.metrics import Confusion
from rtseg.frame import Image, Labels

__all__ = ["TemporalConsistency", "place_of"]

MOST_APART = 3
"""Difference of the numbers of two frames that still count as consecutive: CamVid's val has every second of 30 Hz."""
LARGEST_ERROR = 1.0
"""Pixels: a point that does not come back this near when followed there and back was hidden or lost."""
FEWEST_FOLLOWED = 0.5
"""Share of an image that must be followed; below it the two images are no neighbours."""


def place_of(name: str) -> tuple[str, int | None]:
    """The sequence and the frame number in a file's name; images without a number make one sequence per folder.

    Known forms: `0016E5_07959`, `Seq05VD_f00540`, `drive/000012`, `frankfurt_000000_000294_leftImg8bit`.
    """
    path = PurePosixPath(name)
    found = re.fullmatch(r"(.*?)(?:[_\-.]f?)?(\d+)", path.stem.removesuffix("_leftImg8bit"))
    folder = path.parent.name or "all"
    return (folder, None) if found is None else (found[1] or folder, int(found[2]))


class TemporalConsistency:
    """Mean IoU between the labels of a frame and those of the frame before it, warped by optical flow.

    As mTC of Varghese et al. (CVPR workshops 2020), with DIS flow (Kroeger et al. 2016) and without the pixels that
    cannot be followed there and back. Labels that stand still on a moving picture score low, and so does flicker; what
    a moving annotation reaches by the same measure is the bound.
    """

    def __init__(self, classes: int, ignore: int) -> None:
        self.labels, self.truth = Confusion(classes, ignore), Confusion(classes, ignore)
        self.pairs = 0
        self._flow = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
        self._last: tuple[int, NDArray[np.uint8], Labels, Labels] | None = None

    def add(self, number: int | None, image: Image, labels: Labels, truth: Labels) -> None:
        """Compare with the frame before, if it was added just now; `image` is HW3 uint8 BGR, labels and truth HW."""
        last, self._last = self._last, None
        if number is None:
            return
        grey = np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY), np.uint8)
        self._last = (number, grey, labels.copy(), truth)
        if last is None or not 0 < number - last[0] <= MOST_APART or last[1].shape != grey.shape:
            return
        x, y, followed = self._follow(last[1], grey)
        if followed.mean() < FEWEST_FOLLOWED:
            return
        self.pairs += 1
        for confusion, before, now in ((self.labels, last[2], labels), (self.truth, last[3], truth)):
            carried = np.asarray(cv2.remap(before, x, y, cv2.INTER_NEAREST), np.uint8)
            known = followed & (carried < len(confusion.matrix))
            confusion.add(now, np.where(known, carried, confusion.ignore))

    def include(self, other: TemporalConsistency) -> None:
        """Count the pairs that another has compared."""
        self.pairs += other.pairs
        self.labels.include(other.labels)
        self.truth.include(other.truth)

    def scores(self) -> dict[str, float | int] | None:
        """Mean IoU of the labels and of the truth, and the pairs compared; None where no two frames are neighbours."""
        if not self.pairs:
            return None
        return {"miou": self.labels.mean_iou(), "truth_miou": self.truth.mean_iou(), "pairs": self.pairs}

    def _follow(
        self, before: NDArray[np.uint8], now: NDArray[np.uint8]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.bool_]]:
        """Where each pixel of `now` was in `before` (x, y), and whether that can be trusted."""
        back = np.asarray(self._flow.calc(now, before, None), np.float32)
        forth = np.asarray(self._flow.calc(before, now, None), np.float32)
        height, width = now.shape
        x = np.arange(width, dtype=np.float32) + back[..., 0]
        y = np.arange(height, dtype=np.float32)[:, None] + back[..., 1]
        returned = back + cv2.remap(forth, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        inside = (x >= 0) & (x <= width - 1) & (y >= 0) & (y <= height - 1)
        return x, y, inside & (np.hypot(returned[..., 0], returned[..., 1]) <= LARGEST_ERROR)
