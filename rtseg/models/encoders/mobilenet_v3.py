"""MobileNetV3-Large (Howard et al., ICCV 2019, arXiv 1905.02244)."""

from __future__ import annotations

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor, nn

from rtseg.models.blocks import Encoder, check_size, dilations, initialise


@dataclass(frozen=True, slots=True)
class Row:
    """One row of table 1: kernel, expanded and output channels, squeeze-and-excitation, h-swish or ReLU, stride."""

    kernel: int
    planes: int
    outputs: int
    squeezes: bool
    h_swish: bool
    stride: int


ROWS = (
    Row(3, 16, 16, False, False, 1),
    Row(3, 64, 24, False, False, 2),
    Row(3, 72, 24, False, False, 1),
    Row(5, 72, 40, True, False, 2),
    Row(5, 120, 40, True, False, 1),
    Row(5, 120, 40, True, False, 1),
    Row(3, 240, 80, False, True, 2),
    Row(3, 200, 80, False, True, 1),
    Row(3, 184, 80, False, True, 1),
    Row(3, 184, 80, False, True, 1),
    Row(3, 480, 112, True, True, 1),
    Row(3, 672, 112, True, True, 1),
    Row(5, 672, 160, True, True, 2),
    Row(5, 960, 160, True, True, 1),
    Row(5, 960, 160, True, True, 1),
)
STEM, LAST = 16, 960
TAPS = (1, 3, 4, 12, 16)
"""The last module at each resolution; at stride 8 the first, which the published LR-ASPP takes."""


def conv_norm(
    inputs: int,
    outputs: int,
    activation: type[nn.Module] | None,
    kernel: int = 1,
    stride: int = 1,
    dilation: int = 1,
    groups: int = 1,
) -> nn.Sequential:
    """Return a convolution that keeps the size at stride 1, batch normalisation, and an activation if given."""
    padding = dilation * (kernel // 2)
    layers: list[nn.Module] = [
        nn.Conv2d(inputs, outputs, kernel, stride, padding, dilation, groups, bias=False),
        nn.BatchNorm2d(outputs, eps=1e-3, momentum=0.01),
    ]
    return nn.Sequential(*layers, *([activation()] if activation else []))


class SqueezeExcitation(nn.Module):
    """Scales each channel by what two 1x1 convolutions make of the image's mean (section 5.3: a quarter as wide)."""

    def __init__(self, planes: int) -> None:
        super().__init__()
        squeezed = _rounded(planes // 4)
        self.fc1 = nn.Conv2d(planes, squeezed, 1)
        self.fc2 = nn.Conv2d(squeezed, planes, 1)

    def forward(self, x: Tensor) -> Tensor:
        scale = F.relu(self.fc1(F.adaptive_avg_pool2d(x, 1)))
        return x * F.hardsigmoid(self.fc2(scale))


class InvertedResidual(nn.Module):
    """Expand, depthwise, squeeze-and-excitation, project (figure 4); a shortcut where shapes allow."""

    def __init__(self, inputs: int, row: Row, stride: int, dilation: int) -> None:
        super().__init__()
        activation = nn.Hardswish if row.h_swish else nn.ReLU
        layers: list[nn.Module] = []
        if row.planes != inputs:
            layers.append(conv_norm(inputs, row.planes, activation))
        layers.append(conv_norm(row.planes, row.planes, activation, row.kernel, stride, dilation, row.planes))
        if row.squeezes:
            layers.append(SqueezeExcitation(row.planes))
        layers.append(conv_norm(row.planes, row.outputs, None))
        self.block = nn.Sequential(*layers)
        self.shortcut = stride == 1 and inputs == row.outputs

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.block(x)
        return x + y if self.shortcut else y


class MobileNetV3Large(Encoder):
    """MobileNetV3-Large with its last 1x1 convolution, indexed as torchvision's `features` and `backbone`.

    ``forward`` takes a float NCHW image with sides that are multiples of 32 (or of `output_stride`) and returns the
    features at ``strides``. `output_stride` 8 or 16 dilates the last stages; as in torchvision's segmentation
    networks, the first block of a dilated stage has the dilation of the others.
    """

    channels = (16, 24, 40, 112, LAST)
    published_prefix = "features."
    published_extras = ("classifier.",)

    def __init__(self, output_stride: int = 32) -> None:
        super().__init__()
        layers: list[nn.Module] = [conv_norm(3, STEM, nn.Hardswish, 3, stride=2)]
        inputs, steps = STEM, dilations([row.stride for row in ROWS], 2, output_stride)
        for row, (stride, dilation, _) in zip(ROWS, steps, strict=True):
            layers.append(InvertedResidual(inputs, row, stride, dilation))
            inputs = row.outputs
        layers.append(conv_norm(inputs, LAST, nn.Hardswish))
        for index, layer in enumerate(layers):
            self.add_module(str(index), layer)
        self.strides = tuple(min(stride, output_stride) for stride in (2, 4, 8, 16, 32))
        initialise(self)

    def forward(self, x: Tensor) -> list[Tensor]:
        check_size(x, self.strides[-1])
        features = []
        for index, layer in enumerate(self.children()):
            x = layer(x)
            if index in TAPS:
                features.append(x)  # 1/2, 1/4, 1/8, 1/16, 1/32
        return features


def _rounded(channels: int) -> int:
    """The nearest multiple of 8, not more than 10 % below."""
    rounded = max(8, (channels + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * channels else rounded


def mobilenet_v3_large(*, output_stride: int = 32) -> MobileNetV3Large:
    """MobileNetV3-Large: 5.5 M parameters as a classifier, 3.0 M as an encoder."""
    return MobileNetV3Large(output_stride)
