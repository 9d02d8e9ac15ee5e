"""DeepLab-LargeFOV: what is dilated, and that it computes what its weights say."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from rtseg.models import build, build_encoder
from rtseg.models.deeplab_v1 import DeepLabV1
from rtseg.models.encoders.fully_connected import decimated
from rtseg.registry import ENCODERS
from rtseg.training.data import CAMVID
from rtseg.training.recipe import Recipe
from rtseg.training.run import Run
from rtseg.training.transforms import Augmentation


def test_only_the_fifth_stage_and_fc6_are_dilated() -> None:
    with torch.device("meta"):
        network = DeepLabV1("vgg16", 21).eval()
        assert network(torch.zeros(1, 3, 40, 72)).shape == (1, 21, 5, 9)
    rates = [m.dilation[0] for m in network.modules() if isinstance(m, nn.Conv2d) and m.kernel_size == (3, 3)]
    assert rates == [1] * 10 + [2] * 3 + [12]
    assert sum(p.numel() for p in network.fully_connected.parameters()) == 1024 * (512 * 9 + 1) + 1024 * 1025


def test_it_computes_what_its_weights_say() -> None:
    torch.manual_seed(0)
    network = DeepLabV1("vgg16", 4).eval()
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


def test_training_starts_from_a_part_of_the_published_classifier(tmp_path: Path) -> None:
    """Every fourth filter, and of 7x7 taps the first, middle and last, which lie 3 * 32 pixels apart as 12 * 8 here."""
    state = {key: torch.randn_like(value) for key, value in build_encoder("vgg16").state_dict().items()}
    storage = torch.rand(4096 + 512 * 7 * 7)  # overlapping rows: the file is small, and every weight tells its place
    state["classifier.0.weight"] = fc6 = storage.as_strided((4096, 512 * 7 * 7), (1, 1))
    state["classifier.3.weight"] = fc7 = storage.as_strided((4096, 4096), (1, 2))
    state["classifier.0.bias"], state["classifier.3.bias"] = storage[:4096], storage[4096:8192]
    state |= {"classifier.6.weight": torch.zeros(1000, 4096), "classifier.6.bias": torch.zeros(1000)}
    torch.save(state, tmp_path / "vgg16.pth")
    recipe = Recipe(
        name="t",
        network="deeplabv1-vgg16",
        weights=str(tmp_path / "vgg16.pth"),
        augmentation=Augmentation(crop=(64, 64)),
    )
    network = Run(recipe, CAMVID).network
    own = network.state_dict()
    assert torch.equal(own["encoder.features.28.weight"], state["features.28.weight"])
    assert torch.equal(own["fully_connected.fc6.weight"], fc6[::4].unflatten(1, (512, 7, 7))[..., ::3, ::3])
    assert torch.equal(own["fully_connected.fc7.weight"][..., 0, 0], fc7[::4, ::4])
    assert torch.equal(own["fully_connected.fc6.bias"], state["classifier.0.bias"][::4])
    assert torch.equal(own["fully_connected.fc7.bias"], state["classifier.3.bias"][::4])
    assert own["classifier.weight"].shape == (11, 1024, 1, 1)


@pytest.mark.parametrize("encoder", ENCODERS)
def test_the_head_on_every_encoder(encoder: str) -> None:
    with torch.device("meta"):
        network = build(f"deeplabv1-{encoder}", 5).eval()
        assert isinstance(network, DeepLabV1)
        assert network(torch.zeros(1, 3, 24, 40)).shape == (1, 5, 3, 5)
    fc6 = network.fully_connected.fc6
    assert isinstance(fc6, nn.Conv2d)
    assert (fc6.in_channels, fc6.out_channels, fc6.kernel_size) == (network.encoder.channels[-1], 1024, (3, 3))
    assert (fc6.dilation, fc6.padding) == ((12, 12), (12, 12))
    assert network.fully_connected.weights_from({"fc.weight": torch.zeros(1000, 7)}) == {}


def test_a_part_of_six_by_six_taps() -> None:
    """Of AlexNet's taps: the ends, and one of the two in the middle."""
    layers = DeepLabV1("alexnet", 2).fully_connected.layers
    taps = torch.arange(36.0).view(1, 1, 6, 6).expand(2048, 4, 6, 6)
    filters = torch.arange(2048.0)
    weights = {
        "fc6.weight": taps,
        "fc6.bias": filters,
        "fc7.weight": torch.zeros(2048, 2048, 1, 1),
        "fc7.bias": filters,
    }
    part = decimated(weights, layers)
    assert part["fc6.weight"].shape == (1024, 4, 3, 3)
    assert part["fc6.weight"][0, 0].tolist() == [[0, 2, 5], [12, 14, 17], [30, 32, 35]]
    assert part["fc6.bias"].tolist() == list(range(0, 2048, 2))
    assert part["fc7.weight"].shape == (1024, 1024, 1, 1)
