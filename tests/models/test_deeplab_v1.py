"""DeepLab-LargeFOV: what is dilated, and that it computes what its weights say."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from rtseg.models.deeplab_v1 import DeepLabV1


def test_only_the_fifth_stage_and_fc6_are_dilated() -> None:
    with torch.device("meta"):
        network = DeepLabV1(21).eval()
        assert network(torch.zeros(1, 3, 40, 72)).shape == (1, 21, 5, 9)
    rates = [m.dilation[0] for m in network.modules() if isinstance(m, nn.Conv2d) and m.kernel_size == (3, 3)]
    assert rates == [1] * 10 + [2] * 3 + [12]
    assert sum(p.numel() for p in network.fully_connected.parameters()) == 1024 * (512 * 9 + 1) + 1024 * 1025


def test_it_computes_what_its_weights_say() -> None:
    torch.manual_seed(0)
    network = DeepLabV1(4).eval()
    state = network.state_dict()
    image = torch.rand(1, 3, 32, 48)

    def conv(x: torch.Tensor, key: str, dilation: int = 1) -> torch.Tensor:
        weight = state[f"{key}.weight"]
        return F.conv2d(x, weight, state[f"{key}.bias"], padding=dilation * (weight.shape[2] // 2), dilation=dilation)

    with torch.inference_mode():
        x = image
        for keys in ((0, 2), (5, 7), (10, 12, 14)):
            for key in keys:
                x = conv(x, f"encoder.features.{key}").relu()
            x = F.max_pool2d(x, 2)
        for keys, dilation in (((17, 19, 21), 1), ((24, 26, 28), 2)):
            for key in keys:
                x = conv(x, f"encoder.features.{key}", dilation).relu()
            x = F.max_pool2d(x, 3, 1, padding=1)
        x = conv(conv(x, "fully_connected.fc6", 12).relu(), "fully_connected.fc7").relu()
        wanted = conv(x, "classifier")
        found = network(image)
    assert found.shape == (1, 4, 4, 6)
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-4 * float(wanted.abs().max()))
