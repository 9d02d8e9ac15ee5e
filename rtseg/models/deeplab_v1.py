"""DeepLab-LargeFOV, the first DeepLab (Chen et al., ICLR 2015, arXiv 1412.7062).

VGG-16 whose last two poolings keep the resolution, with dilated convolutions behind them, and a fc6 of 3x3 instead of
7x7 weights that are spread by a dilation of 12: fewer parameters, larger field of view. The same head goes on any
other encoder at that stride. The paper refines its output with a dense conditional random field, which is not part of
the network.
"""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor, nn

from rtseg.models.blocks import Network, check_classes, check_size, initialise
from rtseg.models.encoders.fully_connected import FullyConnected, as_convolutions
from rtseg.models.factory import build_encoder

FC6_KERNEL, FC6_DILATION, PLANES = 3, 12, 1024


class DeepLabV1(Network):
    """DeepLab-LargeFOV on an encoder dilated to stride 8.

    ``forward`` takes a float NCHW image with sides that are multiples of 8 and returns logits at stride 8. From the
    published classifier of VGG-16 or AlexNet, fc6 and fc7 take a part
    (`rtseg.models.encoders.fully_connected.decimated`).
    """

    multiple = 8
    output_stride = 8

    def __init__(self, encoder: str, classes: int) -> None:
        super().__init__()
        check_classes(classes)
        self.encoder = build_encoder(encoder, output_stride=8)
        self.mean, self.std = self.encoder.mean, self.encoder.std
        published: FullyConnected | None = getattr(self.encoder, "fully_connected", None)
        layers = published or FullyConnected(self.encoder.channels[-1], FC6_KERNEL, fc6="", fc7="")
        layers = replace(layers, kernel=FC6_KERNEL, outputs=PLANES)
        self.fully_connected = as_convolutions(layers, published=published, dilation=FC6_DILATION)
        self.classifier = nn.Conv2d(PLANES, classes, 1)
        initialise(self.fully_connected)
        nn.init.normal_(self.classifier.weight, std=0.01)
        assert self.classifier.bias is not None
        nn.init.zeros_(self.classifier.bias)

    def forward(self, x: Tensor) -> Tensor:
        check_size(x, self.multiple)
        logits: Tensor = self.classifier(self.fully_connected(self.encoder(x)[-1]))  # 1/8
        return logits


def deeplabv1(encoder: str, classes: int, *, training_heads: bool = False) -> DeepLabV1:
    """DeepLab-LargeFOV: 20.5 M parameters on VGG-16; it has no training heads."""
    return DeepLabV1(encoder, classes)
