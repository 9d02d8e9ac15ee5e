"""GoogLeNet (Szegedy et al., CVPR 2015, arXiv 1409.4842) with batch normalisation, as torchvision publishes it.

There the 5x5 branch has 3x3 convolutions, and the weights were converted from a network whose input was scaled to -1
to 1 (torchvision's `transform_input`); hence ``mean`` and ``std`` of 0.5 and no transform in forward.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rtseg.models.blocks import Encoder, check_size, dilations, initialise
from rtseg.models.encoders.pooling import OverlappingPool


@dataclass(frozen=True, slots=True)
class Widths:
    """One row of GoogLeNet's table 1: channels of the branches, and of the reductions in front of them."""

    one: int
    reduce3: int
    three: int
    reduce5: int
    five: int
    pool: int

    @property
    def outputs(self) -> int:
        return self.one + self.three + self.five + self.pool


STAGES = {
    "3": {"a": Widths(64, 96, 128, 16, 32, 32), "b": Widths(128, 128, 192, 32, 96, 64)},
    "4": {
        "a": Widths(192, 96, 208, 16, 48, 64),
        "b": Widths(160, 112, 224, 24, 64, 64),
        "c": Widths(128, 128, 256, 24, 64, 64),
        "d": Widths(112, 144, 288, 32, 64, 64),
        "e": Widths(256, 160, 320, 32, 128, 128),
    },
    "5": {"a": Widths(256, 160, 320, 32, 128, 128), "b": Widths(384, 192, 384, 48, 128, 128)},
}


class ConvNorm(nn.Module):
    """A convolution that keeps the size at stride 1, then batch normalisation and ReLU."""

    def __init__(self, inputs: int, outputs: int, kernel: int = 1, stride: int = 1, dilation: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, dilation * (kernel // 2), dilation, bias=False)
        self.bn = nn.BatchNorm2d(outputs, eps=1e-3)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.bn(self.conv(x)))


class Inception(nn.Module):
    """Four branches side by side (figure 2b): 1x1, 3x3, "5x5" and pooling.

    `dilation` is of the convolutions; the pooling stays dense, as TensorRT has no dilated one.
    """

    def __init__(self, inputs: int, widths: Widths, dilation: int) -> None:
        super().__init__()
        w = widths
        self.branch1 = ConvNorm(inputs, w.one)
        self.branch2 = nn.Sequential(ConvNorm(inputs, w.reduce3), ConvNorm(w.reduce3, w.three, 3, dilation=dilation))
        self.branch3 = nn.Sequential(ConvNorm(inputs, w.reduce5), ConvNorm(w.reduce5, w.five, 3, dilation=dilation))
        self.branch4 = nn.Sequential(nn.MaxPool2d(3, 1, padding=1), ConvNorm(inputs, w.pool))

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.branch1(x), self.branch2(x), self.branch3(x), self.branch4(x)], dim=1)


class GoogLeNet(Encoder):
    """GoogLeNet up to inception5b, with the keys of torchvision's `googlenet`.

    ``forward`` takes a float NCHW image with sides that are multiples of 32 (or of `output_stride`) and returns what
    goes into each pooling, and the last feature. With `output_stride` 8 or 16 the last poolings have stride 1 and the
    blocks behind them are dilated.
    """

    channels = (64, 192, 480, 832, 1024)
    mean = (0.5, 0.5, 0.5)
    std = (0.5, 0.5, 0.5)
    published_extras = ("aux1.", "aux2.", "fc.")

    def __init__(self, output_stride: int = 32) -> None:
        super().__init__()
        self.conv1 = ConvNorm(3, 64, 7, stride=2)
        self.conv2 = ConvNorm(64, 64)
        self.conv3 = ConvNorm(64, 192, 3)
        inputs, steps = 192, dilations((2, 2, 2), 4, output_stride)
        for (stage, rows), (_, dilation, _) in zip(STAGES.items(), steps, strict=True):
            for letter, widths in rows.items():
                self.add_module(f"inception{stage}{letter}", Inception(inputs, widths, dilation))
                inputs = widths.outputs
        self.maxpool1 = OverlappingPool()
        self.maxpool2 = OverlappingPool()
        self.maxpool3 = OverlappingPool(steps[1][0])
        self.maxpool4 = nn.MaxPool2d(2, 2) if steps[2][0] == 2 else OverlappingPool(1)
        self.strides = tuple(min(stride, output_stride) for stride in (2, 4, 8, 16, 32))
        initialise(self)

    def forward(self, x: Tensor) -> list[Tensor]:
        check_size(x, self.strides[-1])
        c1 = self.conv1(x)  # 1/2
        c2 = self.conv3(self.conv2(self.maxpool1(c1)))  # 1/4
        c3 = self._stage("3", self.maxpool2(c2))  # 1/8
        c4 = self._stage("4", self.maxpool3(c3))  # 1/16
        c5 = self._stage("5", self.maxpool4(c4))  # 1/32
        return [c1, c2, c3, c4, c5]

    def _stage(self, stage: str, x: Tensor) -> Tensor:
        for letter in STAGES[stage]:
            x = self.get_submodule(f"inception{stage}{letter}")(x)
        return x


def googlenet(*, output_stride: int = 32) -> GoogLeNet:
    """GoogLeNet: 6.6 M parameters as a classifier, 5.6 M as an encoder."""
    return GoogLeNet(output_stride)
