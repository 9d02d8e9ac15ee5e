"""What a user would otherwise write around the same network: all in torch, or NumPy and OpenCV with copies between."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from rtseg.packages.spec import ModelSpec

__all__ = ["HostRival", "TorchRival"]

Picture = NDArray[np.uint8]
ALPHA = 0.5


class TorchRival:
    """Everything in torch on `device`: upload from pageable memory, antialiased resize, network, logits brought to the
    frame's size, argmax, palette and blend, and overlay and labels brought back."""

    def __init__(
        self, network: Any, spec: ModelSpec, size: tuple[int, int], colors: Picture, device: str, dtype: torch.dtype
    ) -> None:
        self._network, self._size, self._device, self._dtype = network, size, device, dtype
        self._scale, self._reverse = spec.scale, spec.channels == "RGB"
        self._mean = torch.tensor(spec.mean, device=device).view(1, 3, 1, 1)
        self._std = torch.tensor(spec.std, device=device).view(1, 3, 1, 1)
        self._palette = torch.from_numpy(colors).to(device)

    @torch.inference_mode()
    def __call__(self, image: Picture) -> tuple[Picture, Picture]:
        """Overlay HWC BGR and labels HW of a BGR frame."""
        frame = torch.from_numpy(image).to(self._device)
        tensor = frame.permute(2, 0, 1)[None].float()
        tensor = tensor.flip(1) if self._reverse else tensor
        tensor = F.interpolate(tensor, size=self._size, mode="bilinear", align_corners=False, antialias=True)
        tensor = (tensor * self._scale - self._mean) / self._std
        tensor = tensor.to(self._dtype).contiguous(memory_format=torch.channels_last)
        output = self._network(tensor)
        logits: Tensor = output[0] if isinstance(output, (tuple, list)) else output
        logits = F.interpolate(logits, size=image.shape[:2], mode="bilinear", align_corners=False)
        labels = logits.argmax(1)[0]
        overlay = (frame * (1 - ALPHA) + self._palette[labels] * ALPHA).round().to(torch.uint8)
        return overlay.cpu().numpy(), labels.to(torch.uint8).cpu().numpy()


class HostRival:
    """What TensorRT's samples do: resize and normalise on the CPU, the float tensor up, the logits down, each class's
    logits resized and argmax on the CPU, palette and blend by NumPy and OpenCV."""

    def __init__(
        self, network: Any, spec: ModelSpec, size: tuple[int, int], colors: Picture, device: str, dtype: torch.dtype
    ) -> None:
        self._network, self._size, self._device, self._dtype = network, size, device, dtype
        self._scale, self._reverse, self._colors = np.float32(spec.scale), spec.channels == "RGB", colors
        self._mean, self._std = np.array(spec.mean, np.float32), np.array(spec.std, np.float32)

    @torch.inference_mode()
    def __call__(self, image: Picture) -> tuple[Picture, Picture]:
        """Overlay HWC BGR and labels HW of a BGR frame."""
        height, width = image.shape[:2]
        small = cv2.resize(image, (self._size[1], self._size[0]), interpolation=cv2.INTER_LINEAR)
        small = cv2.cvtColor(small, cv2.COLOR_BGR2RGB) if self._reverse else small
        normal = (small.astype(np.float32) * self._scale - self._mean) / self._std
        tensor = torch.from_numpy(np.ascontiguousarray(normal.transpose(2, 0, 1)[None])).to(self._device)
        output = self._network(tensor.to(self._dtype).contiguous(memory_format=torch.channels_last))
        output = output[0] if isinstance(output, (tuple, list)) else output
        logits = output.float().cpu().numpy()[0]
        # All classes in one call and last: twice as fast as one by one.
        pixels = np.ascontiguousarray(logits.transpose(1, 2, 0))
        labels = cv2.resize(pixels, (width, height), interpolation=cv2.INTER_LINEAR).argmax(2).astype(np.uint8)
        overlay = cv2.addWeighted(image, 1 - ALPHA, self._colors[labels], ALPHA, 0)
        return np.asarray(overlay, np.uint8), labels
