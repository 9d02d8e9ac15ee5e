"""LR-ASPP on MobileNetV3-Large, the segmentation network of its paper (Howard et al., ICCV 2019, arXiv 1905.02244).

State dictionary keys, and the gate from the mean of the whole image where the paper pools 49x49 windows, are those of
torchvision's lraspp_mobilenet_v3_large, whose weights load.
"""

from __future__ import annotations

from torch import Tensor, nn

from rtseg.models.blocks import Network, check_classes, check_size, conv_bn_relu, initialise, resize_like
from rtseg.models.factory import build_encoder

PLANES = 128
ENCODER_STRIDE = 16


class LrAsppHead(nn.Module):
    """Figure 10: deep features weighted by a gate of their mean, resized to and added to those at stride 8."""

    def __init__(self, low: int, high: int, classes: int) -> None:
        super().__init__()
        self.cbr = conv_bn_relu(high, PLANES)
        self.scale = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(high, PLANES, 1, bias=False), nn.Sigmoid())
        self.low_classifier = nn.Conv2d(low, classes, 1)
        self.high_classifier = nn.Conv2d(PLANES, classes, 1)

    def forward(self, low: Tensor, high: Tensor) -> Tensor:
        gated = resize_like(self.cbr(high) * self.scale(high), low)  # 1/16 -> 1/8
        logits: Tensor = self.low_classifier(low) + self.high_classifier(gated)
        return logits


class LrAspp(Network):
    """LR-ASPP on MobileNetV3-Large dilated to stride 16.

    ``forward`` takes a float NCHW image with sides that are multiples of 16 and returns logits (N, classes, H/8, W/8).
    """

    multiple = ENCODER_STRIDE
    output_stride = 8

    def __init__(self, classes: int) -> None:
        super().__init__()
        check_classes(classes)
        self.backbone = build_encoder("mobilenetv3-large", output_stride=ENCODER_STRIDE)
        self.mean, self.std = self.backbone.mean, self.backbone.std
        self.low = self.backbone.strides.index(self.output_stride)
        self.classifier = LrAsppHead(self.backbone.channels[self.low], self.backbone.channels[-1], classes)
        initialise(self.classifier)

    def forward(self, x: Tensor) -> Tensor:
        check_size(x, self.multiple)
        features = self.backbone(x)
        logits: Tensor = self.classifier(features[self.low], features[-1])
        return logits


def lraspp_mobilenetv3_large(classes: int, *, training_heads: bool = False) -> LrAspp:
    """LR-ASPP: 3.2 M parameters, 3.9 GMAC at 512x1024; it has no training heads."""
    return LrAspp(classes)
