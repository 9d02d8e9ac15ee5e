"""The pictures that the camera plays."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np

from rtseg.sources import open_source


def pictures(uri: str, size: tuple[int, int], count: int) -> np.ndarray[Any, Any]:
    """`count` frames of an input, every fifth, scaled to `size` (height, width): NxHxWx3 uint8, BGR."""
    frames = []
    with open_source(uri) as source:
        for frame in source:
            if frame.index % 5 == 0:
                image = frame.image
                if image.shape[:2] != size:
                    image = cv2.resize(image, (size[1], size[0]), interpolation=cv2.INTER_CUBIC)
                frames.append(image)
            if len(frames) == count:
                break
    return np.stack(frames)
