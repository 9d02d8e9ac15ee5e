"""Fully connected layers of a classifier as convolutions (Long, Shelhamer and Darrell 2015, figure 2)."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from rtseg.errors import ModelError


@dataclass(frozen=True, slots=True)
class FullyConnected:
    """The first two fully connected layers of a published classifier: their sizes and the names of their weights."""

    inputs: int
    kernel: int
    fc6: str
    fc7: str
    outputs: int = 4096


class Convolutions(nn.Sequential):
    """fc6 and fc7 as convolutions, which take the weights of the classifier's layers `published`, if there is one."""

    def __init__(self, parts: OrderedDict[str, nn.Module], layers: FullyConnected, published: FullyConnected) -> None:
        super().__init__(parts)
        self.layers, self.published = layers, published

    def weights_from(self, classifier: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return their state dictionary from a published classifier's; an empty one where it ends at the encoder."""
        names = tuple(f"{name}." for name in (self.published.fc6, self.published.fc7) if name)
        if not names or not any(key.startswith(names) for key in classifier):
            return {}
        weights = convolution_weights(self.published, classifier)
        return weights if self.layers == self.published else decimated(weights, self.layers)


def as_convolutions(
    layers: FullyConnected,
    *,
    published: FullyConnected | None = None,
    dilation: int = 1,
    padding: Literal["same", "valid"] = "same",
    dropout: float = 0.5,
) -> Convolutions:
    """Return fc6 and fc7 as convolutions, each with ReLU and dropout, for the encoder's last feature.

    The result has `layers.outputs` channels and the keys fc6.weight, fc6.bias, fc7.weight and fc7.bias. `padding`
    "same" keeps the size, "valid" shrinks it by kernel - 1 as the classifier does; `dilation` is fc6's. `published` are
    the larger layers of which these are a part, see `decimated`.
    """
    total = dilation * (layers.kernel - 1) if padding == "same" else 0
    before, after = total // 2, total - total // 2
    parts: OrderedDict[str, nn.Module] = OrderedDict()
    if before != after:
        parts["pad6"] = nn.ZeroPad2d((before, after, before, after))
    symmetric = before if before == after else 0
    parts["fc6"] = nn.Conv2d(layers.inputs, layers.outputs, layers.kernel, padding=symmetric, dilation=dilation)
    parts["relu6"] = nn.ReLU(inplace=True)
    parts["drop6"] = nn.Dropout(dropout)
    parts["fc7"] = nn.Conv2d(layers.outputs, layers.outputs, 1)
    parts["relu7"] = nn.ReLU(inplace=True)
    parts["drop7"] = nn.Dropout(dropout)
    return Convolutions(parts, layers, published or layers)


def convolution_weights(layers: FullyConnected, published: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the state dictionary of `as_convolutions` from the classifier's published linear layers.

    A linear layer on a flattened CxKxK feature is a KxK convolution, so its (outputs, C*K*K) weight is reshaped.
    Errors: ModelError where a key is missing or its size is another network's.
    """
    shapes = {
        layers.fc6: (layers.outputs, layers.inputs, layers.kernel, layers.kernel),
        layers.fc7: (layers.outputs, layers.outputs, 1, 1),
    }
    weights = {}
    for own, (name, shape) in zip(("fc6", "fc7"), shapes.items(), strict=True):
        for part in ("weight", "bias"):
            if f"{name}.{part}" not in published:
                raise ModelError(f"no '{name}.{part}' in the weights: {own} needs a published classifier's")
        weight = published[f"{name}.weight"]
        flat = (shape[0], shape[1] * shape[2] * shape[3])
        if tuple(weight.shape) != flat:
            raise ModelError(
                f"'{name}.weight' is {tuple(weight.shape)}, {own} needs {flat}: other classifier's weights"
            )
        weights[f"{own}.weight"] = weight.reshape(shape)
        weights[f"{own}.bias"] = published[f"{name}.bias"]
    return weights


def decimated(weights: Mapping[str, Tensor], layers: FullyConnected) -> dict[str, Tensor]:
    """Return the part of `convolution_weights` that the smaller `layers` have: filters and taps spread evenly.

    Of 4096 filters 1024 are every fourth, and of 7x7 taps 3x3 are the first, middle and last ("simple decimation",
    Chen et al. 2015, arXiv 1412.7062, section 3.2). Three taps of stride 32 apart are 12 cells of stride 8: with that
    dilation they lie where they did in the classifier.
    """
    filters, _, kernel, _ = weights["fc6.weight"].shape
    kept = torch.arange(layers.outputs) * filters // layers.outputs
    taps = torch.linspace(0, kernel - 1, layers.kernel).round().long()
    return {
        "fc6.weight": weights["fc6.weight"][kept][:, :, taps][..., taps],
        "fc6.bias": weights["fc6.bias"][kept],
        "fc7.weight": weights["fc7.weight"][kept][:, kept],
        "fc7.bias": weights["fc7.bias"][kept],
    }
