"""FCN-32s, -16s and -8s, fully convolutional networks (Long, Shelhamer and Darrell 2015, arXiv 1411.4038, 1605.06211).

Each feature is scored by its own 1x1 convolution. Coarse scores are upsampled by 2 with a transposed convolution that
starts as bilinear interpolation and learns, and summed with the next finer ones; the last upsampling is bilinear and
does not learn. What a coarser network has, a finer one has under the same names, so that FCN-32s starts FCN-16s and
that FCN-8s, as in the paper.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rtseg.models.blocks import Network, check_classes, check_size
from rtseg.models.encoders.fully_connected import as_convolutions
from rtseg.models.factory import build_encoder


def bilinear_kernel(factor: int) -> Tensor:
    """Return the (2 factor, 2 factor) kernel with which a transposed convolution of stride `factor` interpolates.

    With a padding of factor / 2 ("crop to align") the centres of the output's pixels lie where half-pixel bilinear
    interpolation has them; `factor` is even. Outside the input is zero, so the values fade within factor / 2 of edges.
    """
    offset = torch.arange(2 * factor) - (factor - 0.5)
    line = 1 - offset.abs() / factor
    return line[:, None] * line[None, :]


def score(inputs: int, classes: int) -> nn.Conv2d:
    """Return a 1x1 convolution that scores every class zero until it has learnt."""
    layer = nn.Conv2d(inputs, classes, 1)
    nn.init.zeros_(layer.weight)
    assert layer.bias is not None
    nn.init.zeros_(layer.bias)
    return layer


def double(classes: int) -> nn.ConvTranspose2d:
    """Return a learnable transposed convolution that doubles the size and starts as bilinear interpolation."""
    layer = nn.ConvTranspose2d(classes, classes, 4, stride=2, padding=1, bias=False)
    with torch.no_grad():
        layer.weight.zero_()
        layer.weight[range(classes), range(classes)] = bilinear_kernel(2)
    return layer


class FixedUpsampling(nn.Module):
    """Bilinear interpolation by `factor` as a transposed convolution of each channel that does not learn."""

    kernel: Tensor

    def __init__(self, channels: int, factor: int) -> None:
        super().__init__()
        self.factor = factor
        kernel = bilinear_kernel(factor).expand(channels, 1, 2 * factor, 2 * factor)
        self.register_buffer("kernel", kernel.clone(), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        return F.conv_transpose2d(
            x, self.kernel, stride=self.factor, padding=self.factor // 2, groups=self.kernel.shape[0]
        )


class FCN(Network):
    """FCN on any encoder, predicting from stride 32 up to stride `finest` (32, 16 or 8).

    ``forward`` takes a float NCHW image with sides that are multiples of 32 and returns logits at its full size. On
    AlexNet and VGG-16, fc6 and fc7 follow as convolutions, with dropout 0.5, and take the weights of a published
    classifier. The size is kept by padding them, where the paper pads the image by 100 pixels and crops.
    """

    multiple = 32
    output_stride = 1

    def __init__(self, encoder: str, classes: int, finest: int) -> None:
        super().__init__()
        check_classes(classes)
        self.encoder = build_encoder(encoder)
        self.mean, self.std = self.encoder.mean, self.encoder.std
        layers = getattr(self.encoder, "fully_connected", None)
        self.fully_connected = nn.Identity() if layers is None else as_convolutions(layers)
        self.score = score(self.encoder.channels[-1] if layers is None else layers.outputs, classes)
        self.skips = [self.encoder.strides.index(stride) for stride in (16, 8) if stride >= finest]
        self.skip_scores = nn.ModuleList(score(self.encoder.channels[index], classes) for index in self.skips)
        self.doublings = nn.ModuleList(double(classes) for _ in self.skips)
        self.upsampling = FixedUpsampling(classes, finest)

    def forward(self, x: Tensor) -> Tensor:
        check_size(x, self.multiple)
        features = self.encoder(x)
        scores = self.score(self.fully_connected(features[-1]))  # 1/32
        for index, skip, doubling in zip(self.skips, self.skip_scores, self.doublings, strict=True):
            scores = doubling(scores) + skip(features[index])  # 1/16, 1/8
        logits: Tensor = self.upsampling(scores)  # 1
        return logits


def fcn_32s(encoder: str, classes: int, *, training_heads: bool = False) -> FCN:
    """FCN-32s: scores at stride 32 alone; it has no training heads."""
    return FCN(encoder, classes, 32)


def fcn_16s(encoder: str, classes: int, *, training_heads: bool = False) -> FCN:
    """FCN-16s: with the scores at stride 16; it has no training heads."""
    return FCN(encoder, classes, 16)


def fcn_8s(encoder: str, classes: int, *, training_heads: bool = False) -> FCN:
    """FCN-8s: with the scores at strides 16 and 8; it has no training heads."""
    return FCN(encoder, classes, 8)
