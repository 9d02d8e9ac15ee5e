"""Temporal consistency on pictures whose motion is known."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from rtseg.evaluation.temporal import TemporalConsistency, place_of

SIZE = (120, 160)
STEP = 5
"""Pixels to the right from one frame to the next."""
CLASSES, IGNORE = 3, 255


def texture() -> NDArray[np.uint8]:
    """Something that optical flow can hold on to, wider than a frame."""
    noise = np.random.default_rng(0).integers(0, 256, (SIZE[0], 400, 3), np.uint8)
    return np.asarray(cv2.GaussianBlur(noise, (0, 0), 2) * 3, np.uint8)


def drive(count: int) -> list[tuple[NDArray[np.uint8], NDArray[np.uint8]]]:
    """Frames of a scene that moves, and the labels of its vertical stripes."""
    wide = texture()
    stripes = np.broadcast_to(np.arange(400) // 20 % CLASSES, wide.shape[:2]).astype(np.uint8)
    starts = [200 - STEP * index for index in range(count)]
    return [(wide[:, at : at + SIZE[1]].copy(), stripes[:, at : at + SIZE[1]].copy()) for at in starts]


def score(labels: list[NDArray[np.uint8]], numbers: list[int | None] | None = None) -> TemporalConsistency:
    temporal = TemporalConsistency(CLASSES, IGNORE)
    frames = drive(len(labels))
    for number, (image, truth), label in zip(numbers or list(range(len(labels))), frames, labels, strict=True):
        temporal.add(number, image, label, truth)
    return temporal


def test_labels_that_move_with_the_scene_are_consistent() -> None:
    scores = score([label for _, label in drive(4)]).scores()
    assert scores is not None
    assert scores["pairs"] == 3
    assert scores["miou"] == scores["truth_miou"] > 0.97


def test_labels_that_stand_still_are_not() -> None:
    still = drive(1)[0][1]
    scores = score([still] * 3).scores()
    assert scores is not None
    # A stripe of 20 pixels, 5 pixels off: 15 agree of 25.
    assert scores["miou"] == pytest.approx(15 / 25, abs=0.03)
    assert scores["truth_miou"] > 0.97


def test_flicker_is_seen() -> None:
    labels = [label for _, label in drive(4)]
    flicker = [label if index % 2 else (label + 1) % CLASSES for index, label in enumerate(labels)]
    scores = score([np.asarray(label, np.uint8) for label in flicker]).scores()
    assert scores is not None
    assert scores["miou"] < 0.03


def test_only_neighbours_are_compared() -> None:
    labels = [label for _, label in drive(4)]
    assert score(labels, [0, 3, 7, 8]).pairs == 2
    assert score(labels, [5, 4, 3, 2]).pairs == 0
    assert score(labels, [None, None, 1, 2]).pairs == 1
    assert score(labels, [0, 30, 60, 90]).scores() is None


def test_other_pictures_are_no_neighbours() -> None:
    temporal = TemporalConsistency(CLASSES, IGNORE)
    label = np.zeros(SIZE, np.uint8)
    for number in range(2):
        image = np.random.default_rng(number).integers(0, 256, (*SIZE, 3), np.uint8)
        temporal.add(number, image, label, label)
    temporal.add(2, np.zeros((60, 80, 3), np.uint8), label[:60, :80], label[:60, :80])  # another size
    assert temporal.pairs == 0


def test_void_and_no_class_are_left_out() -> None:
    temporal = TemporalConsistency(CLASSES, CLASSES)  # CamVid's void follows its classes
    for number, (image, label) in enumerate(drive(3)):
        label[:40], label[40:60] = CLASSES, 255
        temporal.add(number, image, label, label)
    scores = temporal.scores()
    assert scores is not None
    assert scores["miou"] > 0.9


@pytest.mark.parametrize(
    ("name", "place"),
    [
        ("val/0016E5_07959.png", ("0016E5", 7959)),
        ("Seq05VD_f00540.png", ("Seq05VD", 540)),
        ("drive/000012.jpg", ("drive", 12)),
        ("000012.jpg", ("all", 12)),
        ("clip/frame-0007.png", ("frame", 7)),
        ("leftImg8bit/val/frankfurt/frankfurt_000000_000294_leftImg8bit.png", ("frankfurt_000000", 294)),
        ("photos/street.png", ("photos", None)),
    ],
)
def test_place_of(name: str, place: tuple[str, int | None]) -> None:
    assert place_of(name) == place
