"""AlexNet (Krizhevsky, "One weird trick", 2014, arXiv 1404.5997), the one-column form that torchvision publishes.

The published padding gives 55, 27, 13 and 6 cells for 224 pixels: no strides that a decoder could undo. Here the first
convolution pads 4 pixels instead of 2 and each pooling one more row and column, so that a side that is a multiple of
32 is divided by exactly 4, 8, 16 and 32. Padding has no weights: the published ones load unchanged, and a cell still
sees the same convolutions, up to half a cell away.
"""

from __future__ import annotations

from torch import Tensor, nn

from rtseg.models.blocks import Encoder, check_size, dilations, initialise
from rtseg.models.encoders.fully_connected import FullyConnected
from rtseg.models.encoders.pooling import OverlappingPool


class AlexNet(Encoder):
    """AlexNet up to pool5, with the keys `features.N` of torchvision's `alexnet`.

    ``forward`` takes a float NCHW image with sides that are multiples of 32 (or of `output_stride`) and returns the
    first convolution and the three poolings. With `output_stride` 8 or 16 the last poolings have stride 1 and the
    convolutions behind them are dilated; `dilation` is what a convolution on the last feature needs.
    """

    channels = (64, 64, 192, 256)
    published_extras = ("classifier.",)
    fully_connected = FullyConnected(256, 6, "classifier.1", "classifier.4")

    def __init__(self, output_stride: int = 32) -> None:
        super().__init__()
        (s1, d1, _), (s2, d2, _), (s5, d5, _) = dilations((2, 2, 2), 4, output_stride)
        # Poolings that pad behind, in front, behind keep a cell's centre within a fifth of a cell of its pixels'.
        self.features = nn.ModuleList(
            [
                nn.Conv2d(3, 64, 11, 4, padding=4),
                nn.ReLU(inplace=True),
                OverlappingPool(s1),
                nn.Conv2d(64, 192, 5, padding=2 * d1, dilation=d1),
                nn.ReLU(inplace=True),
                OverlappingPool(s2, front=True),
                nn.Conv2d(192, 384, 3, padding=d2, dilation=d2),
                nn.ReLU(inplace=True),
                nn.Conv2d(384, 256, 3, padding=d2, dilation=d2),
                nn.ReLU(inplace=True),
                nn.Conv2d(256, 256, 3, padding=d2, dilation=d2),
                nn.ReLU(inplace=True),
                OverlappingPool(s5),
            ]
        )
        self.dilation = d5
        self.strides = tuple(min(stride, output_stride) for stride in (4, 8, 16, 32))
        initialise(self)

    def forward(self, x: Tensor) -> list[Tensor]:
        check_size(x, self.strides[-1])
        features = []
        for index, layer in enumerate(self.features):
            x = layer(x)
            if index == 1 or isinstance(layer, OverlappingPool):
                features.append(x)  # 1/4, 1/8, 1/16, 1/32
        return features


def alexnet(*, output_stride: int = 32) -> AlexNet:
    """AlexNet: 61.1 M parameters as a classifier, 2.5 M as an encoder."""
    return AlexNet(output_stride)
