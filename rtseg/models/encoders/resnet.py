"""ResNet (He et al., CVPR 2016, arXiv 1512.03385), with the stride of a bottleneck in its 3x3 convolution."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from rtseg.models.blocks import BasicBlock, Bottleneck, Encoder, check_size, dilations, initialise

PLANES = (64, 128, 256, 512)


class ResNet(Encoder):
    """ResNet of `depths` blocks per stage, with the keys of torchvision's `resnet18` to `resnet101`.

    ``forward`` takes a float NCHW image with sides that are multiples of 32 (or of `output_stride`) and returns the
    first convolution and the four stages. `output_stride` 8 or 16 dilates the last stages as torchvision's
    `replace_stride_with_dilation`: the convolution that would stride keeps the dilation of the stage before it.
    """

    published_extras = ("fc.",)

    def __init__(self, depths: tuple[int, int, int, int], *, bottleneck: bool, output_stride: int = 32) -> None:
        super().__init__()
        expansion = 4 if bottleneck else 1
        self.conv1 = nn.Conv2d(3, 64, 7, 2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.maxpool = nn.MaxPool2d(3, 2, padding=1)
        stages, inputs = [], 64
        steps = dilations((1, 2, 2, 2), 4, output_stride)
        for planes, depth, (stride, dilation, before) in zip(PLANES, depths, steps, strict=True):
            blocks: list[nn.Module] = []
            for position in range(depth):
                first = (stride, before) if position == 0 else (1, dilation)
                if bottleneck:
                    blocks.append(Bottleneck(inputs, planes, *first, expansion=expansion, last_relu=True))
                else:
                    blocks.append(BasicBlock(inputs, planes, *first, after=dilation))
                inputs = planes * expansion
            stages.append(nn.Sequential(*blocks))
        self.layer1, self.layer2, self.layer3, self.layer4 = stages
        self.channels = (64, *(planes * expansion for planes in PLANES))
        self.strides = tuple(min(stride, output_stride) for stride in (2, 4, 8, 16, 32))
        initialise(self)

    def forward(self, x: Tensor) -> list[Tensor]:
        check_size(x, self.strides[-1])
        c1 = F.relu(self.bn1(self.conv1(x)))  # 1/2
        c2 = self.layer1(self.maxpool(c1))  # 1/4
        c3 = self.layer2(c2)  # 1/8
        c4 = self.layer3(c3)  # 1/16
        c5 = self.layer4(c4)  # 1/32
        return [c1, c2, c3, c4, c5]


def resnet18(*, output_stride: int = 32) -> ResNet:
    """ResNet-18: 11.7 M parameters as a classifier."""
    return ResNet((2, 2, 2, 2), bottleneck=False, output_stride=output_stride)


def resnet34(*, output_stride: int = 32) -> ResNet:
    """ResNet-34: 21.8 M parameters as a classifier."""
    return ResNet((3, 4, 6, 3), bottleneck=False, output_stride=output_stride)


def resnet50(*, output_stride: int = 32) -> ResNet:
    """ResNet-50: 25.6 M parameters as a classifier."""
    return ResNet((3, 4, 6, 3), bottleneck=True, output_stride=output_stride)


def resnet101(*, output_stride: int = 32) -> ResNet:
    """ResNet-101: 44.5 M parameters as a classifier."""
    return ResNet((3, 4, 23, 3), bottleneck=True, output_stride=output_stride)
