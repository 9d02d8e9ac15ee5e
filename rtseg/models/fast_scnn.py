"""Fast-SCNN: fast segmentation convolutional neural network (Poudel, Liwicki and Cipolla 2019, arXiv 1902.04502).

Three layers learn to downsample by 8; a global feature extractor goes on to stride 32 and pools a pyramid; the fusion
adds both at stride 8. There are no weights from its authors, so attribute names are this package's own.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rtseg.models.blocks import (
    Heads,
    Network,
    check_classes,
    check_size,
    conv_bn,
    conv_bn_relu,
    initialise,
    resize_like,
)
from rtseg.models.pspnet import PyramidPool

EXPANSION = 6
BINS = (1, 2, 3, 6)
AUXILIARY_PLANES = 32


def _depthwise(planes: int, stride: int = 1, dilation: int = 1) -> list[nn.Module]:
    conv = nn.Conv2d(planes, planes, 3, stride, padding=dilation, dilation=dilation, groups=planes, bias=False)
    return [conv, nn.BatchNorm2d(planes)]


def separable(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    """Return a depthwise separable convolution with no activation between its two parts (section 3.2.1)."""
    return nn.Sequential(*_depthwise(inputs, stride), *conv_bn_relu(inputs, outputs))


class InvertedResidual(nn.Module):
    """MobileNetV2's bottleneck: expand by 6, depthwise 3x3, linear 1x1; a shortcut where shapes allow (table 2)."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        planes = EXPANSION * inputs
        self.block = nn.Sequential(
            *conv_bn_relu(inputs, planes),
            *_depthwise(planes, stride),
            nn.ReLU(inplace=True),
            *conv_bn(planes, outputs),
        )
        self.shortcut = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.block(x)
        return x + y if self.shortcut else y


def _stage(inputs: int, outputs: int, count: int, stride: int) -> nn.Sequential:
    rest = (InvertedResidual(outputs, outputs, 1) for _ in range(count - 1))
    return nn.Sequential(InvertedResidual(inputs, outputs, stride), *rest)


class PyramidPooling(nn.Module):
    """Averages over 1x1, 2x2, 3x3 and 6x6 bins beside the features themselves (Zhao et al. 2017, figure 3)."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.levels = nn.ModuleList([PyramidPool(inputs, inputs // len(BINS), bins) for bins in BINS])
        self.project = conv_bn_relu(2 * inputs, outputs)

    def forward(self, x: Tensor) -> Tensor:
        mixed: Tensor = self.project(torch.cat([x, *(level(x) for level in self.levels)], dim=1))
        return mixed


class FeatureFusion(nn.Module):
    """Adds the upsampled global features, through a dilated depthwise convolution, to the fine ones (table 3)."""

    def __init__(self, fine: int, coarse: int, outputs: int) -> None:
        super().__init__()
        self.depthwise = nn.Sequential(*_depthwise(coarse, dilation=4), nn.ReLU(inplace=True))
        self.coarse = conv_bn(coarse, outputs)
        self.fine = conv_bn(fine, outputs)

    def forward(self, fine: Tensor, coarse: Tensor) -> Tensor:
        return F.relu(self.fine(fine) + self.coarse(self.depthwise(resize_like(coarse, fine))))


def _auxiliary(inputs: int, classes: int) -> nn.Sequential:
    return nn.Sequential(
        *conv_bn_relu(inputs, AUXILIARY_PLANES, 3), nn.Dropout(0.1), nn.Conv2d(AUXILIARY_PLANES, classes, 1)
    )


class FastSCNN(Network):
    """Fast-SCNN.

    ``forward`` takes a float NCHW image with sides that are multiples of 8 and returns logits at stride 8; in training
    mode with ``training_heads`` it returns `Heads` with auxiliary logits of the two inputs of the fusion, at strides 8
    and 32.
    """

    multiple = 8
    output_stride = 8
    published_extras = ("auxiliary_fine.", "auxiliary_coarse.")

    def __init__(self, classes: int, *, training_heads: bool = False) -> None:
        super().__init__()
        check_classes(classes)
        self.downsample = nn.Sequential(
            conv_bn_relu(3, 32, 3, stride=2), separable(32, 48, stride=2), separable(48, 64, stride=2)
        )
        self.extract = nn.Sequential(
            _stage(64, 64, 3, stride=2),
            _stage(64, 96, 3, stride=2),
            _stage(96, 128, 3, stride=1),
            PyramidPooling(128, 128),
        )
        self.fuse = FeatureFusion(64, 128, 128)
        self.classify = nn.Sequential(
            separable(128, 128), separable(128, 128), nn.Dropout(0.1), nn.Conv2d(128, classes, 1)
        )
        self.auxiliary_fine = _auxiliary(64, classes) if training_heads else None
        self.auxiliary_coarse = _auxiliary(128, classes) if training_heads else None
        initialise(self)

    def forward(self, x: Tensor) -> Tensor | Heads:
        check_size(x, self.multiple)
        fine = self.downsample(x)  # 1/8, 64
        coarse = self.extract(fine)  # 1/32, 128
        logits: Tensor = self.classify(self.fuse(fine, coarse))  # 1/8
        if self.training and self.auxiliary_fine is not None and self.auxiliary_coarse is not None:
            return Heads(logits, (self.auxiliary_fine(fine), self.auxiliary_coarse(coarse)))
        return logits


def fast_scnn(classes: int, *, training_heads: bool = False) -> FastSCNN:
    """Fast-SCNN: 1.1 M parameters, 1.7 GMAC at 512x1024."""
    return FastSCNN(classes, training_heads=training_heads)
