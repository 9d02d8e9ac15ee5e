"""Scores against a confusion matrix counted by hand."""

from __future__ import annotations

import numpy as np
import pytest

from rtseg.evaluation.metrics import BoundaryScore, Confusion

TRUTH = np.array([[0, 0, 1, 1], [2, 2, 9, 9]])
FOUND = np.array([[0, 1, 1, 1], [2, 0, 0, 5]])


def test_confusion_by_hand() -> None:
    confusion = Confusion(4, ignore=9)
    confusion.add(FOUND, TRUTH)
    expected = np.zeros((4, 5), int)
    expected[0, 0] = expected[0, 1] = expected[2, 2] = expected[2, 0] = 1
    expected[1, 1] = 2
    assert np.array_equal(confusion.matrix, expected)
    iou = confusion.iou()
    assert iou[:3].tolist() == pytest.approx([1 / 3, 2 / 3, 1 / 2])
    assert np.isnan(iou[3])  # occurs nowhere
    assert confusion.mean_iou() == pytest.approx((1 / 3 + 2 / 3 + 1 / 2) / 3)
    assert confusion.pixel_accuracy() == pytest.approx(4 / 6)


def test_images_add_up() -> None:
    rng = np.random.default_rng(0)
    truth, found = rng.integers(0, 4, (3, 20, 20)), rng.integers(0, 3, (3, 20, 20))
    one, each = Confusion(3, ignore=3), Confusion(3, ignore=3)
    one.add(found, truth)
    for k in range(3):
        each.add(found[k], truth[k])
    assert np.array_equal(one.matrix, each.matrix)
    assert one.matrix.sum() == (truth != 3).sum()


def test_a_class_predicted_but_absent_scores_zero() -> None:
    confusion = Confusion(2, ignore=9)
    confusion.add(np.array([0, 0, 1]), np.array([0, 0, 0]))
    assert confusion.iou().tolist() == pytest.approx([2 / 3, 0])


def test_no_label_is_wrong() -> None:
    confusion = Confusion(2, ignore=9)
    confusion.add(np.array([0, 255], np.uint8), np.array([0, 0], np.uint8))
    assert confusion.iou()[0] == pytest.approx(0.5)
    assert confusion.pixel_accuracy() == pytest.approx(0.5)


def test_nothing_labelled() -> None:
    confusion = Confusion(2, ignore=9)
    confusion.add(np.array([0]), np.array([9]))
    assert np.isnan(confusion.mean_iou()) and np.isnan(confusion.pixel_accuracy())


def halves(column: int) -> np.ndarray:
    labels = np.zeros((40, 60), np.uint8)
    labels[:, column:] = 1
    return labels


def test_boundary_score_of_a_shifted_edge() -> None:
    # The diagonal is 72 pixels, the tolerance one pixel.
    for shift, expected in ((0, 1.0), (1, 1.0), (3, 0.0)):
        score = BoundaryScore(3, ignore=9)
        score.add(halves(30 + shift), halves(30))
        assert score.scores()[:2].tolist() == pytest.approx([expected, expected])
        assert np.isnan(score.scores()[2])
        assert score.mean() == pytest.approx(expected)


def test_boundary_score_counts_precision_and_recall() -> None:
    truth, found = halves(30), halves(30)
    found[:, 5:7] = 1  # a stripe of class 1 that is not there
    score = BoundaryScore(2, ignore=9)
    score.add(found, truth)
    # Class 1: its outline is 40 true pixels and 80 false ones (both columns of the stripe); recall 1, precision 1/3.
    assert score.scores()[1] == pytest.approx(0.5)
    missed = BoundaryScore(2, ignore=9)
    missed.add(np.zeros_like(truth), truth)
    assert missed.scores()[1] == 0


def test_a_class_that_fills_the_image() -> None:
    full = np.zeros((20, 20), np.uint8)
    score = BoundaryScore(1, ignore=9)
    score.add(full, full)
    assert score.mean() == 1.0
