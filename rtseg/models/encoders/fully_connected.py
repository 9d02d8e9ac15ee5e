"""Fully connected layers of a classifier as convolutions (Long, Shelhamer and Darrell 2015, figure 2)."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

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


def as_convolutions(
    layers: FullyConnected, *, dilation: int = 1, padding: Literal["same", "valid"] = "same", dropout: float = 0.5
) -> nn.Sequential:
    """Return fc6 and fc7 as convolutions, each with ReLU and dropout, for the encoder's last feature.

    The result has `layers.outputs` channels and the keys fc6.weight, fc6.bias, fc7.weight and fc7.bias. `padding`
    "same" keeps the size, "valid" shrinks it by kernel - 1 as the classifier does; `dilation` is fc6's.
    """
    total = dilation * (layers.kernel - 1) if padding == "same" else 0
    before, after = total // 2, total - total // 2
    parts: OrderedDict[str, nn.Module] = OrderedDict()
    if before != after:
        parts["pad6"] = nn.ZeroPad2d((before, after, before, after))
    symmetric = before if before == after else 0
    parts["fc6"] = nn.Conv2d(layers.inputs, layers.outputs, layers.kernel, padding=symmetric, dilation=dilation)
    parts["relu6"] = nn.ReLU(inplace=True)
    parts["drop6"] = nn.Dropout2d(dropout)
    parts["fc7"] = nn.Conv2d(layers.outputs, layers.outputs, 1)
    parts["relu7"] = nn.ReLU(inplace=True)
    parts["drop7"] = nn.Dropout2d(dropout)
    return nn.Sequential(parts)


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
