"""FCN on a dilated ResNet as torchvision publishes it (`fcn_resnet50`, `fcn_resnet101`), under the same keys.

It follows Long et al. 2015 in being fully convolutional, and differs: output stride 8 by dilation (Yu and Koltun 2016,
arXiv 1511.07122) instead of skips, and a 3x3 convolution in front of the scores.
"""

from __future__ import annotations

from torch import Tensor

from rtseg.models.blocks import Heads, Network, check_classes, check_size, fcn_head, initialise
from rtseg.models.factory import build_encoder


class TorchvisionFCN(Network):
    """FCN on a ResNet encoder at output stride 8.

    ``forward`` takes a float NCHW image with sides that are multiples of 8 and returns logits at stride 8; torchvision
    resizes them to the image. In training mode with ``training_heads`` it returns `Heads` with the logits of an
    auxiliary head on the features before the last stage.
    """

    multiple = 8
    output_stride = 8
    published_extras = ("aux_classifier.",)

    def __init__(self, encoder: str, classes: int, *, training_heads: bool = False) -> None:
        super().__init__()
        check_classes(classes)
        self.backbone = build_encoder(encoder, output_stride=8)
        self.mean, self.std = self.backbone.mean, self.backbone.std
        self.classifier = fcn_head(self.backbone.channels[-1], classes)
        self.aux_classifier = fcn_head(self.backbone.channels[-2], classes) if training_heads else None
        initialise(self.classifier)
        if self.aux_classifier is not None:
            initialise(self.aux_classifier)

    def forward(self, x: Tensor) -> Tensor | Heads:
        check_size(x, self.multiple)
        *_, middle, deep = self.backbone(x)  # 1/8, 1/8
        logits: Tensor = self.classifier(deep)
        if self.training and self.aux_classifier is not None:
            return Heads(logits, (self.aux_classifier(middle),))
        return logits


def fcn_resnet50(classes: int, *, training_heads: bool = False) -> TorchvisionFCN:
    """torchvision's fcn_resnet50: 33.0 M parameters, 35.3 M with the auxiliary head."""
    return TorchvisionFCN("resnet50", classes, training_heads=training_heads)


def fcn_resnet101(classes: int, *, training_heads: bool = False) -> TorchvisionFCN:
    """torchvision's fcn_resnet101: 51.9 M parameters, 54.3 M with the auxiliary head."""
    return TorchvisionFCN("resnet101", classes, training_heads=training_heads)
