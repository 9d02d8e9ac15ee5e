"""Optimiser, parameter groups, learning rate over the run, and the moving average of the weights."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import nn

from rtseg.errors import ConfigError
from rtseg.training.recipe import Recipe

__all__ = ["average_into", "freeze_norm", "make_optimizer", "rate_factor", "set_rate"]


def make_optimizer(network: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    """The recipe's optimiser over the parameters that learn; those of `frozen` are marked as not learning.

    Errors: ConfigError for a prefix in `frozen` or `rates` that no parameter has.
    """
    groups = _groups(network, recipe)
    if recipe.optimizer == "sgd":
        return torch.optim.SGD(groups, lr=recipe.learning_rate, momentum=recipe.momentum)
    return torch.optim.AdamW(groups, lr=recipe.learning_rate)


def _groups(network: nn.Module, recipe: Recipe) -> list[dict[str, Any]]:
    """Groups by learning rate factor and by whether they decay (matrices do; biases and normalisation do not)."""
    names = [name for name, _ in network.named_parameters()]
    for prefix in (*recipe.frozen, *recipe.rates):
        if not any(name.startswith(prefix) for name in names):
            raise ConfigError(f"no parameter of {recipe.network} begins with '{prefix}': they are {names[0]}, …")
    groups: dict[tuple[float, bool], list[nn.Parameter]] = {}
    for name, parameter in network.named_parameters():
        if name.startswith(recipe.frozen):
            parameter.requires_grad_(False)
        if not parameter.requires_grad:
            continue
        factor = next((factor for prefix, factor in recipe.rates.items() if name.startswith(prefix)), 1.0)
        if name.endswith("bias"):
            factor *= recipe.bias_rate
        groups.setdefault((factor, parameter.ndim > 1), []).append(parameter)
    return [
        {"params": parameters, "factor": factor, "weight_decay": recipe.weight_decay if decays else 0.0}
        for (factor, decays), parameters in groups.items()
    ]


def rate_factor(recipe: Recipe, progress: float) -> float:
    """The learning rate at `progress` (0 to 1) of the run, as a fraction of the recipe's."""
    if progress < recipe.warm_up:
        return max(progress / recipe.warm_up, 0.01)
    rest = min((progress - recipe.warm_up) / (1 - recipe.warm_up), 1.0)
    if recipe.schedule == "poly":
        return float((1 - rest) ** recipe.power)
    if recipe.schedule == "constant":
        return 1.0
    return 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * rest))


def set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Give every group its multiple of `rate`."""
    for group in optimizer.param_groups:
        group["lr"] = rate * group["factor"]


@torch.no_grad()
def average_into(average: nn.Module, network: nn.Module, decay: float) -> None:
    """Move averaged weights and batch statistics towards the current ones; counts are copied."""
    pairs = list(zip(average.state_dict().values(), network.state_dict().values(), strict=True))
    floats = [pair for pair in pairs if pair[0].is_floating_point()]
    torch._foreach_lerp_([mean for mean, _ in floats], [value for _, value in floats], 1 - decay)
    for mean, value in pairs:
        if not mean.is_floating_point():
            mean.copy_(value)


def freeze_norm(network: nn.Module) -> None:
    """Put batch normalisation into eval mode: its statistics stay as they are."""
    for module in network.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.eval()
