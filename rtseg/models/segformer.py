"""SegFormer: a Mix Transformer with an all-MLP head (Xie et al., NeurIPS 2021, arXiv 2105.15203).

Attribute names are those of the checkpoints published by NVlabs (`backbone.*`, `decode_head.*`).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from rtseg.models.blocks import Network, check_classes, check_size, initialise, named_conv_bn_relu, resize_like
from rtseg.models.encoders.mix_transformer import MixTransformer, mit_b0, to_grid, to_tokens

HEAD_PLANES = 256


class Projection(nn.Module):
    """A linear layer on the channels of each pixel."""

    def __init__(self, inputs: int, planes: int) -> None:
        super().__init__()
        self.proj = nn.Linear(inputs, planes)

    def forward(self, x: Tensor) -> Tensor:
        return to_grid(self.proj(to_tokens(x)), x)


class MlpHead(nn.Module):
    """Projects every scale to the same width, resizes all to the finest, and classifies their mix (equation 4)."""

    def __init__(self, channels: tuple[int, ...], planes: int, classes: int) -> None:
        super().__init__()
        c1, c2, c3, c4 = channels
        self.linear_c4 = Projection(c4, planes)
        self.linear_c3 = Projection(c3, planes)
        self.linear_c2 = Projection(c2, planes)
        self.linear_c1 = Projection(c1, planes)
        self.linear_fuse = named_conv_bn_relu(4 * planes, planes)
        self.dropout = nn.Dropout2d(0.1)
        self.linear_pred = nn.Conv2d(planes, classes, 1)
        for part in (self.linear_fuse, self.linear_pred):
            initialise(part)
        nn.init.normal_(self.linear_pred.weight, std=0.01)

    def forward(self, features: list[Tensor]) -> Tensor:
        c1, c2, c3, c4 = features
        coarse = ((self.linear_c4, c4), (self.linear_c3, c3), (self.linear_c2, c2))
        scales = [resize_like(project(feature), c1) for project, feature in coarse]
        mixed = self.linear_fuse(torch.cat([*scales, self.linear_c1(c1)], dim=1))  # 1/4
        logits: Tensor = self.linear_pred(self.dropout(mixed))
        return logits


class SegFormer(Network):
    """SegFormer on a Mix Transformer.

    ``forward`` takes a float NCHW image with sides that are multiples of 32 and returns logits at stride 4. The
    memory and time of its attention grow with the fourth power of the image's side.
    """

    multiple = 32
    output_stride = 4
    published_extras = ("decode_head.conv_seg.",)  # of the base class of published heads, which this one never uses

    def __init__(self, backbone: MixTransformer, classes: int) -> None:
        super().__init__()
        check_classes(classes)
        self.backbone = backbone
        self.decode_head = MlpHead(backbone.channels, HEAD_PLANES, classes)

    @property
    def encoder(self) -> MixTransformer:
        """The backbone, whose published ImageNet weights load by its own names."""
        return self.backbone

    def forward(self, x: Tensor) -> Tensor:
        check_size(x, self.multiple)
        logits: Tensor = self.decode_head(self.backbone(x))  # 1/4
        return logits


def segformer_b0(classes: int, *, training_heads: bool = False) -> SegFormer:
    """SegFormer-B0: 3.7 M parameters; it has no training heads."""
    return SegFormer(mit_b0(), classes)
