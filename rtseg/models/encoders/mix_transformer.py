"""Mix Transformer (MiT): the hierarchical encoder of SegFormer (Xie et al., NeurIPS 2021, arXiv 2105.15203).

Overlapping patch embeddings, attention whose keys and values come from a reduced sequence, and a feed-forward network
with a depthwise convolution in place of position codes. Attribute names are those of the published checkpoints.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rtseg.models.blocks import Encoder, check_size

HEAD_PLANES = 32
REDUCTIONS = (8, 4, 2, 1)
EXPANSION = 4
DROP_PATH = 0.1
"""Chance of leaving out a residual branch of the last block in training; it grows linearly from 0 in the first."""


def to_tokens(x: Tensor) -> Tensor:
    """(N, C, H, W) as (N, H * W, C)."""
    return x.flatten(2).transpose(1, 2)


def to_grid(tokens: Tensor, like: Tensor) -> Tensor:
    """(N, H * W, C) as (N, C, H, W), with the height and width of ``like``."""
    return torch.unflatten(tokens.transpose(1, 2), 2, like.shape[-2:])


class PatchEmbedding(nn.Module):
    """A strided convolution whose windows overlap, normalised per pixel (section 3.1)."""

    def __init__(self, inputs: int, planes: int, kernel: int, stride: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(inputs, planes, kernel, stride, padding=kernel // 2)
        self.norm = nn.LayerNorm(planes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.proj(x)
        return to_grid(self.norm(to_tokens(x)), x)


class Attention(nn.Module):
    """Self-attention of ``heads`` heads whose keys and values are from a grid ``reduction`` times smaller (eq. 1-2)."""

    def __init__(self, planes: int, heads: int, reduction: int) -> None:
        super().__init__()
        self.heads = heads
        self.q = nn.Linear(planes, planes)
        self.kv = nn.Linear(planes, 2 * planes)
        self.proj = nn.Linear(planes, planes)
        self.sr = nn.Conv2d(planes, planes, reduction, stride=reduction) if reduction > 1 else None
        self.norm = nn.LayerNorm(planes) if reduction > 1 else None

    def forward(self, tokens: Tensor, like: Tensor) -> Tensor:
        context = tokens
        if self.sr is not None and self.norm is not None:
            context = self.norm(to_tokens(self.sr(to_grid(tokens, like))))  # N, H * W / reduction^2, C
        key, value = self.kv(context).chunk(2, dim=2)
        y = F.scaled_dot_product_attention(self._split(self.q(tokens)), self._split(key), self._split(value))
        mixed: Tensor = self.proj(y.transpose(1, 2).flatten(2))
        return mixed

    def _split(self, tokens: Tensor) -> Tensor:
        """(N, L, C) as (N, heads, L, C / heads)."""
        return torch.unflatten(tokens, 2, (self.heads, -1)).transpose(1, 2)


class DepthwiseConv(nn.Module):
    """A 3x3 depthwise convolution of tokens."""

    def __init__(self, planes: int) -> None:
        super().__init__()
        self.dwconv = nn.Conv2d(planes, planes, 3, padding=1, groups=planes)

    def forward(self, tokens: Tensor, like: Tensor) -> Tensor:
        return to_tokens(self.dwconv(to_grid(tokens, like)))


class MixFfn(nn.Module):
    """Feed-forward network with a depthwise convolution between its two layers (equation 3)."""

    def __init__(self, planes: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(planes, EXPANSION * planes)
        self.dwconv = DepthwiseConv(EXPANSION * planes)
        self.fc2 = nn.Linear(EXPANSION * planes, planes)

    def forward(self, tokens: Tensor, like: Tensor) -> Tensor:
        y: Tensor = self.fc2(F.gelu(self.dwconv(self.fc1(tokens), like)))
        return y


class DropPath(nn.Module):
    """Leaves out a whole residual branch per image in training (stochastic depth, Huang et al. 2016)."""

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, tokens: Tensor) -> Tensor:
        if not self.training or self.rate == 0:
            return tokens
        keep = 1 - self.rate
        return tokens * tokens.new_empty(len(tokens), 1, 1).bernoulli_(keep) / keep


class Block(nn.Module):
    """Attention, then Mix-FFN, each behind a layer normalisation and beside a shortcut."""

    def __init__(self, planes: int, heads: int, reduction: int, drop: float) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(planes, eps=1e-6)
        self.attn = Attention(planes, heads, reduction)
        self.norm2 = nn.LayerNorm(planes, eps=1e-6)
        self.mlp = MixFfn(planes)
        self.drop_path = DropPath(drop)

    def forward(self, tokens: Tensor, like: Tensor) -> Tensor:
        tokens = tokens + self.drop_path(self.attn(self.norm1(tokens), like))
        y: Tensor = tokens + self.drop_path(self.mlp(self.norm2(tokens), like))
        return y


class MixTransformer(Encoder):
    """MiT with ``channels`` and ``depths`` per stage.

    ``forward`` takes a float NCHW image with sides that are multiples of 32 and returns features at strides 4 to 32.
    """

    strides = (4, 8, 16, 32)
    published_extras = ("head.",)

    def __init__(self, channels: tuple[int, ...], depths: tuple[int, ...]) -> None:
        super().__init__()
        self.channels = channels
        drops = torch.linspace(0, DROP_PATH, sum(depths), device="cpu").tolist()
        before = 3
        for index, (planes, depth, reduction) in enumerate(zip(channels, depths, REDUCTIONS, strict=True)):
            kernel, stride = (7, 4) if index == 0 else (3, 2)
            heads = planes // HEAD_PLANES
            blocks = [Block(planes, heads, reduction, drops.pop(0)) for _ in range(depth)]
            self.add_module(f"patch_embed{index + 1}", PatchEmbedding(before, planes, kernel, stride))
            self.add_module(f"block{index + 1}", nn.ModuleList(blocks))
            self.add_module(f"norm{index + 1}", nn.LayerNorm(planes, eps=1e-6))
            before = planes
        _initialise(self)

    def forward(self, x: Tensor) -> list[Tensor]:
        check_size(x, self.strides[-1])
        features = []
        for index in range(len(self.strides)):
            x = self.get_submodule(f"patch_embed{index + 1}")(x)
            tokens = to_tokens(x)
            for block in self.get_submodule(f"block{index + 1}").children():
                tokens = block(tokens, x)
            x = to_grid(self.get_submodule(f"norm{index + 1}")(tokens), x)
            features.append(x)  # 1/4, 1/8, 1/16, 1/32
        return features


def _initialise(module: nn.Module) -> None:
    """Give linear layers a truncated normal of 0.02 and convolutions He's normal by fan out, as published."""
    for child in module.modules():
        if isinstance(child, nn.Linear):
            nn.init.trunc_normal_(child.weight, std=0.02)
            nn.init.zeros_(child.bias)
        elif isinstance(child, nn.Conv2d):
            fan_out = math.prod(child.kernel_size) * child.out_channels // child.groups
            nn.init.normal_(child.weight, std=math.sqrt(2 / fan_out))
            if child.bias is not None:
                nn.init.zeros_(child.bias)


def mit_b0() -> MixTransformer:
    """MiT-B0: 3.3 M parameters as an encoder."""
    return MixTransformer((32, 64, 160, 256), (2, 2, 2, 2))
