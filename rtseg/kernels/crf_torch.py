"""The dense CRF of `kernels.cpu.crf` in torch: batched, differentiable, on any device; `--refine` uses it on GPUs."""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from rtseg.errors import ConfigError
from rtseg.kernels.crf_settings import Crf, Solve

__all__ = ["mean_field", "solver"]

FAINTEST = 1e-6
LEAST, LIMIT = 1e-12, 1e4
"""The least probability, and the size that scores are cut to, as in the kernel."""


def solver(device: str) -> Solve:
    """The mean field of `kernels.cpu.crf` on a torch device, such as cuda:0, for its `solve`."""

    def solve(
        scores: NDArray[np.float32],
        picture: NDArray[np.float32],
        settings: Crf,
        box: tuple[int, int, int, int],
        allowed: NDArray[np.int32],
        shares: bool,
    ) -> NDArray[np.float32]:
        top, left, bottom, right = box
        with torch.inference_mode():
            logits = torch.from_numpy(scores).to(device)[None]
            if shares:
                logits = logits.clamp_min(LEAST).log()
            logits = logits.nan_to_num(-LIMIT, LIMIT, -LIMIT).clamp(-LIMIT, LIMIT)
            fine = F.interpolate(logits, picture.shape[1:], mode="bilinear", align_corners=False)
            fine[:, torch.from_numpy(allowed == 0).to(device)] = -LIMIT
            colours = torch.from_numpy(np.ascontiguousarray(picture[:, top:bottom, left:right])).to(device)[None]
            result: NDArray[np.float32] = (
                mean_field(fine[..., top:bottom, left:right], colours, settings)[0].cpu().numpy()
            )
        return result

    return solve


def mean_field(logits: Tensor, picture: Tensor, settings: Crf) -> Tensor:
    """Log-probabilities after the dense CRF's mean field, (N, C, H, W) float32.

    `logits` is (N, C, h, w), `picture` (N, 3, H, W) the colours (0…255) of the same grid or of a finer one, to which
    the logits are interpolated. Every window is unfolded, so it takes N * C * H * W * (2 radius + 1)² numbers. Errors:
    ConfigError for shapes that do not fit. See `Crf` for the method and its sources.
    """
    if logits.ndim != 4 or picture.ndim != 4 or picture.shape[1] != 3 or len(logits) != len(picture):
        raise ConfigError(
            f"mean_field: logits {tuple(logits.shape)} and picture {tuple(picture.shape)}, expected (N, C, h, w) and "
            "(N, 3, H, W)"
        )
    batch, classes = logits.shape[:2]
    height, width = picture.shape[-2:]
    unary = F.interpolate(logits.float(), (height, width), mode="bilinear", align_corners=False)
    weights = pair_weights(picture.float(), settings)  # N, window, H * W
    scores = unary
    for _ in range(settings.iterations):
        beliefs = windows(scores.softmax(1), settings.radius)  # N, C, window, H * W
        message = torch.einsum("nckp,nkp->ncp", beliefs, weights)
        scores = unary + message.view(batch, classes, height, width)
    return scores.log_softmax(1)


def windows(values: Tensor, radius: int) -> Tensor:
    """The (2 radius + 1)² neighbours of every cell, 0 outside: (N, C, H, W) to (N, C, window, H * W)."""
    unfolded = F.unfold(values, 2 * radius + 1, padding=radius)  # N, C * window, H * W
    return unfolded.view(values.shape[0], values.shape[1], -1, unfolded.shape[-1])


def pair_weights(picture: Tensor, settings: Crf) -> Tensor:
    """How strongly each cell and each of its neighbours want the same label: (N, window, H * W), 0 for itself."""
    radius = settings.radius
    steps = torch.arange(-radius, radius + 1, device=picture.device, dtype=picture.dtype)
    square = (steps[:, None] ** 2 + steps**2).view(-1, 1)  # window, 1
    present = windows(torch.ones_like(picture[:, :1]), radius)[:, 0] * (square > 0)
    colours = picture / (math.sqrt(2) * settings.theta_beta)
    unlike = (windows(colours, radius) - colours.flatten(2)[:, :, None]).square().sum(1)  # N, window, H * W
    appearance = torch.exp(-unlike - square / (2 * settings.theta_alpha**2)) * present
    smoothness = torch.exp(-square / (2 * settings.theta_gamma**2)) * present
    weights = torch.zeros_like(appearance)
    for kernel, strength in ((appearance, settings.appearance), (smoothness, settings.smoothness)):
        norm = (kernel.sum(1) + FAINTEST).rsqrt()  # N, H * W
        around = windows(norm.view(-1, 1, *picture.shape[-2:]), radius)[:, 0]  # N, window, H * W
        weights = weights + strength * kernel * norm[:, None] * around
    return weights
