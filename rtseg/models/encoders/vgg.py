"""VGG-16 (Simonyan and Zisserman, ICLR 2015, arXiv 1409.1556), without batch normalisation."""

from __future__ import annotations

from torch import Tensor, nn

from rtseg.models.blocks import Encoder, check_size, dilations, initialise
from rtseg.models.encoders.fully_connected import FullyConnected

STAGES = ((2, 64), (2, 128), (3, 256), (3, 512), (3, 512))
"""Convolutions and channels in front of each pooling."""


class VGG16(Encoder):
    """VGG-16 up to pool5, with the keys `features.N` of torchvision's `vgg16`.

    ``forward`` takes a float NCHW image with sides that are multiples of 32 (or of `output_stride`) and returns the
    five poolings. With `output_stride` 8 or 16 the last poolings have stride 1 and the convolutions behind them are
    dilated (DeepLab, Chen et al. 2015, arXiv 1412.7062); `dilation` is what a convolution on the last feature needs.
    """

    channels = tuple(planes for _, planes in STAGES)
    published_extras = ("classifier.",)
    fully_connected = FullyConnected(512, 7, "classifier.0", "classifier.3")

    def __init__(self, output_stride: int = 32) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        inputs, dilation, ends = 3, 1, []
        steps = dilations([2] * len(STAGES), 1, output_stride)
        for (count, planes), (stride, behind, _) in zip(STAGES, steps, strict=True):
            for _ in range(count):
                layers += [nn.Conv2d(inputs, planes, 3, padding=dilation, dilation=dilation), nn.ReLU(inplace=True)]
                inputs = planes
            layers.append(nn.MaxPool2d(2, 2) if stride == 2 else nn.MaxPool2d(3, 1, padding=1))
            ends.append(len(layers) - 1)
            dilation = behind
        self.features = nn.ModuleList(layers)
        self.ends = tuple(ends)
        self.dilation = dilation
        self.strides = tuple(min(stride, output_stride) for stride in (2, 4, 8, 16, 32))
        initialise(self)

    def forward(self, x: Tensor) -> list[Tensor]:
        check_size(x, self.strides[-1])
        features = []
        for index, layer in enumerate(self.features):
            x = layer(x)
            if index in self.ends:
                features.append(x)  # pool1 to pool5: 1/2, 1/4, 1/8, 1/16, 1/32
        return features


def vgg16(*, output_stride: int = 32) -> VGG16:
    """VGG-16: 138.4 M parameters as a classifier, 14.7 M as an encoder."""
    return VGG16(output_stride)
