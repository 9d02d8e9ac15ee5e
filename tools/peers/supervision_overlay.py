"""supervision's `MaskAnnotator` on the tutorial loop's labels.

supervision draws and counts, it runs no network, and has no label map: a frame's classes become one `Detections` with a
full-size boolean mask for each, which is what its own `Detections.from_transformers` makes of a semantic result.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import supervision as sv

from job import Array, Emit, Job
from tutorial_loop import TutorialLoop, labels, preprocess

PACKAGES = ("supervision", "onnxruntime", "opencv-python", "numpy")


def detections(ids: Array) -> sv.Detections:
    """One detection for each class in a label map."""
    classes = np.unique(ids).astype(int)
    masks = np.stack([ids == index for index in classes])
    return sv.Detections(xyxy=sv.mask_to_xyxy(masks), mask=masks, class_id=classes)


class SupervisionOverlay(TutorialLoop):
    """The tutorial loop with its last step replaced."""

    def __init__(self, job: Job) -> None:
        super().__init__(job)
        colors = [sv.Color(r=int(r), g=int(g), b=int(b)) for b, g, r in job.palette]
        self.annotator = sv.MaskAnnotator(color=sv.ColorPalette(colors=colors), opacity=0.5)

    def run(self, frames: Iterable[Array], emit: Emit, *, ahead: bool = False) -> None:
        for frame in frames:
            logits = self.session.run(None, {self.input: preprocess(frame, self.job)})[0]
            ids = labels(logits, frame.shape[:2])
            emit(ids, self.annotator.annotate(scene=frame.copy(), detections=detections(ids)))


open_peer = SupervisionOverlay
