"""DeepLabV3+: atrous spatial pyramid pooling and a decoder (Chen et al., ECCV 2018, arXiv 1802.02611).

Parameters are as many as in segmentation_models.pytorch. Multiply-adds are 2.1 G more at 512x1024, because both
refining convolutions are at stride 4 as in the paper (table 2), where that package has the first at stride 16.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from rtseg.errors import ModelError
from rtseg.models.blocks import Network, check_classes, check_size, conv_bn_relu, initialise, resize_like
from rtseg.models.factory import build_encoder

DECODER_PLANES = 256
LOW_LEVEL_PLANES = 48
RATES = {16: (6, 12, 18), 8: (12, 24, 36)}


def separable(inputs: int, outputs: int, dilation: int = 1) -> nn.Sequential:
    """Return an atrous separable convolution (section 3.1): depthwise 3x3, then pointwise, each normalised."""
    return nn.Sequential(
        nn.Conv2d(inputs, inputs, 3, padding=dilation, dilation=dilation, groups=inputs, bias=False),
        nn.BatchNorm2d(inputs),
        nn.ReLU(inplace=True),
        *conv_bn_relu(inputs, outputs),
    )


class SeparableAspp(nn.Module):
    """Atrous spatial pyramid pooling with separable convolutions and image pooling (Chen et al. 2017, figure 5)."""

    def __init__(self, inputs: int, planes: int, rates: tuple[int, ...]) -> None:
        super().__init__()
        self.convs = nn.ModuleList([conv_bn_relu(inputs, planes), *(separable(inputs, planes, r) for r in rates)])
        self.pooling = nn.Sequential(nn.AdaptiveAvgPool2d(1), *conv_bn_relu(inputs, planes))
        self.project = conv_bn_relu(planes * (len(rates) + 2), planes)

    def forward(self, x: Tensor) -> Tensor:
        branches = [conv(x) for conv in self.convs]
        branches.append(self.pooling(x).expand_as(branches[0]))
        mixed: Tensor = self.project(torch.cat(branches, dim=1))
        return mixed


class DeepLabV3Plus(Network):
    """DeepLabV3+ on any encoder that has features at stride 4, dilated to `encoder_stride` 8 or 16.

    ``forward`` takes a float NCHW image with sides that are multiples of `encoder_stride` and returns logits at
    stride 4. At 8 the rates of the pyramid double (Chen et al. 2017, section 3.3).
    """

    output_stride = 4

    def __init__(self, encoder: str, classes: int, encoder_stride: int = 16) -> None:
        super().__init__()
        check_classes(classes)
        if encoder_stride not in RATES:
            raise ModelError(f"DeepLabV3+ has its encoder at stride 8 or 16, got {encoder_stride}")
        self.multiple = encoder_stride
        self.encoder = build_encoder(encoder, output_stride=encoder_stride)
        self.mean, self.std = self.encoder.mean, self.encoder.std
        self.low = self.encoder.strides.index(4)
        self.aspp = SeparableAspp(self.encoder.channels[-1], DECODER_PLANES, RATES[encoder_stride])
        self.dropout = nn.Dropout(0.1)
        self.reduce = conv_bn_relu(self.encoder.channels[self.low], LOW_LEVEL_PLANES)
        self.refine = nn.Sequential(
            separable(DECODER_PLANES + LOW_LEVEL_PLANES, DECODER_PLANES), separable(DECODER_PLANES, DECODER_PLANES)
        )
        self.classifier = nn.Conv2d(DECODER_PLANES, classes, 1)
        for part in (self.aspp, self.reduce, self.refine, self.classifier):
            initialise(part)

    def forward(self, x: Tensor) -> Tensor:
        check_size(x, self.multiple)
        features = self.encoder(x)
        context = self.dropout(self.aspp(features[-1]))  # 1/16 or 1/8
        detail = self.reduce(features[self.low])  # 1/4
        x = torch.cat([resize_like(context, detail), detail], dim=1)
        logits: Tensor = self.classifier(self.refine(x))  # 1/4
        return logits


def deeplabv3plus(
    encoder: str, classes: int, *, training_heads: bool = False, encoder_stride: int = 16
) -> DeepLabV3Plus:
    """DeepLabV3+ with its encoder at stride 16 (or 8) and its decoder at stride 4; it has no training heads."""
    return DeepLabV3Plus(encoder, classes, encoder_stride)
