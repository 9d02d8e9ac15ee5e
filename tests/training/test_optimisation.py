"""Parameter groups, schedules, the averaged weights, frozen statistics."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from rtseg.errors import ConfigError
from rtseg.models import build
from rtseg.training.optimisation import average_into, freeze_norm, make_optimizer, rate_factor, set_rate
from rtseg.training.recipe import Recipe
from rtseg.training.transforms import Augmentation


def settings(**changes: object) -> Recipe:
    return Recipe(name="t", network="fcn-same", augmentation=Augmentation(crop=(32, 32)), **changes)  # type: ignore[arg-type]


def test_cosine_rises_then_falls() -> None:
    recipe = settings(warm_up=0.1)
    factors = [rate_factor(recipe, progress) for progress in (0.0, 0.05, 0.1, 0.55, 1.0, 1.5)]
    assert factors == pytest.approx([0.01, 0.5, 1.0, 0.01 + 0.99 / 2, 0.01, 0.01])


def test_poly_and_constant() -> None:
    poly = settings(schedule="poly", warm_up=0)
    assert [rate_factor(poly, progress) for progress in (0.0, 0.5, 1.0, 1.1)] == pytest.approx([1, 0.5**0.9, 0, 0])
    constant = settings(schedule="constant", warm_up=0.5)
    assert [rate_factor(constant, progress) for progress in (0.25, 0.5, 1.0)] == [0.5, 1, 1]


def test_weight_decay_leaves_biases_and_normalisation_alone() -> None:
    network = build("fcn-same", 11)
    decayed, plain = make_optimizer(network, settings(weight_decay=0.3)).param_groups
    assert decayed["weight_decay"] == 0.3 and plain["weight_decay"] == 0
    assert all(p.ndim == 4 for p in decayed["params"]) and all(p.ndim == 1 for p in plain["params"])
    assert len(decayed["params"]) + len(plain["params"]) == len(list(network.parameters()))


def test_rates_by_part_and_for_biases() -> None:
    network = build("fcn-same", 11)
    recipe = settings(optimizer="sgd", rates={"layers.0": 0.1}, bias_rate=2.0, frozen=("layers.1.",))
    optimizer = make_optimizer(network, recipe)
    assert isinstance(optimizer, torch.optim.SGD) and optimizer.param_groups[0]["momentum"] == 0.9
    set_rate(optimizer, 0.5)
    rates = {id(p): group["lr"] for group in optimizer.param_groups for p in group["params"]}
    found = {name: rates.get(id(parameter)) for name, parameter in network.named_parameters()}
    assert found["layers.0.0.weight"] == pytest.approx(0.05) and found["layers.0.1.bias"] == pytest.approx(0.1)
    assert found["layers.2.0.weight"] == 0.5 and found["classifier.bias"] == 1.0
    assert found["layers.1.0.weight"] is None
    assert [n for n, p in network.named_parameters() if not p.requires_grad] == [
        "layers.1.0.weight", "layers.1.1.weight", "layers.1.1.bias"
    ]  # fmt: skip


def test_a_prefix_that_nothing_has_is_an_error() -> None:
    with pytest.raises(ConfigError, match="no parameter of fcn-same begins with 'encoder'"):
        make_optimizer(build("fcn-same", 11), settings(frozen=("encoder",)))


def test_average_follows_the_network() -> None:
    average, network = (nn.Sequential(nn.Conv2d(1, 1, 1), nn.BatchNorm2d(1)) for _ in range(2))
    with torch.no_grad():
        for tensor in network.state_dict().values():
            tensor.fill_(1)
        for tensor in average.state_dict().values():
            tensor.zero_()
    average_into(average, network, 0.9)
    state = average.state_dict()
    assert state["0.weight"].item() == pytest.approx(0.1) and state["1.running_var"].item() == pytest.approx(0.1)
    assert state["1.num_batches_tracked"].item() == 1
    average_into(average, network, 0.0)
    assert state["0.weight"].item() == 1


def test_frozen_statistics_stay() -> None:
    network = build("fcn-same", 3).train()
    freeze_norm(network)
    network(torch.randn(2, 3, 8, 8))
    assert network.training
    assert not network.state_dict()["layers.0.1.running_mean"].any()
