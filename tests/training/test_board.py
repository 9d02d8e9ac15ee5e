"""TensorBoard: the event file holds the curves and the panels."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from rtseg.training.board import Board, panel

PALETTE = ((10, 20, 30), (40, 50, 60, 255))


def test_a_panel_is_image_label_and_prediction() -> None:
    image = np.full((2, 2, 3), (1, 2, 3), np.uint8)  # BGR
    label = np.array([[0, 1], [1, 255]], np.uint8)
    predicted = np.array([[1, 1], [0, 0]], np.uint8)
    shown = panel(image, label, predicted, PALETTE)
    assert shown.shape == (2, 6, 3)
    assert shown[0, 0].tolist() == [3, 2, 1]
    assert shown[:, 2:4].tolist() == [[[10, 20, 30], [40, 50, 60]], [[40, 50, 60], [0, 0, 0]]]
    assert shown[:, 4:].tolist() == [[[40, 50, 60], [40, 50, 60]], [[10, 20, 30], [0, 0, 0]]]


def test_events_can_be_read_back(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    board = Board(tmp_path, PALETTE, 0)
    for step in (10, 20):
        board.scalars({"train/loss": step / 4, "train/rate": 0.5}, step)
    flat = np.zeros((4, 6), np.uint8)
    board.panel("val/0", np.zeros((4, 6, 3), np.uint8), flat, flat, 20)
    board.close()
    events = EventAccumulator(str(tmp_path)).Reload()
    assert [(event.step, event.value) for event in events.Scalars("train/loss")] == [(10, 2.5), (20, 5.0)]
    (picture,) = events.Images("val/0")
    assert (picture.step, picture.height, picture.width) == (20, 4, 18)
