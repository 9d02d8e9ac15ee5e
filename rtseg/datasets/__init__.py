"""Labelled images by the layout of their folder: `open_dataset("camvid", "train")`. NumPy and OpenCV only, no torch."""

from __future__ import annotations

from rtseg.datasets._dataset import Dataset, class_pixels
from rtseg.datasets.opening import find_layout, open_dataset

__all__ = ["Dataset", "class_pixels", "find_layout", "open_dataset"]
