"""The losses of PIDNet (Xu et al. 2023, section 3.5) on logits at stride 8 and labels at a finer stride."""

from __future__ import annotations

import math

import msgspec
import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rtseg.errors import ConfigError
from rtseg.models.blocks import Heads

__all__ = ["Criterion", "LossWeights", "boundaries", "boundary_loss", "class_weights", "hard_mean", "lovasz_softmax"]


class LossWeights(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Weights of the four terms (equation 5), of the Lovász loss, and the settings of hard example mining.

    Raises:
        ConfigError: A value is out of its range; the message names the field.
    """

    auxiliary: float = 0.4
    """Weight of the auxiliary heads' cross-entropy."""
    boundary: float = 20.0
    """Weight of the boundary head's binary cross-entropy."""
    boundary_aware: float = 1.0
    """Weight of the main logits' cross-entropy near boundaries."""
    boundary_probability: float = 0.8
    """Near a boundary is where the boundary head is surer than this."""
    hard_probability: float = 0.9
    """Pixels are hard whose correct class has a probability below this."""
    hard_fraction: float = 0.1
    """At least this fraction of the labelled pixels counts as hard."""
    balance: float = 0.5
    """How classes are weighed: 0 all alike, 1 by inverse frequency."""
    lovasz: float = 0.0
    """Weight of the Lovász-Softmax loss of the main logits, a surrogate of the mean IoU."""

    def __post_init__(self) -> None:
        for name in ("auxiliary", "boundary", "boundary_aware", "lovasz"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ConfigError(f"{name} is {getattr(self, name):g}: expected 0 or more")
        for name in ("hard_fraction", "balance"):
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigError(f"{name} is {getattr(self, name):g}: expected 0 to 1")
        if not 0 < self.hard_probability <= 1:
            raise ConfigError(f"hard_probability is {self.hard_probability:g}: expected more than 0, and at most 1")
        if not 0 < self.boundary_probability < 1:
            raise ConfigError(
                f"boundary_probability is {self.boundary_probability:g}: expected more than 0, less than 1"
            )


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
    if fraction >= 1:
        return loss.mean()
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


LOVASZ_PIXELS = 65536
"""Pixels of a batch that the Lovász-Softmax loss looks at: sorting all of them would take longer than the network."""


def lovasz_softmax(logits: Tensor, labels: Tensor, ignore: int) -> Tensor:
    """The Lovász-Softmax loss (Berman et al. 2018, arXiv 1705.08790) over a random draw of a batch's labelled pixels.

    Logits are (N, C, H, W), labels (N, H, W); the mean is over the classes that the draw shows.
    """
    chosen = torch.nonzero((labels != ignore).flatten()).squeeze(1)
    if not chosen.numel():
        return logits.sum() * 0
    if chosen.numel() > LOVASZ_PIXELS:
        chosen = chosen[torch.randint(chosen.numel(), (LOVASZ_PIXELS,), device=chosen.device)]
    probabilities = logits.permute(0, 2, 3, 1).flatten(0, 2)[chosen].softmax(1).T  # (C, pixels)
    truth = labels.flatten()[chosen] == torch.arange(logits.shape[1], device=labels.device)[:, None]
    shown = truth.any(1)
    errors, order = (truth[shown].float() - probabilities[shown]).abs().sort(dim=1, descending=True)
    sorted_truth = truth[shown].gather(1, order).float()
    total = sorted_truth.sum(1, keepdim=True)
    jaccard = 1 - (total - sorted_truth.cumsum(1)) / (total + (1 - sorted_truth).cumsum(1))
    steps = torch.cat([jaccard[:, :1], jaccard[:, 1:] - jaccard[:, :-1]], dim=1)  # the gradient of the Jaccard loss
    return (errors * steps).sum(1).mean()


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
        if w.lovasz:
            terms["lovasz"] = w.lovasz * lovasz_softmax(_resize(heads.main, labels), labels, self.ignore)
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
