"""DDRNet: deep dual-resolution networks for real-time segmentation (Hong et al. 2021, arXiv 2101.06085).

From stride 8 on, a high-resolution branch (names with a trailing underscore) and a low-resolution branch exchange
features twice, and DAPPM gathers context at stride 64. Attribute names follow the published checkpoints.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from rtseg.models.blocks import (
    Heads,
    Network,
    SegmentationHead,
    basic_stage,
    bottleneck_stage,
    check_classes,
    check_size,
    conv_bn,
    conv_bn_relu,
    initialise,
    resize_like,
)
from rtseg.models.pyramid import Dappm

PLANES = 32
POOLING_PLANES = 128
HEAD_PLANES = 64


def _downsample(inputs: int, outputs: int) -> list[nn.Module]:
    return [nn.Conv2d(inputs, outputs, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(outputs)]


class DDRNet(Network):
    """DDRNet-23-slim.

    ``forward`` takes a float NCHW image with sides that are multiples of 8 and returns logits at stride 8; in training
    mode with ``training_heads`` it returns `Heads` with the auxiliary logits of the high-resolution branch, at stride 8
    too.
    """

    multiple = 8
    output_stride = 8
    published_extras = ("seghead_extra.",)

    def __init__(self, classes: int, *, training_heads: bool = False) -> None:
        super().__init__()
        check_classes(classes)
        c = PLANES
        self.conv1 = nn.Sequential(
            nn.Conv2d(3, c, 3, stride=2, padding=1),
            nn.BatchNorm2d(c),
            nn.ReLU(inplace=True),
            nn.Conv2d(c, c, 3, stride=2, padding=1),
            nn.BatchNorm2d(c),
            nn.ReLU(inplace=True),
        )
        # low resolution
        self.layer1 = basic_stage(c, c, 2)
        self.layer2 = basic_stage(c, 2 * c, 2, stride=2)
        self.layer3 = basic_stage(2 * c, 4 * c, 2, stride=2)
        self.layer4 = basic_stage(4 * c, 8 * c, 2, stride=2)
        self.layer5 = bottleneck_stage(8 * c, 8 * c, 1, stride=2)
        self.spp = Dappm(16 * c, POOLING_PLANES, 4 * c)
        # high resolution
        self.layer3_ = basic_stage(2 * c, 2 * c, 2)
        self.layer4_ = basic_stage(2 * c, 2 * c, 2)
        self.layer5_ = bottleneck_stage(2 * c, 2 * c, 1)
        # bilateral fusion: compression goes up, down goes down
        self.compression3 = conv_bn(4 * c, 2 * c)
        self.compression4 = conv_bn(8 * c, 2 * c)
        self.down3 = nn.Sequential(*_downsample(2 * c, 4 * c))
        self.down4 = nn.Sequential(*conv_bn_relu(2 * c, 4 * c, 3, stride=2), *_downsample(4 * c, 8 * c))
        # heads
        self.seghead_extra = SegmentationHead(2 * c, HEAD_PLANES, classes) if training_heads else None
        self.final_layer = SegmentationHead(4 * c, HEAD_PLANES, classes)
        initialise(self)

    def forward(self, x: Tensor) -> Tensor | Heads:
        check_size(x, self.multiple)
        x = self.layer1(self.conv1(x))  # 1/4, c
        x = F.relu(self.layer2(F.relu(x)))  # 1/8, 2c

        low, high = self.layer3(x), self.layer3_(x)  # 1/16, 4c and 1/8, 2c
        up = resize_like(self.compression3(F.relu(low)), high)
        low = low + self.down3(F.relu(high))
        high = high + up
        high_early = high

        low, high = self.layer4(F.relu(low)), self.layer4_(F.relu(high))  # 1/32, 8c and 1/8, 2c
        up = resize_like(self.compression4(F.relu(low)), high)
        low = low + self.down4(F.relu(high))
        high = high + up

        high = self.layer5_(F.relu(high))  # 1/8, 4c
        low = self.spp(self.layer5(F.relu(low)))  # 1/64, 16c -> 4c
        logits: Tensor = self.final_layer(high + resize_like(low, high))
        if self.training and self.seghead_extra is not None:
            return Heads(logits, (self.seghead_extra(high_early),))
        return logits


def ddrnet_23_slim(classes: int, *, training_heads: bool = False) -> DDRNet:
    """DDRNet-23-slim: 5.7 M parameters, 9.1 GMAC at 512x1024."""
    return DDRNet(classes, training_heads=training_heads)
