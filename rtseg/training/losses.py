"""The losses of PIDNet (Xu et al. 2023, section 3.5) on logits at stride 8 and labels at a finer stride."""

from __future__ import annotations

import math

import msgspec
import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rtseg.models.blocks import Heads

__all__ = ["Criterion", "LossWeights", "boundaries", "boundary_loss", "class_weights", "hard_mean"]


class LossWeights(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Weights of the four terms (equation 5) and the settings of hard example mining.

    Pixels are hard whose correct class has a probability below `hard_probability`; at least `hard_fraction` of the
    labelled pixels count. Near boundaries surer than `boundary_probability` the main logits are scored once more.
    `balance` between 0 (none) and 1 (inverse frequency) weighs the classes.
    """

    auxiliary: float = 0.4
    boundary: float = 20.0
    boundary_aware: float = 1.0
    boundary_probability: float = 0.8
    hard_probability: float = 0.9
    hard_fraction: float = 0.1
    balance: float = 0.5


def class_weights(pixels: npt.NDArray[np.int64], balance: float) -> Tensor:
    """Weights per class proportional to frequency ** -balance, scaled so that the mean over pixels is 1."""
    frequency = np.maximum(pixels, 1) / max(int(pixels.sum()), 1)
    weights = frequency**-balance
    return torch.from_numpy(weights / (weights * frequency).sum()).float()


def hard_mean(loss: Tensor, valid: Tensor, probability: float, fraction: float) -> Tensor:
    """The mean over hard pixels: loss above -log(probability), or the highest `fraction` of the valid ones if fewer."""
    loss = loss[valid]
    if not loss.numel():
        return loss.sum()
    hard = loss > -math.log(probability)
    least = max(1, int(loss.numel() * fraction))
    if int(hard.sum()) < least:
        return loss.topk(least).values.mean()
    return loss[hard].mean()


def boundaries(labels: Tensor, ignore: int, width: int = 3) -> Tensor:
    """Mark pixels (N, H, W) bool within `width` // 2 of another class; void makes no boundary."""
    x = labels.unsqueeze(1).float()
    void = x == ignore
    high = F.max_pool2d(x.masked_fill(void, -1), width, 1, width // 2)
    low = -F.max_pool2d(-x.masked_fill(void, 1e6), width, 1, width // 2)
    return ((high > low) & ~void).squeeze(1)


def boundary_loss(logits: Tensor, target: Tensor, valid: Tensor) -> Tensor:
    """Binary cross-entropy (N, H, W) in which boundary pixels weigh as much as all others together."""
    logits, target = logits[valid], target[valid].float()
    if not logits.numel():
        return logits.sum()
    positive = target.mean()
    weight = torch.where(target > 0, 1 - positive, positive)
    return F.binary_cross_entropy_with_logits(logits, target, weight)


class Criterion(nn.Module):
    """The weighted sum of PIDNet's auxiliary, main, boundary and boundary-aware losses.

    Takes logits or `Heads`, resized to the labels (N, H, W) int64; returns the sum and the terms that these heads have.
    """

    def __init__(self, weights: LossWeights, balance: Tensor, ignore: int) -> None:
        super().__init__()
        self.weights = weights
        self.ignore = ignore
        self.register_buffer("balance", balance)

    def forward(self, outputs: Tensor | Heads, labels: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        w = self.weights
        heads = outputs if isinstance(outputs, Heads) else Heads(outputs)
        valid = labels != self.ignore
        main = self._cross_entropy(heads.main, labels)
        terms = {"main": self._hard(main, valid)}
        if heads.auxiliary:
            losses = [self._hard(self._cross_entropy(logits, labels), valid) for logits in heads.auxiliary]
            terms["auxiliary"] = w.auxiliary * torch.stack(losses).sum()
        if heads.boundary is not None:
            boundary = _resize(heads.boundary, labels).squeeze(1)
            sure = valid & (boundary.detach() > math.log(w.boundary_probability / (1 - w.boundary_probability)))
            terms["boundary"] = w.boundary * boundary_loss(boundary, boundaries(labels, self.ignore), valid)
            terms["boundary_aware"] = w.boundary_aware * self._hard(main, sure)
        return torch.stack(list(terms.values())).sum(), terms

    def _cross_entropy(self, logits: Tensor, labels: Tensor) -> Tensor:
        balance = self.get_buffer("balance")
        logits = _resize(logits, labels)
        return F.cross_entropy(logits, labels, balance, ignore_index=self.ignore, reduction="none")

    def _hard(self, loss: Tensor, valid: Tensor) -> Tensor:
        return hard_mean(loss, valid, self.weights.hard_probability, self.weights.hard_fraction)


def _resize(logits: Tensor, labels: Tensor) -> Tensor:
    return F.interpolate(logits.float(), size=labels.shape[-2:], mode="bilinear", align_corners=False)
