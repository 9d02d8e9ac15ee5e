"""The loop that tutorials teach: OpenCV, ONNX Runtime and NumPy.

Read, resize, BGR to RGB, subtract the mean, divide by the deviation, HWC to CHW, `session.run`; then either the logits
of every class are resized to the frame and `np.argmax` picks the winner (`labels`), or the winner is picked first and
the small label map is enlarged without interpolation (`labels_nearest`); colours by indexing, `cv2.addWeighted`.
"""

from __future__ import annotations

from collections.abc import Iterable

import cv2
import numpy as np
import onnxruntime as ort

from job import Array, Emit, Job

PACKAGES = ("onnxruntime", "opencv-python", "numpy")


def preprocess(frame: Array, job: Job) -> Array:
    """The network's input, 1x3xHxW float32."""
    height, width = job.network
    image = cv2.resize(frame, (width, height))
    image = cv2.cvtColor(image, cv2.COLOR_BGR2RGB).astype(np.float32) / 255.0
    image = (image - job.mean) / job.std
    return np.ascontiguousarray(image.transpose(2, 0, 1)[np.newaxis])


def labels(logits: Array, size: tuple[int, int]) -> Array:
    """Labels at `size` (height, width) from 1xCxhxw logits: resize all of them, then pick."""
    height, width = size
    scores = cv2.resize(logits[0].transpose(1, 2, 0), (width, height), interpolation=cv2.INTER_LINEAR)
    return np.argmax(scores, axis=2).astype(np.uint8)


def labels_nearest(logits: Array, size: tuple[int, int]) -> Array:
    """Labels at `size` (height, width) from 1xCxhxw logits: pick first, then enlarge; edges are blocks."""
    height, width = size
    small = np.argmax(logits[0], axis=0).astype(np.uint8)
    return cv2.resize(small, (width, height), interpolation=cv2.INTER_NEAREST)


def overlay(frame: Array, ids: Array, palette: Array) -> Array:
    """The classes' colours over the frame, half and half."""
    return cv2.addWeighted(frame, 0.5, palette[ids], 0.5, 0)


class TutorialLoop:
    """`nearest` picks the winner before enlarging."""

    concurrent = False

    def __init__(self, job: Job, nearest: bool = False) -> None:
        self.job = job
        self.labels = labels_nearest if nearest else labels
        cv2.setNumThreads(job.threads)
        options = ort.SessionOptions()
        options.intra_op_num_threads = job.threads
        self.session = ort.InferenceSession(str(job.model), options, providers=["CPUExecutionProvider"])
        self.input = self.session.get_inputs()[0].name

    def run(self, frames: Iterable[Array], emit: Emit, *, ahead: bool = False) -> None:
        job, palette = self.job, self.job.palette
        for frame in frames:
            tensor = preprocess(frame, job)
            logits = self.session.run(None, {self.input: tensor})[0]
            ids = self.labels(logits, frame.shape[:2])
            emit(ids, overlay(frame, ids, palette))


open_peer = TutorialLoop
