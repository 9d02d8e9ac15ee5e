"""Segmentation networks, one file per paper; `build` makes any of them by its name.

A name is an entry of `rtseg.registry.NETWORKS` ("pidnet-s") or a decoder and an encoder ("unet-resnet18").
`rtseg.models.blocks` declares what a network and an encoder have.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rtseg import registry
from rtseg.errors import ConfigError, nearest

if TYPE_CHECKING:
    from rtseg.models.blocks import Encoder, Network

__all__ = ["build", "build_encoder", "names"]


def names() -> list[str]:
    """Every name that `build` knows, decoders with each of their encoders."""
    pairs = (f"{decoder}-{encoder}" for decoder in registry.DECODERS for encoder in registry.ENCODERS)
    return sorted({*registry.NETWORKS, *pairs})


def build(name: str, classes: int, *, training_heads: bool = False) -> Network:
    """Return the network `name` with random weights; with `training_heads` also what only its training needs.

    Errors: ConfigError for an unknown name, MissingExtra without torch, ModelError for a class count below 2.
    """
    if name in registry.NETWORKS:
        factory = registry.load(registry.NETWORKS, name, "network")
        made: Network = factory(classes, training_heads=training_heads)
        return made
    for decoder in sorted(registry.DECODERS, key=len, reverse=True):
        encoder = name.removeprefix(f"{decoder}-")
        if encoder in registry.ENCODERS and encoder != name:
            factory = registry.load(registry.DECODERS, decoder, "decoder")
            on_encoder: Network = factory(encoder, classes, training_heads=training_heads)
            return on_encoder
    raise ConfigError(f"unknown network '{name}': {nearest(name, names())}")


def build_encoder(name: str, **options: Any) -> Encoder:
    """Return the encoder `name` of `rtseg.registry.ENCODERS` with random weights; `output_stride` 8 or 16 dilates it.

    An encoder's forward takes a float NCHW image and returns a list of features, from fine to coarse, at `strides` with
    `channels` channels each; its state dictionary has the names of the published classifier.
    """
    encoder: Encoder = registry.load(registry.ENCODERS, name, "encoder")(**options)
    return encoder
