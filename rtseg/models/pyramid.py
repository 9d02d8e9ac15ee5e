"""Pyramid pooling of the real-time networks: DAPPM of DDRNet and PAPPM of PIDNet.

Attribute names follow the published checkpoints of both.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from rtseg.models.blocks import bn_relu_conv, resize_like


def _pooled(inputs: int, planes: int, kernel: int) -> nn.Sequential:
    pool = nn.AvgPool2d(kernel, stride=kernel // 2, padding=kernel // 2)
    return nn.Sequential(pool, *bn_relu_conv(inputs, planes))


class PyramidPooling(nn.Module):
    """The five scales that DAPPM and PAPPM share: as is, pooled by 5, 9 and 17, and pooled to one pixel."""

    def __init__(self, inputs: int, planes: int, outputs: int) -> None:
        super().__init__()
        self.scale0 = bn_relu_conv(inputs, planes)
        self.scale1 = _pooled(inputs, planes, 5)
        self.scale2 = _pooled(inputs, planes, 9)
        self.scale3 = _pooled(inputs, planes, 17)
        self.scale4 = nn.Sequential(nn.AdaptiveAvgPool2d(1), *bn_relu_conv(inputs, planes))
        self.compression = bn_relu_conv(planes * 5, outputs)
        self.shortcut = bn_relu_conv(inputs, outputs)

    def pooled(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Return the unpooled scale and the four pooled ones, all resized to the size of ``x``."""
        scales = (self.scale1, self.scale2, self.scale3, self.scale4)
        return self.scale0(x), [resize_like(scale(x), x) for scale in scales]


class Pappm(PyramidPooling):
    """Parallel aggregation pyramid pooling (Xu et al. 2023, arXiv 2206.02066): the scales are refined side by side.

    The four 3x3 convolutions are one grouped convolution.
    """

    def __init__(self, inputs: int, planes: int, outputs: int) -> None:
        super().__init__(inputs, planes, outputs)
        self.scale_process = bn_relu_conv(planes * 4, planes * 4, 3, groups=4)

    def forward(self, x: Tensor) -> Tensor:
        base, pooled = self.pooled(x)
        refined = self.scale_process(torch.cat([base + scale for scale in pooled], dim=1))
        mixed: Tensor = self.compression(torch.cat([base, refined], dim=1))
        shortcut: Tensor = self.shortcut(x)
        return mixed + shortcut


class Dappm(PyramidPooling):
    """Deep aggregation pyramid pooling (Hong et al. 2021, arXiv 2101.06085): each scale refined with the one before."""

    def __init__(self, inputs: int, planes: int, outputs: int) -> None:
        super().__init__(inputs, planes, outputs)
        self.process1 = bn_relu_conv(planes, planes, 3)
        self.process2 = bn_relu_conv(planes, planes, 3)
        self.process3 = bn_relu_conv(planes, planes, 3)
        self.process4 = bn_relu_conv(planes, planes, 3)

    def forward(self, x: Tensor) -> Tensor:
        base, pooled = self.pooled(x)
        scales = [base]
        for process, scale in zip((self.process1, self.process2, self.process3, self.process4), pooled, strict=True):
            scales.append(process(scale + scales[-1]))
        mixed: Tensor = self.compression(torch.cat(scales, dim=1))
        shortcut: Tensor = self.shortcut(x)
        return mixed + shortcut
