"""OpenCV's own inference, after its sample `samples/dnn/segmentation.py`.

`blobFromImage`, `net.forward`, `np.argmax` at the network's output, `INTER_NEAREST` up to the frame. The sample colours
pixel by pixel in Python and blends 1 to 9 in floats; here colours are looked up by indexing and blended half and half
by `cv2.addWeighted`, which is faster and gives the overlay that the others give.
"""

from __future__ import annotations

from collections.abc import Iterable

import cv2
import numpy as np

from job import Array, Emit, Job

PACKAGES = ("opencv-python", "numpy")


def preprocess(frame: Array, job: Job) -> Array:
    """The network's input, 1x3xHxW float32. `blobFromImage` has one scale for all channels."""
    height, width = job.network
    scale = 1.0 / (255.0 * float(job.std[0]))
    return cv2.dnn.blobFromImage(frame, scale, (width, height), (job.mean * 255.0).tolist(), swapRB=True, crop=False)


def labels(logits: Array, size: tuple[int, int]) -> Array:
    """Labels at `size` (height, width) from 1xCxhxw logits: pick first, then enlarge; edges are blocks."""
    height, width = size
    small = np.argmax(logits[0], axis=0).astype(np.uint8)
    return cv2.resize(small, (width, height), interpolation=cv2.INTER_NEAREST)


class OpenCVDnn:
    """The engine that OpenCV chooses by itself; deviations of the channels must be equal."""

    concurrent = False

    def __init__(self, job: Job) -> None:
        if np.ptp(job.std) > 0:
            raise ValueError("blobFromImage cannot divide each channel by a deviation of its own")
        self.job = job
        cv2.setNumThreads(job.threads)
        self.net = cv2.dnn.readNetFromONNX(str(job.model))
        self.net.setPreferableTarget(cv2.dnn.DNN_TARGET_CPU)

    def run(self, frames: Iterable[Array], emit: Emit, *, ahead: bool = False) -> None:
        job, palette = self.job, self.job.palette
        for frame in frames:
            self.net.setInput(preprocess(frame, job))
            ids = labels(self.net.forward(), frame.shape[:2])
            emit(ids, cv2.addWeighted(frame, 0.5, palette[ids], 0.5, 0))


open_peer = OpenCVDnn
