"""A tiny data set in CamVid's layout: grey streets under skies, whose labels are exact."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np


def write_camvid(folder: Path, train: int = 4, val: int = 2, size: tuple[int, int] = (48, 64)) -> Path:
    """Write `train` and `val` images with their label maps and return the folder."""
    height, width = size
    rng = np.random.default_rng(0)
    for split, count in (("train", train), ("val", val)):
        (folder / split).mkdir(parents=True)
        (folder / f"{split}annot").mkdir()
        for index in range(count):
            horizon = int(rng.integers(height // 3, height // 2))
            label = np.full(size, 3, np.uint8)  # road
            label[:horizon] = 0  # sky
            left = int(rng.integers(0, width // 2))
            label[horizon - 6 : horizon + 10, left : left + 14] = 8  # car
            label[:, -3:] = 11  # void
            colors = np.array(
                [(230, 200, 160)] + 2 * [(0, 0, 0)] + [(90, 90, 90)] * 5 + [(30, 30, 200)] + 3 * [(0, 0, 0)]
            )
            image = np.clip(colors[label] + rng.normal(0, 6, (*size, 3)), 0, 255).astype(np.uint8)
            cv2.imwrite(str(folder / split / f"{index:03d}.png"), image)
            cv2.imwrite(str(folder / f"{split}annot" / f"{index:03d}.png"), label)
    return folder
