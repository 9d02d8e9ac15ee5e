"""SegNet: an encoder-decoder that upsamples by max-unpooling (Badrinarayanan et al. 2017, arXiv 1511.00561).

The encoder is the thirteen convolutions of VGG-16 with batch normalisation, under their published names. The decoder
mirrors it: each stage puts its input back where the encoder's maxima were and fills the rest by convolution.
"""

from __future__ import annotations

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rtseg.models.blocks import Encoder, Network, check_classes, check_size, conv_bn_relu, initialise

STAGES = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))
"""Output channels of the convolutions between the poolings (configuration D of Simonyan and Zisserman 2015)."""


class Vgg16Bn(Encoder):
    """The convolutions of VGG-16 with batch normalisation; ``forward`` returns what each of its poolings would take."""

    published_extras = ("classifier.",)
    strides = (1, 2, 4, 8, 16)
    channels = tuple(stage[-1] for stage in STAGES)

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        inputs = 3
        for stage in STAGES:
            for outputs in stage:
                layers += [nn.Conv2d(inputs, outputs, 3, padding=1), nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)]
                inputs = outputs
            layers.append(nn.MaxPool2d(2))
        self.features = nn.Sequential(*layers)
        initialise(self)

    def forward(self, x: Tensor) -> list[Tensor]:
        features = []
        for layer in self.features:
            if isinstance(layer, nn.MaxPool2d):
                features.append(x)  # 1, 1/2, 1/4, 1/8, 1/16
                if len(features) == len(STAGES):
                    break
            x = layer(x)
        return features


def switches(x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Tell where in each 2x2 window of (N, C, 2H, 2W) its maximum is: bool (N, C, H, W) per place, row by row.

    Exactly one is true per window, the first on a tie, as are the indices of `torch.nn.MaxPool2d`.
    """
    highest = F.max_pool2d(x, 2)
    places = [x[..., row::2, column::2] == highest for row in (0, 1) for column in (0, 1)]
    first, second, third, _ = places
    second = second & ~first
    third = third & ~(first | second)
    return first, second, third, ~(first | second | third)


def unpool(x: Tensor, places: tuple[Tensor, ...]) -> Tensor:
    """Put each value of (N, C, H, W) at its place in a 2x2 window of zeros: `torch.nn.MaxUnpool2d` (N, C, 2H, 2W).

    ONNX and TensorRT have no operator for it, so it is four selections and a depth-to-space. One-hot codes of the
    maximum's index would need an argmax, whose choice among equals (zeros after ReLU) no runtime promises.
    """
    zero = x.new_zeros(())
    spread = torch.stack([torch.where(place, x, zero) for place in places], dim=2)  # N, C, 4, H, W
    return F.pixel_shuffle(spread.flatten(1, 2), 2)


class SegNet(Network):
    """SegNet on VGG-16.

    ``forward`` takes a float NCHW image with sides that are multiples of 32 and returns logits at its full size.
    """

    multiple = 32
    output_stride = 1
    discontinuous = True  # where two values of a window are nearly equal, their rounding decides which place is filled

    def __init__(self, classes: int) -> None:
        super().__init__()
        check_classes(classes)
        self.encoder = Vgg16Bn()
        self.mean, self.std = self.encoder.mean, self.encoder.std
        stages = []
        for index, stage in reversed(list(enumerate(STAGES))):
            outputs = [*stage[1:], STAGES[index - 1][-1]] if index else stage[1:]
            sizes = [stage[-1], *outputs]
            stages.append(nn.Sequential(*(conv_bn_relu(a, b, 3) for a, b in pairwise(sizes))))
        self.decoder = nn.ModuleList(stages)
        self.classifier = nn.Conv2d(STAGES[0][0], classes, 3, padding=1)
        initialise(self.decoder)
        initialise(self.classifier)

    def forward(self, x: Tensor) -> Tensor:
        check_size(x, self.multiple)
        features = self.encoder(x)
        x = F.max_pool2d(features[-1], 2)  # 1/32
        for stage, feature in zip(self.decoder, reversed(features), strict=True):
            x = stage(unpool(x, switches(feature)))  # 1/16, 1/8, 1/4, 1/2, 1
        logits: Tensor = self.classifier(x)
        return logits


def segnet(classes: int, *, training_heads: bool = False) -> SegNet:
    """SegNet: 29.5 M parameters; it has no training heads."""
    return SegNet(classes)
