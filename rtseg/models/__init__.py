"""Segmentation networks, one file per paper; `build` makes any of them by its name.

A name is an entry of `rtseg.registry.NETWORKS` ("pidnet-s") or a decoder and an encoder ("unet-resnet18").
A network has `multiple` (of which both sides of its input must be multiples), `output_stride` (of its logits) and, where
its encoder was published for another input than ImageNet's usual one, `mean` and `std`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rtseg import registry
from rtseg.errors import ConfigError, nearest

if TYPE_CHECKING:
    from torch import nn

__all__ = ["build", "build_encoder", "names"]


def names() -> list[str]:
    """Every name that `build` knows, decoders with each of their encoders."""
    pairs = (f"{decoder}-{encoder}" for decoder in registry.DECODERS for encoder in registry.ENCODERS)
    return sorted({*registry.NETWORKS, *pairs})


def build(name: str, classes: int, *, training_heads: bool = False) -> nn.Module:
    """Return the network `name` with random weights; with `training_heads` also what only its training needs.

    Errors: ConfigError for an unknown name, MissingExtra without torch, ModelError for a class count below 2.
    """
    if name in registry.NETWORKS:
        factory = registry.load(registry.NETWORKS, name, "network")
        network: nn.Module = factory(classes, training_heads=training_heads)
        return network
    for decoder in sorted(registry.DECODERS, key=len, reverse=True):
        encoder = name.removeprefix(f"{decoder}-")
        if encoder in registry.ENCODERS and encoder != name:
            factory = registry.load(registry.DECODERS, decoder, "decoder")
            network = factory(encoder, classes, training_heads=training_heads)
            return network
    raise ConfigError(f"unknown network '{name}': {nearest(name, names())}")


def build_encoder(name: str, **options: Any) -> nn.Module:
    """Return the encoder `name` of `rtseg.registry.ENCODERS` with random weights; `output_stride` 8 or 16 dilates it.

    An encoder's forward takes a float NCHW image and returns a list of features, from fine to coarse, at `strides` with
    `channels` channels each; its state dictionary has the names of the published classifier.
    """
    encoder: nn.Module = registry.load(registry.ENCODERS, name, "encoder")(**options)
    return encoder
