"""Deep residual U-Net (Zhang, Liu and Wang 2018, arXiv 1711.10684): a U-Net of pre-activated residual units.

The paper does not say how a shortcut changes width or how features are upsampled; as in the published implementations
a shortcut is then a 1x1 convolution, and upsampling repeats the nearest pixel. That is 0.4 M parameters on top of the
paper's 7.8 M.
"""

from __future__ import annotations

import itertools

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rtseg.models.blocks import Network, bn_relu_conv, check_classes, check_size, initialise

PLANES = (64, 128, 256, 512)


class ResidualUnit(nn.Module):
    """Two pre-activated 3x3 convolutions (He et al. 2016, arXiv 1603.05027) and a shortcut; `stride` is the first's.

    The unit at the image has no activation in front (table 1 of the paper).
    """

    def __init__(self, inputs: int, planes: int, stride: int = 1, *, at_image: bool = False) -> None:
        super().__init__()
        self.activate = nn.Sequential() if at_image else nn.Sequential(nn.BatchNorm2d(inputs), nn.ReLU())
        self.conv1 = nn.Conv2d(inputs, planes, 3, stride, padding=1, bias=False)
        self.conv2 = bn_relu_conv(planes, planes, 3)
        same = stride == 1 and inputs == planes
        self.shortcut = nn.Sequential() if same else nn.Conv2d(inputs, planes, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.conv2(self.conv1(self.activate(x)))
        shortcut: Tensor = self.shortcut(x)
        return y + shortcut


class ResidualUNet(Network):
    """The residual U-Net of seven levels: three down, the bridge, three up.

    ``forward`` takes a float NCHW image with sides that are multiples of 8 and returns logits (N, classes, H, W).
    """

    multiple = 8
    output_stride = 1

    def __init__(self, classes: int) -> None:
        super().__init__()
        check_classes(classes)
        self.encode = nn.ModuleList([ResidualUnit(3, PLANES[0], at_image=True)])
        self.encode += [ResidualUnit(a, b, stride=2) for a, b in itertools.pairwise(PLANES)]
        self.decode = nn.ModuleList(ResidualUnit(3 * planes, planes) for planes in reversed(PLANES[:-1]))
        self.classifier = nn.Conv2d(PLANES[0], classes, 1)
        initialise(self)

    def forward(self, x: Tensor) -> Tensor:
        check_size(x, self.multiple)
        skips: list[Tensor] = []
        for unit in self.encode:
            x = unit(x)
            skips.append(x)  # 64 at 1, 128 at 1/2, 256 at 1/4, the bridge's 512 at 1/8
        for unit, skip in zip(self.decode, reversed(skips[:-1]), strict=True):
            x = unit(torch.cat([F.interpolate(x, scale_factor=2.0), skip], dim=1))
        logits: Tensor = self.classifier(x)
        return logits


def unet_residual(classes: int, *, training_heads: bool = False) -> ResidualUNet:
    """Residual U-Net: 8.2 M parameters; it has no training heads."""
    return ResidualUNet(classes)
