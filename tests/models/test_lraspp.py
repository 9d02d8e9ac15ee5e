"""LR-ASPP against torchvision's definition."""

from __future__ import annotations

import torch

from rtseg import models
from rtseg.models.blocks import count_parameters
from tests.models import torchvision_reference as reference

NAME = "lraspp-mobilenetv3-large"


def test_state_dictionary_is_torchvisions() -> None:
    with torch.device("meta"):
        network = models.build(NAME, 21, training_heads=True)
    shapes = {key: tuple(value.shape) for key, value in network.state_dict().items()}
    assert shapes == reference.lraspp_shapes(21)
    assert len(shapes) == 319
    assert count_parameters(network) == 3_221_538


def test_logits_are_those_of_the_published_network() -> None:
    torch.manual_seed(0)
    state = reference.random_state(reference.lraspp_shapes(21))
    network = models.build(NAME, 21).double().eval()
    network.load_state_dict(state)
    image = torch.rand(1, 3, 48, 80, dtype=torch.float64)
    with torch.inference_mode():
        features = list(reference.mobilenet(state, image))
        expected = reference.lraspp_head(state, features[4], features[-1])
        found = network(image)
    assert found.shape == (1, 21, 6, 10)
    assert expected.std() > 0.01
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)
