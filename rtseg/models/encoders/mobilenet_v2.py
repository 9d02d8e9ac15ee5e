"""MobileNetV2 (Sandler et al., CVPR 2018, arXiv 1801.04381)."""

from __future__ import annotations

from torch import Tensor, nn

from rtseg.models.blocks import Encoder, check_size, dilations, initialise

STAGES = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))
"""Table 2 of the paper: expansion, channels, blocks, stride of the first."""
STEM, LAST = 32, 1280
TAPS = (1, 3, 6, 13, 18)
"""The blocks whose outputs are the last at their resolution."""


def conv_norm_relu6(
    inputs: int, outputs: int, kernel: int = 1, stride: int = 1, dilation: int = 1, groups: int = 1
) -> nn.Sequential:
    """Return a convolution that keeps the size at stride 1, then batch normalisation and ReLU6."""
    padding = dilation * (kernel // 2)
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, stride, padding, dilation, groups, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU6(inplace=True),
    )


class InvertedResidual(nn.Module):
    """Expand 1x1, depthwise 3x3, project 1x1 without activation (figure 4d); a shortcut where shapes allow."""

    def __init__(self, inputs: int, outputs: int, stride: int, expansion: int, dilation: int) -> None:
        super().__init__()
        planes = inputs * expansion
        layers: list[nn.Module] = [conv_norm_relu6(inputs, planes)] if expansion != 1 else []
        layers.append(conv_norm_relu6(planes, planes, 3, stride, dilation, planes))
        layers += [nn.Conv2d(planes, outputs, 1, bias=False), nn.BatchNorm2d(outputs)]
        self.conv = nn.Sequential(*layers)
        self.shortcut = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.conv(x)
        return x + y if self.shortcut else y


class MobileNetV2(Encoder):
    """MobileNetV2 of width 1 with its last 1x1 convolution, indexed as torchvision's `mobilenet_v2().features`.

    ``forward`` takes a float NCHW image with sides that are multiples of 32 (or of `output_stride`) and returns the
    features at ``strides``. `output_stride` 8 or 16 dilates the last stages; a convolution that would stride keeps the
    dilation of the stage before.
    """

    channels = (16, 24, 32, 96, LAST)
    published_prefix = "features."
    published_extras = ("classifier.",)

    def __init__(self, output_stride: int = 32) -> None:
        super().__init__()
        layers: list[nn.Module] = [conv_norm_relu6(3, STEM, 3, stride=2)]
        inputs, steps = STEM, dilations([stage[3] for stage in STAGES], 2, output_stride)
        for (expansion, outputs, count, _), (stride, dilation, before) in zip(STAGES, steps, strict=True):
            for position in range(count):
                first = (stride, expansion, before) if position == 0 else (1, expansion, dilation)
                layers.append(InvertedResidual(inputs, outputs, *first))
                inputs = outputs
        layers.append(conv_norm_relu6(inputs, LAST))
        for index, layer in enumerate(layers):
            self.add_module(str(index), layer)
        self.strides = tuple(min(stride, output_stride) for stride in (2, 4, 8, 16, 32))
        initialise(self)

    def forward(self, x: Tensor) -> list[Tensor]:
        check_size(x, self.strides[-1])
        features = []
        for index, layer in enumerate(self.children()):
            x = layer(x)
            if index in TAPS:
                features.append(x)  # 1/2, 1/4, 1/8, 1/16, 1/32
        return features


def mobilenet_v2(*, output_stride: int = 32) -> MobileNetV2:
    """MobileNetV2: 3.5 M parameters as a classifier, 2.2 M as an encoder."""
    return MobileNetV2(output_stride)
