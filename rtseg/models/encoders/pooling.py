"""The overlapping max pooling of AlexNet and GoogLeNet, made to divide even sizes exactly."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn


class OverlappingPool(nn.Module):
    """Max pooling of 3x3 windows with stride 2 (or 1) whose output is exactly half as large (or as large).

    ``x`` is not negative: the row and column of padding, in front or behind, is zeros, which cannot win against a
    ReLU's output. Behind is what `ceil_mode` does for an even size.
    """

    def __init__(self, stride: int = 2, *, front: bool = False) -> None:
        super().__init__()
        self.stride = stride
        self.padding = (1, 1) if stride == 1 else (1, 0) if front else (0, 1)

    def forward(self, x: Tensor) -> Tensor:
        return F.max_pool2d(F.pad(x, self.padding * 2), 3, self.stride)
