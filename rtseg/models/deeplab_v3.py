"""DeepLabV3: atrous convolution and spatial pyramid pooling (Chen et al. 2017, arXiv 1706.05587).

State dictionary keys are those of torchvision's deeplabv3_resnet50, deeplabv3_resnet101 and
deeplabv3_mobilenet_v3_large, whose weights load into `deeplabv3-resnet50`, `deeplabv3-resnet101` and
`deeplabv3-mobilenetv3-large`.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from rtseg.errors import ModelError
from rtseg.models.blocks import Heads, Network, check_classes, check_size, conv_bn_relu, fcn_head, initialise
from rtseg.models.factory import build_encoder

PLANES = 256
RATES = {16: (6, 12, 18), 8: (12, 24, 36)}
"""Of the pyramid at each output stride (section 3.3)."""
PUBLISHED_RATES = {("mobilenetv3-large", 16): (12, 24, 36)}
"""Where torchvision's network has other rates than the paper."""
AUXILIARY_FEATURE = {"mobilenetv3-large": 2}
"""Which of the encoder's features the published auxiliary head takes, where it is not the last but one."""


class Aspp(nn.Module):
    """Atrous spatial pyramid pooling: 1x1, three dilated 3x3 and image pooling side by side, then projected."""

    def __init__(self, inputs: int, planes: int, rates: tuple[int, ...]) -> None:
        super().__init__()
        dilated = [conv_bn_relu(inputs, planes, 3, dilation=rate) for rate in rates]
        pooling = nn.Sequential(nn.AdaptiveAvgPool2d(1), *conv_bn_relu(inputs, planes))
        self.convs = nn.ModuleList([conv_bn_relu(inputs, planes), *dilated, pooling])
        self.project = nn.Sequential(*conv_bn_relu(planes * len(self.convs), planes), nn.Dropout(0.5))

    def forward(self, x: Tensor) -> Tensor:
        *branches, pooled = [conv(x) for conv in self.convs]
        mixed: Tensor = self.project(torch.cat([*branches, pooled.expand_as(branches[0])], dim=1))
        return mixed


class DeepLabV3(Network):
    """DeepLabV3 on an encoder dilated to `output_stride`.

    ``forward`` takes a float NCHW image with sides that are multiples of ``output_stride`` and returns logits at that
    stride; in training mode `Heads` with the auxiliary logits, if made with ``training_heads``.
    """

    published_extras = ("aux_classifier.",)

    def __init__(self, encoder: str, classes: int, output_stride: int = 8, *, training_heads: bool = True) -> None:
        super().__init__()
        check_classes(classes)
        if output_stride not in RATES:
            raise ModelError(f"DeepLabV3 has output stride 8 or 16, got {output_stride}")
        self.multiple = self.output_stride = output_stride
        self.backbone = build_encoder(encoder, output_stride=output_stride)
        self.mean, self.std = self.backbone.mean, self.backbone.std
        channels = self.backbone.channels
        self.auxiliary_feature = AUXILIARY_FEATURE.get(encoder, len(channels) - 2)
        rates = PUBLISHED_RATES.get((encoder, output_stride), RATES[output_stride])
        self.classifier = nn.Sequential(
            Aspp(channels[-1], PLANES, rates), *conv_bn_relu(PLANES, PLANES, 3), nn.Conv2d(PLANES, classes, 1)
        )
        self.aux_classifier = fcn_head(channels[self.auxiliary_feature], classes) if training_heads else None
        initialise(self.classifier)
        if self.aux_classifier is not None:
            initialise(self.aux_classifier)

    def forward(self, x: Tensor) -> Tensor | Heads:
        check_size(x, self.multiple)
        features = self.backbone(x)
        logits: Tensor = self.classifier(features[-1])
        if self.training and self.aux_classifier is not None:
            return Heads(logits, (self.aux_classifier(features[self.auxiliary_feature]),))
        return logits


def deeplabv3(
    encoder: str, classes: int, *, training_heads: bool = False, encoder_stride: int | None = None
) -> DeepLabV3:
    """DeepLabV3 with its encoder at stride 8 or 16: by default the published one, 8 on ResNets, 16 on all others."""
    if encoder_stride is None:
        encoder_stride = 8 if encoder.startswith("resnet") else 16
    return DeepLabV3(encoder, classes, encoder_stride, training_heads=training_heads)
