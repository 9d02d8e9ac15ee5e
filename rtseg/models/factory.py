"""Networks and encoders by their names, out of the tables of `rtseg.registry`."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

from rtseg import registry
from rtseg.errors import ConfigError, nearest

if TYPE_CHECKING:
    from rtseg.models.blocks import Encoder, Network

__all__ = ["build", "build_encoder", "names"]


def names() -> list[str]:
    """Every name that `build` knows, decoders with each of their encoders and output strides."""
    return sorted({*registry.NETWORKS, *_pairs()})


def build(name: str, classes: int, *, training_heads: bool = False) -> Network:
    """Return the network `name` with random weights; with `training_heads` also what only its training needs.

    Errors: ConfigError for an unknown name, MissingExtra without torch, ModelError for a class count below 2.
    """
    if name in registry.NETWORKS:
        factory = registry.load(registry.NETWORKS, name, "network")
        made: Network = factory(classes, training_heads=training_heads)
        return made
    pairs = _pairs()
    if name not in pairs:
        raise ConfigError(f"unknown network '{name}': {nearest(name, names())}")
    decoder, encoder, options = pairs[name]
    factory = registry.load(registry.DECODERS, decoder, "decoder")
    on_encoder: Network = factory(encoder, classes, training_heads=training_heads, **options)
    return on_encoder


def _pairs() -> dict[str, tuple[str, str, dict[str, int]]]:
    """Decoder, encoder and the decoder's options by the name of the network that they make."""
    pairs: dict[str, tuple[str, str, dict[str, int]]] = {}
    for decoder, encoder in itertools.product(registry.DECODERS, registry.ENCODERS):
        pairs[f"{decoder}-{encoder}"] = decoder, encoder, {}
        for stride in registry.ENCODER_STRIDES.get(decoder, ()):
            pairs[f"{decoder}-{encoder}-os{stride}"] = decoder, encoder, {"encoder_stride": stride}
    return pairs


def build_encoder(name: str, **options: Any) -> Encoder:
    """Return the encoder `name` of `rtseg.registry.ENCODERS` with random weights; `output_stride` 8 or 16 dilates it.

    An encoder's forward takes a float NCHW image and returns a list of features, from fine to coarse, at `strides` with
    `channels` channels each; its state dictionary has the names of the published classifier.
    """
    encoder: Encoder = registry.load(registry.ENCODERS, name, "encoder")(**options)
    return encoder
