"""Segmentation networks, one file per paper; `build` makes any of them by its name.

A name is an entry of `rtseg.registry.NETWORKS` ("pidnet-s") or a decoder and an encoder ("unet-resnet18"). DeepLabV3
and V3+ take the output stride of their encoder behind it ("deeplabv3plus-resnet50-os8").
`rtseg.models.blocks` declares what a network and an encoder have.
"""

from __future__ import annotations

from rtseg.models.factory import build, build_encoder, names

__all__ = ["build", "build_encoder", "names"]
