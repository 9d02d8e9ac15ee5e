"""Scores of label maps: confusion matrix, intersection over union, accuracies and boundary F-score."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

__all__ = ["BoundaryScore", "Confusion"]

Labels = npt.NDArray[np.integer]


class Confusion:
    """Pixel counts by (true class, predicted class), summed over images; `ignore` pixels of the truth are left out.

    The last column counts pixels that were given no class at all, which are wrong.
    """

    def __init__(self, classes: int, ignore: int) -> None:
        self.ignore = ignore
        self.matrix = np.zeros((classes, classes + 1), dtype=np.int64)

    def add(self, predicted: Labels, truth: Labels) -> None:
        """Count one image or batch; both arrays have the same shape."""
        classes = len(self.matrix)
        valid = truth != self.ignore
        cells = truth[valid].astype(np.int64) * (classes + 1) + np.minimum(predicted[valid], classes)
        self.matrix += np.bincount(cells, minlength=self.matrix.size).reshape(self.matrix.shape)

    def include(self, other: Confusion) -> None:
        """Count what another of the same classes has counted."""
        self.matrix += other.matrix

    def iou(self) -> npt.NDArray[np.float64]:
        """Intersection over union per class; NaN for a class that is neither there nor predicted."""
        hit = np.diag(self.matrix).astype(np.float64)
        union = self.matrix[:, :-1].sum(0) + self.matrix.sum(1) - hit
        iou: npt.NDArray[np.float64] = np.divide(hit, union, out=np.full_like(hit, np.nan), where=union > 0)
        return iou

    def mean_iou(self) -> float:
        """The mean of the per-class IoU over the classes that occur."""
        return float(np.nanmean(self.iou())) if self.matrix.any() else float("nan")

    def class_accuracy(self) -> npt.NDArray[np.float64]:
        """The fraction of each class's pixels that are right (its recall); NaN for a class that is not there."""
        there = self.matrix.sum(1)
        hit = np.diag(self.matrix).astype(np.float64)
        accuracy: npt.NDArray[np.float64] = np.divide(hit, there, out=np.full_like(hit, np.nan), where=there > 0)
        return accuracy

    def mean_accuracy(self) -> float:
        """The mean of the class accuracies over the classes that are there."""
        return float(np.nanmean(self.class_accuracy())) if self.matrix.any() else float("nan")

    def pixel_accuracy(self) -> float:
        """The fraction of labelled pixels that are right."""
        total = int(self.matrix.sum())
        return float(np.trace(self.matrix)) / total if total else float("nan")


class BoundaryScore:
    """The boundary F-score of Csurka et al. (BMVC 2013), per class, averaged over the images that show the class.

    A boundary pixel is right if the other map has one of the same class within `tolerance` of the image diagonal.
    """

    def __init__(self, classes: int, ignore: int, tolerance: float = 0.0075) -> None:
        self.ignore = ignore
        self.tolerance = tolerance
        self.sums = np.zeros(classes)
        self.images = np.zeros(classes, dtype=np.int64)

    def add(self, predicted: Labels, truth: Labels) -> None:
        """Count one image, HW."""
        radius = max(1, round(self.tolerance * float(np.hypot(*truth.shape))))
        disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1))
        valid = truth != self.ignore
        for index in range(len(self.sums)):
            mask = truth == index
            if not mask.any():
                continue
            true, found = _outline(mask), _outline((predicted == index) & valid)
            self.images[index] += 1
            if not true.any() and not found.any():  # the class fills the image, and was found to
                self.sums[index] += 1
                continue
            precision = _covered(found, cv2.dilate(true, disc))
            recall = _covered(true, cv2.dilate(found, disc))
            if precision + recall > 0:
                self.sums[index] += 2 * precision * recall / (precision + recall)

    def include(self, other: BoundaryScore) -> None:
        """Count the images that another of the same classes has seen."""
        self.sums += other.sums
        self.images += other.images

    def scores(self) -> npt.NDArray[np.float64]:
        """F-score per class; NaN for a class that no image shows."""
        return np.divide(self.sums, self.images, out=np.full_like(self.sums, np.nan), where=self.images > 0)

    def mean(self) -> float:
        """The mean of the per-class scores over the classes that occur."""
        return float(np.nanmean(self.scores())) if self.images.any() else float("nan")


def _outline(mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.uint8]:
    """The pixels of a mask that touch its outside (4-neighbours), as 0 and 1; the image's edge is no boundary."""
    solid = mask.astype(np.uint8)
    inner = cv2.erode(solid, cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3)), borderValue=1)
    return np.asarray(solid - inner, dtype=np.uint8)


def _covered(outline: npt.NDArray[np.uint8], near: object) -> float:
    """The fraction of an outline's pixels that lie in `near`; 0 for an empty outline."""
    total = int(outline.sum())
    if not total:
        return 0.0
    return float((outline & np.asarray(near)).sum()) / total
