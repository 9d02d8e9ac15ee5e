"""Blocks shared by the networks: residual blocks, resizing and weight initialisation."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rtseg.errors import ModelError

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


class Network(nn.Module):
    """What every segmentation network declares; it adds no code.

    `multiple`: both sides of an input must be multiples of it. `output_stride`: input pixels per logit. `mean` and
    `std`: of the RGB channels in 0 to 1 that its (encoder's) published weights were trained with. `published_extras`:
    what the keys of heads begin with that only training has; `rtseg.models.weights` leaves them out of a network
    without them. `discontinuous`: a rounding error can decide between equals and change logits nearby by much.
    """

    multiple: int
    output_stride: int
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD
    published_extras: tuple[str, ...] = ()
    discontinuous: bool = False


class Encoder(nn.Module):
    """What every encoder declares: forward returns features, fine to coarse, at `strides` with `channels` channels.

    State dictionary keys are the published classifier's less `published_prefix`; keys that begin with one of
    `published_extras` belong to the classifier alone.
    """

    strides: tuple[int, ...]
    channels: tuple[int, ...]
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD
    published_prefix: str = ""
    published_extras: tuple[str, ...] = ()


class Heads(NamedTuple):
    """What a network with training heads returns in training mode: logits (N, C, h, w), each at its own stride.

    `boundary` is (N, 1, h, w): the logit of a pixel being near a class boundary.
    """

    main: Tensor
    auxiliary: tuple[Tensor, ...] = ()
    boundary: Tensor | None = None


def check_size(x: Tensor, multiple: int) -> None:
    """Raise ModelError unless height and width of ``x`` are multiples of ``multiple``, naming the size to pad to."""
    if torch.compiler.is_compiling() or torch.onnx.is_in_onnx_export():
        return  # symbolic sizes: the exporter fixes the multiple
    height, width = x.shape[-2:]
    if height < multiple or width < multiple or height % multiple or width % multiple:
        padded = tuple(max(multiple, -(-side // multiple) * multiple) for side in (height, width))
        raise ModelError(
            f"input height and width must be multiples of {multiple}, got {height}x{width}: "
            f"resize or pad to {padded[0]}x{padded[1]}"
        )


def check_classes(classes: int) -> None:
    """Raise ModelError unless there are at least two classes."""
    if classes < 2:
        raise ModelError(f"a segmentation network needs at least 2 classes, got {classes}")


def dilations(strides: Sequence[int], before: int, output_stride: int) -> list[tuple[int, int, int]]:
    """Return (stride, dilation, dilation of its first block) of each stage so that the last is at ``output_stride``.

    ``strides`` are the stages' published strides, ``before`` the stride in front of the first. A stage that would go
    beyond ``output_stride`` keeps the resolution and dilates instead (Chen et al. 2017, arXiv 1706.05587); its first
    block still has the dilation of the stage before, as in the published networks.
    """
    if output_stride not in (8, 16, 32):
        raise ModelError(f"output stride {output_stride} is not possible: choose 8, 16 or 32")
    reached, dilation, steps = before, 1, []
    for stride in strides:
        first = dilation
        if reached * stride > output_stride:
            dilation *= stride
            stride = 1
        reached *= stride
        steps.append((stride, dilation, first))
    return steps


def resize_like(x: Tensor, reference: Tensor) -> Tensor:
    """Resize ``x`` bilinearly (half-pixel centres) to the height and width of ``reference``."""
    return F.interpolate(x, size=reference.shape[-2:], mode="bilinear", align_corners=False)


def conv_bn(inputs: int, outputs: int, kernel: int = 1) -> nn.Sequential:
    """Return a stride-1 convolution that keeps the size, then batch normalisation."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, bias=False),
        nn.BatchNorm2d(outputs),
    )


def conv_bn_relu(inputs: int, outputs: int, kernel: int = 1, stride: int = 1, dilation: int = 1) -> nn.Sequential:
    """Return a convolution that keeps the size at stride 1, then batch normalisation and ReLU."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, stride, dilation * (kernel // 2), dilation, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
    )


def named_conv_bn_relu(inputs: int, outputs: int, kernel: int = 1, stride: int = 1) -> nn.Sequential:
    """Return `conv_bn_relu` with its layers named `conv`, `bn` and `relu`, as some published checkpoints have them."""
    layers = zip(("conv", "bn", "relu"), conv_bn_relu(inputs, outputs, kernel, stride), strict=True)
    return nn.Sequential(OrderedDict(layers))


def bn_relu_conv(inputs: int, outputs: int, kernel: int = 1, groups: int = 1) -> nn.Sequential:
    """Return the pre-activated convolution of the pyramid pooling modules."""
    return nn.Sequential(
        nn.BatchNorm2d(inputs),
        nn.ReLU(inplace=True),
        nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, groups=groups, bias=False),
    )


class BasicBlock(nn.Module):
    """Residual block of two 3x3 convolutions (He et al. 2016, figure 5 left); the last ReLU is optional.

    `dilation` is that of the first convolution, which also strides; `after` that of the second (the same unless given).
    """

    expansion = 1

    def __init__(
        self,
        inputs: int,
        planes: int,
        stride: int = 1,
        dilation: int = 1,
        *,
        after: int | None = None,
        last_relu: bool = True,
    ) -> None:
        super().__init__()
        after = after or dilation
        self.conv1 = nn.Conv2d(inputs, planes, 3, stride, padding=dilation, dilation=dilation, bias=False)
        self.bn1 = nn.BatchNorm2d(planes)
        self.conv2 = nn.Conv2d(planes, planes, 3, padding=after, dilation=after, bias=False)
        self.bn2 = nn.BatchNorm2d(planes)
        self.downsample = _shortcut(inputs, planes, stride)
        self.last_relu = last_relu

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        y = y + (x if self.downsample is None else self.downsample(x))
        return F.relu(y) if self.last_relu else y


class Bottleneck(nn.Module):
    """Residual block 1x1, 3x3, 1x1 (He et al. 2016, figure 5 right) that doubles ``planes``, or as `expansion` says.

    `dilation` is that of the 3x3 convolution, which also strides.
    """

    expansion = 2

    def __init__(
        self,
        inputs: int,
        planes: int,
        stride: int = 1,
        dilation: int = 1,
        *,
        expansion: int = expansion,
        last_relu: bool = False,
    ) -> None:
        super().__init__()
        outputs = planes * expansion
        self.conv1 = nn.Conv2d(inputs, planes, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(planes)
        self.conv2 = nn.Conv2d(planes, planes, 3, stride, padding=dilation, dilation=dilation, bias=False)
        self.bn2 = nn.BatchNorm2d(planes)
        self.conv3 = nn.Conv2d(planes, outputs, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(outputs)
        self.downsample = _shortcut(inputs, outputs, stride)
        self.last_relu = last_relu

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.bn1(self.conv1(x)))
        y = F.relu(self.bn2(self.conv2(y)))
        y = self.bn3(self.conv3(y))
        y = y + (x if self.downsample is None else self.downsample(x))
        return F.relu(y) if self.last_relu else y


def _shortcut(inputs: int, outputs: int, stride: int) -> nn.Sequential | None:
    if stride == 1 and inputs == outputs:
        return None
    return nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))


def basic_stage(inputs: int, planes: int, count: int, stride: int = 1) -> nn.Sequential:
    """Return ``count`` basic blocks, the first with ``stride``, the last without its ReLU."""
    blocks = [BasicBlock(inputs, planes, stride)]
    blocks += [BasicBlock(planes, planes, last_relu=i < count - 1) for i in range(1, count)]
    return nn.Sequential(*blocks)


def bottleneck_stage(inputs: int, planes: int, count: int, stride: int = 1) -> nn.Sequential:
    """Return ``count`` bottlenecks, the first with ``stride``, a ReLU only between them."""
    blocks = [Bottleneck(inputs, planes, stride)]
    blocks += [Bottleneck(planes * Bottleneck.expansion, planes, last_relu=i < count - 1) for i in range(1, count)]
    return nn.Sequential(*blocks)


class SegmentationHead(nn.Module):
    """Pre-activated 3x3 convolution and 1x1 classifier; the size does not change."""

    def __init__(self, inputs: int, planes: int, classes: int) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(inputs)
        self.conv1 = nn.Conv2d(inputs, planes, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(planes)
        self.conv2 = nn.Conv2d(planes, classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv1(F.relu(self.bn1(x)))
        logits: Tensor = self.conv2(F.relu(self.bn2(y)))
        return logits


def fcn_head(inputs: int, classes: int) -> nn.Sequential:
    """Return the fully convolutional head of the published ResNet networks: 3x3 to a quarter, dropout 0.1, 1x1.

    Its state dictionary keys are torchvision's: 0 and 1 the normalised convolution, 4 the classifier. PSPNet and
    DeepLabV3 have it as the auxiliary head.
    """
    planes = inputs // 4
    return nn.Sequential(*conv_bn_relu(inputs, planes, 3), nn.Dropout(0.1), nn.Conv2d(planes, classes, 1))


def initialise(module: nn.Module) -> None:
    """Give convolutions He's normal initialisation (fan out) and batch normalisation the identity, in place."""
    for child in module.modules():
        if isinstance(child, nn.Conv2d):
            nn.init.kaiming_normal_(child.weight, mode="fan_out", nonlinearity="relu")
            if child.bias is not None:
                nn.init.zeros_(child.bias)
        elif isinstance(child, nn.BatchNorm2d):
            nn.init.ones_(child.weight)
            nn.init.zeros_(child.bias)


def count_parameters(module: nn.Module) -> int:
    """Return the number of learnable parameters."""
    return sum(p.numel() for p in module.parameters())


def enliven(network: Network) -> Network:
    """Make a network of random weights like a trained one, for comparing runtimes, and return it in eval mode.

    Parameters that start at zero become random, and batch normalisation gets the statistics of noise: otherwise whole
    branches hardly reach the logits, and any error in them with it. A `discontinuous` network keeps its statistics: on
    noise, rounding moves enough maxima at every level to touch most pixels.
    """
    for parameter in network.parameters():
        if parameter.requires_grad and not parameter.any():
            nn.init.normal_(parameter, std=0.02)
    if network.discontinuous:
        return network.eval()
    for layer in network.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.momentum = None  # the mean over all batches
    with torch.no_grad():
        for _ in range(2):
            network.train()(torch.randn(2, 3, 192, 192))
    return network.eval()


def count_macs(module: nn.Module, height: int, width: int) -> int:
    """Return the multiply-adds of one forward pass on a 1x3xHxW float image (convolutions and products only)."""
    from torch.utils.flop_counter import FlopCounterMode

    counter = FlopCounterMode(display=False)
    with counter, torch.no_grad():
        module(torch.zeros(1, 3, height, width))
    return int(counter.get_total_flops()) // 2
