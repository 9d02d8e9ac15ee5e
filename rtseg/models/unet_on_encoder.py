"""U-Net's expansive path on any encoder (after Ronneberger et al. 2015; widths as in segmentation_models.pytorch)."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rtseg.models.blocks import Network, check_classes, check_size, initialise
from rtseg.models.factory import build_encoder
from rtseg.models.unet import conv_pair

PLANES = (256, 128, 64, 32, 16)
LITE_PLANES = (128, 64, 48, 32)
FAST_PLANES = (128, 64, 32)


class DecoderBlock(nn.Module):
    """Upsampling by two (nearest), the skip concatenated if there is one, two 3x3 convolutions."""

    def __init__(self, inputs: int, skip: int, planes: int) -> None:
        super().__init__()
        self.convs = conv_pair(inputs + skip, planes)

    def forward(self, x: Tensor, skip: Tensor | None) -> Tensor:
        x = F.interpolate(x, scale_factor=2.0)
        mixed: Tensor = self.convs(x if skip is None else torch.cat([x, skip], dim=1))
        return mixed


class UNetOnEncoder(Network):
    """U-Net on an encoder, with one decoder block per entry of `planes`, each doubling the resolution.

    Five blocks end at stride 1, four at stride 2. The last may have no skip; but on an encoder without features at
    stride 2 (AlexNet) the decoder ends at the finest ones there are.
    ``forward`` takes a float NCHW image with sides that are multiples of 32 and returns logits at ``output_stride``.
    """

    def __init__(self, encoder: str, classes: int, planes: Sequence[int] = PLANES) -> None:
        super().__init__()
        check_classes(classes)
        self.encoder = build_encoder(encoder)
        self.mean, self.std = self.encoder.mean, self.encoder.std
        skips = dict(zip(self.encoder.strides, self.encoder.channels, strict=True))
        self.multiple = stride = self.encoder.strides[-1]
        inputs = skips.pop(stride)
        blocks = []
        for width in planes:
            if stride == 1 or (stride // 2 not in skips and stride > 2):
                break
            stride //= 2
            blocks.append(DecoderBlock(inputs, skips.get(stride, 0), width))
            inputs = width
        self.decoder = nn.ModuleList(blocks)
        self.output_stride = stride
        self.classifier = nn.Conv2d(inputs, classes, 3, padding=1)
        for part in (self.decoder, self.classifier):
            initialise(part)

    def forward(self, x: Tensor) -> Tensor:
        check_size(x, self.multiple)
        x, *skips = reversed(self.encoder(x))  # 1/32; 1/16, 1/8, 1/4, 1/2
        for block, skip in zip(self.decoder, itertools.chain(skips, [None]), strict=False):
            x = block(x, skip)
        logits: Tensor = self.classifier(x)
        return logits


def unet_on_encoder(
    encoder: str, classes: int, *, training_heads: bool = False, planes: Sequence[int] = PLANES
) -> UNetOnEncoder:
    """U-Net with its decoder 256 to 16 channels wide, logits at full resolution; it has no training heads."""
    return UNetOnEncoder(encoder, classes, planes)


def unet_lite(encoder: str, classes: int, *, training_heads: bool = False) -> UNetOnEncoder:
    """U-Net with a narrower decoder and logits at stride 2, for real time; it has no training heads."""
    return UNetOnEncoder(encoder, classes, LITE_PLANES)


def unet_fast(encoder: str, classes: int, *, training_heads: bool = False) -> UNetOnEncoder:
    """U-Net whose narrow decoder ends at stride 4, where the encoder is most of the time; it has no training heads."""
    return UNetOnEncoder(encoder, classes, FAST_PLANES)
