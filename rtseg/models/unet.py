"""U-Net in its original symmetric form (Ronneberger, Fischer and Brox, MICCAI 2015, arXiv 1505.04597).

Two things differ from the paper, as users expect today: convolutions are padded, so that the logits have the input's
size and no skip is cropped; and each has batch normalisation, without which the network hardly trains from scratch at
usual learning rates. Dropout 0.5 closes the contracting path where the published Caffe definition has it.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rtseg.errors import ModelError
from rtseg.models.blocks import Network, check_classes, check_size, conv_bn_relu, initialise

PLANES = (64, 128, 256, 512, 1024)


def conv_pair(inputs: int, planes: int) -> nn.Sequential:
    """Return two 3x3 convolutions, each with batch normalisation and ReLU; the size stays."""
    return nn.Sequential(*conv_bn_relu(inputs, planes, 3), *conv_bn_relu(planes, planes, 3))


class Up(nn.Module):
    """One step of the expansive path: 2x2 transposed convolution, the skip concatenated, two convolutions."""

    def __init__(self, inputs: int, planes: int) -> None:
        super().__init__()
        self.up = nn.ConvTranspose2d(inputs, planes, 2, stride=2)
        self.convs = conv_pair(2 * planes, planes)

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        mixed: Tensor = self.convs(torch.cat([skip, self.up(x)], dim=1))
        return mixed


class BinaryHead(nn.Module):
    """One sigmoid channel: a single logit z per pixel, returned as the two-class logits (0, z).

    Softmax over (0, z) is (1 - sigmoid(z), sigmoid(z)), so that cross-entropy with ignore index is binary
    cross-entropy of z and the argmax is sigmoid(z) > 1/2: losses, label kernels and backends need no second case.
    """

    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        z = self.conv(x)
        return torch.cat([torch.zeros_like(z), z], dim=1)


class UNet(Network):
    """The U-Net of five levels, 64 to 1024 channels wide; `binary` has one sigmoid channel in place of two logits.

    ``forward`` takes a float NCHW image with sides that are multiples of 16 and returns logits (N, classes, H, W).
    """

    multiple = 16
    output_stride = 1

    def __init__(self, classes: int, *, binary: bool = False) -> None:
        super().__init__()
        check_classes(classes)
        if binary and classes != 2:
            raise ModelError(
                f"a network with one sigmoid channel distinguishes 2 classes, got {classes}: choose 'unet' for more"
            )
        self.down = nn.ModuleList(
            conv_pair(inputs, planes) for inputs, planes in zip((3, *PLANES[:-1]), PLANES, strict=True)
        )
        self.dropout = nn.Dropout(0.5)
        self.up = nn.ModuleList(Up(planes, planes // 2) for planes in reversed(PLANES[1:]))
        self.classifier = BinaryHead(PLANES[0]) if binary else nn.Conv2d(PLANES[0], classes, 1)
        initialise(self)

    def forward(self, x: Tensor) -> Tensor:
        check_size(x, self.multiple)
        skips: list[Tensor] = []
        for level, convs in enumerate(self.down):
            x = convs(F.max_pool2d(x, 2) if level else x)
            if level >= len(self.down) - 2:
                x = self.dropout(x)
            skips.append(x)  # 64 at 1, 128 at 1/2, 256 at 1/4, 512 at 1/8, 1024 at 1/16
        for up, skip in zip(self.up, reversed(skips[:-1]), strict=True):
            x = up(x, skip)
        logits: Tensor = self.classifier(x)
        return logits


def unet(classes: int, *, training_heads: bool = False) -> UNet:
    """U-Net: 31.0 M parameters; it has no training heads."""
    return UNet(classes)


def unet_binary(classes: int, *, training_heads: bool = False) -> UNet:
    """U-Net with one sigmoid channel for exactly two classes; it has no training heads."""
    return UNet(classes, binary=True)
