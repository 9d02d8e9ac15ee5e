"""PSPNet: the pyramid scene parsing network (Zhao et al., CVPR 2017, arXiv 1612.01105)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from rtseg.models.blocks import (
    Heads,
    Network,
    check_classes,
    check_size,
    conv_bn_relu,
    fcn_head,
    initialise,
    resize_like,
)
from rtseg.models.factory import build_encoder

BINS = (1, 2, 3, 6)
PLANES = 512
OUTPUT_STRIDE = 8


def pooling_matrix(bins: int, side: int, like: Tensor) -> Tensor:
    """Return the (bins, side) matrix that averages `side` values into `bins` as adaptive pooling does.

    Bin i covers the values from floor(i * side / bins) to ceil((i + 1) * side / bins), the second excluded: both
    conditions are comparisons of whole numbers here, hence exact. Device and dtype are those of `like`.
    """
    values = torch.arange(side, device=like.device)
    starts = torch.arange(bins, device=like.device).unsqueeze(1) * side
    inside = (starts < (values + 1) * bins) & (values * bins < starts + side)
    weights = inside.to(like.dtype)
    return weights / weights.sum(dim=1, keepdim=True)


def adaptive_average(x: Tensor, bins: int) -> Tensor:
    """Return `torch.nn.functional.adaptive_avg_pool2d(x, bins)` as two matrix products.

    ONNX has no adaptive pooling to several bins of an input whose size is not known at export.
    """
    rows = pooling_matrix(bins, x.shape[-2], x)
    columns = pooling_matrix(bins, x.shape[-1], x)
    return rows @ (x @ columns.T)


class PyramidPool(nn.Module):
    """One level of the pyramid: the average of each of bins x bins regions, reduced by a 1x1 convolution."""

    def __init__(self, inputs: int, planes: int, bins: int) -> None:
        super().__init__()
        self.bins = bins
        self.reduce = conv_bn_relu(inputs, planes)

    def forward(self, x: Tensor) -> Tensor:
        return resize_like(self.reduce(adaptive_average(x, self.bins)), x)


class PSPNet(Network):
    """PSPNet on an encoder dilated to stride 8.

    ``forward`` takes a float NCHW image with sides that are multiples of 8 and returns logits (N, classes, H/8, W/8);
    in training mode `Heads` with the auxiliary logits of the encoder's last but one stage, if made with
    ``training_heads``.
    """

    multiple = OUTPUT_STRIDE
    output_stride = OUTPUT_STRIDE
    published_extras = ("auxiliary.",)

    def __init__(self, encoder: str, classes: int, *, training_heads: bool = True) -> None:
        super().__init__()
        check_classes(classes)
        self.encoder = build_encoder(encoder, output_stride=OUTPUT_STRIDE)
        self.mean, self.std = self.encoder.mean, self.encoder.std
        *_, penultimate, last = self.encoder.channels
        self.levels = nn.ModuleList(PyramidPool(last, last // len(BINS), bins) for bins in BINS)
        self.fuse = conv_bn_relu(last + len(BINS) * (last // len(BINS)), PLANES, 3)
        self.dropout = nn.Dropout2d(0.1)
        self.classifier = nn.Conv2d(PLANES, classes, 1)
        self.auxiliary = fcn_head(penultimate, classes) if training_heads else None
        for part in (self.levels, self.fuse, self.classifier, self.auxiliary):
            if part is not None:
                initialise(part)

    def forward(self, x: Tensor) -> Tensor | Heads:
        check_size(x, self.multiple)
        *_, penultimate, x = self.encoder(x)  # 1/8
        pyramid = torch.cat([x, *(level(x) for level in self.levels)], dim=1)
        logits: Tensor = self.classifier(self.dropout(self.fuse(pyramid)))
        if self.training and self.auxiliary is not None:
            return Heads(logits, (self.auxiliary(penultimate),))
        return logits


def pspnet(encoder: str, classes: int, *, training_heads: bool = False) -> PSPNet:
    """PSPNet; its training head is scored with weight 0.4 in the paper (section 3.3)."""
    return PSPNet(encoder, classes, training_heads=training_heads)
