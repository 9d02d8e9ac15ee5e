"""BiSeNet V2: bilateral network with guided aggregation (Yu et al. 2021, arXiv 2004.02147).

A wide, shallow detail branch keeps stride 8; a narrow, deep semantic branch goes down to stride 32; bilateral guided
aggregation lets each gate the other. Attribute names, the activations that the paper's figures leave out and the
nearest-neighbour resizing inside the aggregation are those of the checkpoints published for PyTorch
(CoinCheung/BiSeNet), so that these load and compute the same.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rtseg.models.blocks import Heads, Network, check_classes, check_size, initialise, named_conv_bn_relu

EXPANSION = 6
HEAD_PLANES = 1024
BOOSTER_PLANES = 128


def _depthwise(inputs: int, outputs: int, stride: int = 1) -> list[nn.Module]:
    """A 3x3 convolution of each channel on its own (to several each where outputs > inputs), normalised."""
    conv = nn.Conv2d(inputs, outputs, 3, stride, padding=1, groups=inputs, bias=False)
    return [conv, nn.BatchNorm2d(outputs)]


def _pointwise(inputs: int, outputs: int) -> list[nn.Module]:
    return [nn.Conv2d(inputs, outputs, 1, bias=False), nn.BatchNorm2d(outputs)]


class Stem(nn.Module):
    """Downsampling by 4 along two paths, convolution and max-pooling (figure 4a)."""

    def __init__(self, planes: int) -> None:
        super().__init__()
        self.conv = named_conv_bn_relu(3, planes, 3, stride=2)
        self.left = nn.Sequential(
            named_conv_bn_relu(planes, planes // 2), named_conv_bn_relu(planes // 2, planes, 3, stride=2)
        )
        self.right = nn.MaxPool2d(3, stride=2, padding=1)
        self.fuse = named_conv_bn_relu(2 * planes, planes, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)  # 1/2
        fused: Tensor = self.fuse(torch.cat([self.left(x), self.right(x)], dim=1))  # 1/4
        return fused


class Gather(nn.Module):
    """Gather-and-expansion layer at stride 1: 3x3, depthwise 3x3 to six times the planes, 1x1 back (figure 5b)."""

    def __init__(self, planes: int) -> None:
        super().__init__()
        wide = EXPANSION * planes
        self.conv1 = named_conv_bn_relu(planes, planes, 3)
        self.dwconv = nn.Sequential(*_depthwise(planes, wide), nn.ReLU(inplace=True))
        self.conv2 = nn.Sequential(*_pointwise(wide, planes))

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(x + self.conv2(self.dwconv(self.conv1(x))))


class GatherDown(nn.Module):
    """Gather-and-expansion layer at stride 2: two depthwise convolutions, a separable shortcut (figure 5c)."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        wide = EXPANSION * inputs
        self.conv1 = named_conv_bn_relu(inputs, inputs, 3)
        self.dwconv1 = nn.Sequential(*_depthwise(inputs, wide, stride=2))
        self.dwconv2 = nn.Sequential(*_depthwise(wide, wide), nn.ReLU(inplace=True))
        self.conv2 = nn.Sequential(*_pointwise(wide, outputs))
        self.shortcut = nn.Sequential(*_depthwise(inputs, inputs, stride=2), *_pointwise(inputs, outputs))

    def forward(self, x: Tensor) -> Tensor:
        y = self.dwconv2(self.dwconv1(self.conv1(x)))
        return F.relu(self.conv2(y) + self.shortcut(x))


class ContextEmbedding(nn.Module):
    """Adds the image's mean, through a 1x1 convolution, to every pixel (figure 4b)."""

    def __init__(self, planes: int) -> None:
        super().__init__()
        self.bn = nn.BatchNorm2d(planes)
        self.conv_gap = named_conv_bn_relu(planes, planes)
        self.conv_last = named_conv_bn_relu(planes, planes, 3)

    def forward(self, x: Tensor) -> Tensor:
        mean = self.conv_gap(self.bn(x.mean(dim=(2, 3), keepdim=True)))
        y: Tensor = self.conv_last(x + mean)
        return y


class DetailBranch(nn.Module):
    """Eight 3x3 convolutions down to stride 8 (table 1)."""

    def __init__(self) -> None:
        super().__init__()
        self.S1 = _stage(3, 64, 2)
        self.S2 = _stage(64, 64, 3)
        self.S3 = _stage(64, 128, 3)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.S3(self.S2(self.S1(x)))
        return y


def _stage(inputs: int, planes: int, count: int) -> nn.Sequential:
    rest = (named_conv_bn_relu(planes, planes, 3) for _ in range(count - 1))
    return nn.Sequential(named_conv_bn_relu(inputs, planes, 3, stride=2), *rest)


class SemanticBranch(nn.Module):
    """Gather-and-expansion layers down to stride 32 and the context embedding (table 1)."""

    def __init__(self) -> None:
        super().__init__()
        self.S1S2 = Stem(16)
        self.S3 = nn.Sequential(GatherDown(16, 32), Gather(32))
        self.S4 = nn.Sequential(GatherDown(32, 64), Gather(64))
        self.S5_4 = nn.Sequential(GatherDown(64, 128), Gather(128), Gather(128), Gather(128))
        self.S5_5 = ContextEmbedding(128)

    def forward(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Return the embedded context and the four stages' features, for the booster heads."""
        stages = []
        for stage in (self.S1S2, self.S3, self.S4, self.S5_4):
            x = stage(x)
            stages.append(x)  # 1/4, 16; 1/8, 32; 1/16, 64; 1/32, 128
        return self.S5_5(x), stages


class BilateralGuidedAggregation(nn.Module):
    """Detail gated by context at stride 8 plus context gated by detail at stride 32, then a convolution (figure 6)."""

    def __init__(self, planes: int) -> None:
        super().__init__()
        self.left1 = nn.Sequential(*_depthwise(planes, planes), nn.Conv2d(planes, planes, 1, bias=False))
        self.left2 = nn.Sequential(
            nn.Conv2d(planes, planes, 3, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(planes),
            nn.AvgPool2d(3, stride=2, padding=1),
        )
        self.right1 = nn.Sequential(nn.Conv2d(planes, planes, 3, padding=1, bias=False), nn.BatchNorm2d(planes))
        self.right2 = nn.Sequential(*_depthwise(planes, planes), nn.Conv2d(planes, planes, 1, bias=False))
        self.conv = nn.Sequential(
            nn.Conv2d(planes, planes, 3, padding=1, bias=False), nn.BatchNorm2d(planes), nn.ReLU(inplace=True)
        )

    def forward(self, detail: Tensor, context: Tensor) -> Tensor:
        size = detail.shape[-2:]
        fine = self.left1(detail) * torch.sigmoid(F.interpolate(self.right1(context), size=size))
        coarse = self.left2(detail) * torch.sigmoid(self.right2(context))
        mixed: Tensor = self.conv(fine + F.interpolate(coarse, size=size))
        return mixed


class Head(nn.Module):
    """A 3x3 convolution, dropout and a 1x1 classifier; a booster doubles the resolution in between."""

    def __init__(self, inputs: int, planes: int, classes: int, *, booster: int = 0) -> None:
        super().__init__()
        self.conv = named_conv_bn_relu(inputs, planes, 3)
        self.drop = nn.Dropout(0.1)
        between: nn.Module = nn.Identity()
        if booster:
            between = nn.Sequential(nn.Upsample(scale_factor=2), named_conv_bn_relu(planes, booster, 3))
        self.conv_out = nn.Sequential(between, nn.Conv2d(booster or planes, classes, 1))

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.conv_out(self.drop(self.conv(x)))
        return logits


class BiSeNetV2(Network):
    """BiSeNet V2 with the published widths (alpha 1, lambda 1/4).

    ``forward`` takes a float NCHW image with sides that are multiples of 8 and returns logits at stride 8; in training
    mode with ``training_heads`` it returns `Heads` with the logits of the four boosters, at strides 2, 4, 8 and 16.
    """

    multiple = 8
    output_stride = 8
    published_extras = ("aux2.", "aux3.", "aux4.", "aux5_4.")

    def __init__(self, classes: int, *, training_heads: bool = False) -> None:
        super().__init__()
        check_classes(classes)
        self.detail = DetailBranch()
        self.segment = SemanticBranch()
        self.bga = BilateralGuidedAggregation(128)
        self.head = Head(128, HEAD_PLANES, classes)
        self.training_heads = training_heads
        if training_heads:
            self.aux2 = Head(16, BOOSTER_PLANES, classes, booster=4**2)
            self.aux3 = Head(32, BOOSTER_PLANES, classes, booster=8**2)
            self.aux4 = Head(64, BOOSTER_PLANES, classes, booster=16**2)
            self.aux5_4 = Head(128, BOOSTER_PLANES, classes, booster=32**2)
        initialise(self)

    def forward(self, x: Tensor) -> Tensor | Heads:
        check_size(x, self.multiple)
        detail = self.detail(x)  # 1/8, 128
        context, stages = self.segment(x)  # 1/32, 128
        logits: Tensor = self.head(self.bga(detail, context))  # 1/8
        if self.training and self.training_heads:
            boosters = (self.aux2, self.aux3, self.aux4, self.aux5_4)
            return Heads(logits, tuple(head(stage) for head, stage in zip(boosters, stages, strict=True)))
        return logits


def bisenetv2(classes: int, *, training_heads: bool = False) -> BiSeNetV2:
    """BiSeNet V2: 3.4 M parameters, 24.6 GMAC at 512x1024."""
    return BiSeNetV2(classes, training_heads=training_heads)
