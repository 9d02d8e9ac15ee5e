"""The same-size FCN: a plain stack of same-padded 3x3 convolutions that never downsamples.

It is the teaching baseline that every other network improves on: each layer works at full resolution, so its cost per
pixel is that of all its weights, and a pixel's label depends on 13x13 pixels around it and nothing else.
"""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor, nn

from rtseg.models.blocks import Network, check_classes, check_size, conv_bn_relu, initialise

PLANES = 64
DEPTH = 6


class SameSizeFCN(Network):
    """Six 3x3 convolutions with 64 channels, batch normalisation and ReLU, then a 1x1 classifier.

    ``forward`` takes a float NCHW image of any size and returns logits of that size. The receptive field is 13x13
    pixels: 1 + 2 per convolution.
    """

    multiple = 1
    output_stride = 1

    def __init__(self, classes: int) -> None:
        super().__init__()
        check_classes(classes)
        sizes = (3, *[PLANES] * DEPTH)
        self.layers = nn.Sequential(*(conv_bn_relu(a, b, 3) for a, b in pairwise(sizes)))
        self.classifier = nn.Conv2d(PLANES, classes, 1)
        initialise(self)

    def forward(self, x: Tensor) -> Tensor:
        check_size(x, self.multiple)
        logits: Tensor = self.classifier(self.layers(x))
        return logits


def fcn_same(classes: int, *, training_heads: bool = False) -> SameSizeFCN:
    """The same-size FCN: 0.19 M parameters, each used at every pixel; it has no training heads."""
    return SameSizeFCN(classes)
