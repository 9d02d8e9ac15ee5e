"""TensorBoard: scalars and panels of image, label and prediction; the only importer of its writer."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch.utils.tensorboard import SummaryWriter

from rtseg.frame import Image, Labels

__all__ = ["Board", "panel"]


class Board:
    """Event files in a folder; what an earlier run wrote there after `step` is hidden."""

    def __init__(self, folder: Path, palette: tuple[tuple[int, ...], ...], step: int) -> None:
        self._writer = SummaryWriter(str(folder), purge_step=step or None)
        self._palette = palette

    def scalars(self, values: Mapping[str, float], step: int) -> None:
        """One point of each curve."""
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)

    def panel(self, name: str, image: Image, label: Labels, predicted: Labels, step: int) -> None:
        """Image, label and prediction side by side."""
        picture = panel(image, label, predicted, self._palette)
        self._writer.add_image(name, picture, step, dataformats="HWC")

    def close(self) -> None:
        """Write what is left."""
        self._writer.close()


def panel(image: Image, label: Labels, predicted: Labels, palette: tuple[tuple[int, ...], ...]) -> Image:
    """Image (BGR), label and prediction side by side, H x 3W x 3 uint8 RGB; void is black, as is its prediction."""
    colors: NDArray[np.uint8] = np.zeros((256, 3), np.uint8)
    colors[: len(palette)] = np.array([row[:3] for row in palette], np.uint8)
    shown = np.where(label < len(palette), predicted, 255)
    return np.concatenate([image[..., ::-1], colors[label], colors[shown]], axis=1)
