"""PIDNet: a three-branch real-time segmentation network (Xu, Xiong and Bhattacharyya, CVPR 2023, arXiv 2206.02066).

The proportional branch (P) keeps detail at stride 8, the integral branch (I) gathers context down to stride 64, the
derivative branch (D) finds boundaries, and the boundary guides how P and I are mixed. Attribute names follow the
published checkpoints, so that their state dictionaries load.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rtseg.errors import ModelError
from rtseg.models.blocks import (
    BasicBlock,
    Heads,
    Network,
    SegmentationHead,
    basic_stage,
    bn_relu_conv,
    bottleneck_stage,
    check_classes,
    check_size,
    conv_bn,
    initialise,
    resize_like,
)
from rtseg.models.pyramid import Dappm, Pappm


@dataclass(frozen=True, slots=True)
class Variant:
    """Widths and depths of one PIDNet (table 2 of the paper)."""

    planes: int
    pooling_planes: int
    head_planes: int
    shallow_blocks: int
    deep_blocks: int
    light: bool


VARIANTS = {
    "s": Variant(planes=32, pooling_planes=96, head_planes=128, shallow_blocks=2, deep_blocks=3, light=True),
    "m": Variant(planes=64, pooling_planes=96, head_planes=128, shallow_blocks=2, deep_blocks=3, light=True),
    "l": Variant(planes=64, pooling_planes=112, head_planes=256, shallow_blocks=3, deep_blocks=4, light=False),
}


class Pag(nn.Module):
    """Pixel-attention-guided fusion: each pixel of P takes as much of I as their embeddings agree (equation 2)."""

    def __init__(self, planes: int, embedding: int) -> None:
        super().__init__()
        self.f_x = conv_bn(planes, embedding)
        self.f_y = conv_bn(planes, embedding)

    def forward(self, p: Tensor, i: Tensor) -> Tensor:
        agreement = torch.sigmoid((self.f_x(p) * resize_like(self.f_y(i), p)).sum(dim=1, keepdim=True))
        return p + agreement * (resize_like(i, p) - p)


class LightBag(nn.Module):
    """Boundary-attention-guided fusion with 1x1 convolutions (section 3.4): P at boundaries, I inside."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv_p = conv_bn(inputs, outputs)
        self.conv_i = conv_bn(inputs, outputs)

    def forward(self, p: Tensor, i: Tensor, d: Tensor) -> Tensor:
        boundary = torch.sigmoid(d)
        detail: Tensor = self.conv_p(p + (1 - boundary) * i)
        context: Tensor = self.conv_i(i + boundary * p)
        return detail + context


class Bag(nn.Module):
    """Boundary-attention-guided fusion with one 3x3 convolution (equation 4)."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv = bn_relu_conv(inputs, outputs, 3)

    def forward(self, p: Tensor, i: Tensor, d: Tensor) -> Tensor:
        boundary = torch.sigmoid(d)
        mixed: Tensor = self.conv(boundary * p + (1 - boundary) * i)
        return mixed


class PIDNet(Network):
    """PIDNet-S, -M or -L.

    ``forward`` takes a float NCHW image whose height and width are multiples of 8. It returns logits (N, classes,
    H/8, W/8); in training mode it returns `Heads` with the auxiliary logits of the P branch and the boundary logits
    (N, 1, H/8, W/8). Without ``training_heads`` the network has no auxiliary heads and always returns the main logits.
    """

    multiple = 8
    output_stride = 8
    published_extras = ("seghead_p.", "seghead_d.")

    def __init__(self, variant: str = "s", classes: int = 19, *, training_heads: bool = True) -> None:
        super().__init__()
        if variant not in VARIANTS:
            raise ModelError(f"unknown PIDNet variant {variant!r}: choose from {', '.join(VARIANTS)}")
        check_classes(classes)
        v = VARIANTS[variant]
        c = v.planes
        derivative = c if v.light else 2 * c
        self.conv1 = nn.Sequential(
            nn.Conv2d(3, c, 3, stride=2, padding=1),
            nn.BatchNorm2d(c),
            nn.ReLU(inplace=True),
            nn.Conv2d(c, c, 3, stride=2, padding=1),
            nn.BatchNorm2d(c),
            nn.ReLU(inplace=True),
        )
        # I branch
        self.layer1 = basic_stage(c, c, v.shallow_blocks)
        self.layer2 = basic_stage(c, 2 * c, v.shallow_blocks, stride=2)
        self.layer3 = basic_stage(2 * c, 4 * c, v.deep_blocks, stride=2)
        self.layer4 = basic_stage(4 * c, 8 * c, v.deep_blocks, stride=2)
        self.layer5 = bottleneck_stage(8 * c, 8 * c, 2, stride=2)
        self.spp = (Pappm if v.light else Dappm)(16 * c, v.pooling_planes, 4 * c)
        # P branch
        self.compression3 = conv_bn(4 * c, 2 * c)
        self.compression4 = conv_bn(8 * c, 2 * c)
        self.pag3 = Pag(2 * c, c)
        self.pag4 = Pag(2 * c, c)
        self.layer3_ = basic_stage(2 * c, 2 * c, v.shallow_blocks)
        self.layer4_ = basic_stage(2 * c, 2 * c, v.shallow_blocks)
        self.layer5_ = bottleneck_stage(2 * c, 2 * c, 1)
        # D branch
        self.layer3_d = BasicBlock(2 * c, derivative, last_relu=False)
        self.diff3 = conv_bn(4 * c, derivative, 3)
        self.layer4_d = bottleneck_stage(c, c, 1) if v.light else BasicBlock(2 * c, 2 * c, last_relu=False)
        self.diff4 = conv_bn(8 * c, 2 * c, 3)
        self.layer5_d = bottleneck_stage(2 * c, 2 * c, 1)
        # heads
        self.seghead_p = SegmentationHead(2 * c, v.head_planes, classes) if training_heads else None
        self.seghead_d = SegmentationHead(2 * c, c, 1) if training_heads else None
        self.dfm = (LightBag if v.light else Bag)(4 * c, 4 * c)
        self.final_layer = SegmentationHead(4 * c, v.head_planes, classes)
        initialise(self)

    def forward(self, x: Tensor) -> Tensor | Heads:
        check_size(x, self.multiple)
        x = self.layer1(self.conv1(x))  # 1/4, c
        x = F.relu(self.layer2(F.relu(x)))  # 1/8, 2c
        p, d = self.layer3_(x), self.layer3_d(x)

        i = F.relu(self.layer3(x))  # 1/16, 4c
        p = self.pag3(p, self.compression3(i))
        d = d + resize_like(self.diff3(i), d)
        p_early = p

        i = F.relu(self.layer4(i))  # 1/32, 8c
        p = self.layer4_(F.relu(p))
        d = self.layer4_d(F.relu(d))
        p = self.pag4(p, self.compression4(i))
        d = d + resize_like(self.diff4(i), d)
        d_early = d

        p = self.layer5_(F.relu(p))  # 1/8, 4c
        d = self.layer5_d(F.relu(d))  # 1/8, 4c
        i = resize_like(self.spp(self.layer5(i)), p)  # 1/64, 16c -> 1/8, 4c
        logits: Tensor = self.final_layer(self.dfm(p, i, d))
        if self.training and self.seghead_p is not None and self.seghead_d is not None:
            return Heads(logits, (self.seghead_p(p_early),), self.seghead_d(d_early))
        return logits


def pidnet_s(classes: int, *, training_heads: bool = False) -> PIDNet:
    """PIDNet-S: 7.6 M parameters, 11.8 GMAC at 512x1024."""
    return PIDNet("s", classes, training_heads=training_heads)


def pidnet_m(classes: int, *, training_heads: bool = False) -> PIDNet:
    """PIDNet-M: 28.5 M parameters, 44.3 GMAC at 512x1024."""
    return PIDNet("m", classes, training_heads=training_heads)


def pidnet_l(classes: int, *, training_heads: bool = False) -> PIDNet:
    """PIDNet-L: 36.9 M parameters, 68.7 GMAC at 512x1024."""
    return PIDNet("l", classes, training_heads=training_heads)
