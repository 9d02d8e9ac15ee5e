"""DDRNet-23-slim: its pyramid, its bilateral fusion, the names of its published checkpoint."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from rtseg.models.blocks import Heads, resize_like
from rtseg.models.ddrnet import DDRNet
from rtseg.models.pyramid import Dappm


class Plus(nn.Module):
    """Adds a number, so that the order of sums can be read off the result."""

    def __init__(self, number: float) -> None:
        super().__init__()
        self.number = number

    def forward(self, x: Tensor) -> Tensor:
        return x + self.number


def test_names_are_those_of_the_published_checkpoint() -> None:
    with torch.device("meta"):
        state = DDRNet(19, training_heads=True).state_dict()
    shapes = {
        "conv1.3.bias": (32,),
        "layer1.1.conv2.weight": (32, 32, 3, 3),
        "layer2.0.downsample.0.weight": (64, 32, 1, 1),
        "layer3_.1.bn2.running_var": (64,),
        "layer4.0.conv1.weight": (256, 128, 3, 3),
        "layer5.0.conv3.weight": (512, 256, 1, 1),
        "layer5_.0.downsample.1.weight": (128,),
        "compression3.0.weight": (64, 128, 1, 1),
        "compression4.0.weight": (64, 256, 1, 1),
        "down3.0.weight": (128, 64, 3, 3),
        "down4.3.weight": (256, 128, 3, 3),
        "down4.4.bias": (256,),
        "spp.scale0.2.weight": (128, 512, 1, 1),
        "spp.scale3.1.weight": (512,),
        "spp.process4.2.weight": (128, 128, 3, 3),
        "spp.compression.2.weight": (128, 640, 1, 1),
        "seghead_extra.conv1.weight": (64, 64, 3, 3),
        "final_layer.conv2.bias": (19,),
    }
    assert {key: tuple(state[key].shape) for key in shapes} == shapes
    assert {key.split(".")[0] for key in state} == {
        *("conv1", "layer1", "layer2", "layer3", "layer4", "layer5", "spp"),
        *("layer3_", "layer4_", "layer5_", "compression3", "compression4", "down3", "down4"),
        *("seghead_extra", "final_layer"),
    }


def test_dappm_refines_each_scale_with_the_one_before() -> None:
    dappm = Dappm(1, 1, 1).eval()
    for index in range(5):
        setattr(dappm, f"scale{index}", Plus(10.0**index))
    for index in range(1, 5):
        setattr(dappm, f"process{index}", nn.Sequential())
    dappm.compression = nn.Sequential()
    dappm.shortcut = nn.Sequential(Plus(0.5))
    found = dappm(torch.zeros(1, 1, 4, 6))  # the shortcut is added to the scales' channels, kept apart here
    assert found.amin(dim=(0, 2, 3)).tolist() == [1.5, 11.5, 111.5, 1111.5, 11111.5]
    assert torch.equal(found.amin(dim=(2, 3)), found.amax(dim=(2, 3)))


def test_dappm_pools_windows_of_5_9_and_17_and_the_image() -> None:
    dappm = Dappm(1, 1, 1)
    x = torch.arange(64.0 * 64).reshape(1, 1, 64, 64)
    centre = x[0, 0, 32, 32]  # the mean of any window around it; means of a window at the border count zeros
    for scale, stride in ((dappm.scale1, 2), (dappm.scale2, 4), (dappm.scale3, 8)):
        assert scale[0](x)[0, 0, 32 // stride, 32 // stride] == centre
    corner = dappm.scale1[0](x)[0, 0, 0, 0]
    assert corner == pytest.approx(float(x[0, 0, :3, :3].sum()) / 25)
    assert float(dappm.scale4[0](x)) == pytest.approx(float(x.mean()))


def test_branches_exchange_features_before_either_is_changed() -> None:
    network = DDRNet(2).eval()
    seen: dict[str, Tensor] = {}
    for name in ("layer2", "layer3", "layer3_", "down3", "compression3"):
        network.get_submodule(name).register_forward_hook(lambda _, __, y, name=name: seen.update({name: y}))
    network.layer4.register_forward_pre_hook(lambda _, x: seen.update(low=x[0]))
    network.layer4_.register_forward_pre_hook(lambda _, x: seen.update(high=x[0]))
    with torch.inference_mode():
        network(torch.rand(1, 3, 40, 72))
        torch.testing.assert_close(seen["low"], (seen["layer3"] + seen["down3"]).relu())
        up = resize_like(network.compression3(seen["layer3"].relu()), seen["layer3_"])
        torch.testing.assert_close(seen["high"], (seen["layer3_"] + up).relu())
        torch.testing.assert_close(seen["down3"], network.down3(seen["layer3_"].relu()))


def test_auxiliary_head_is_on_the_high_resolution_branch() -> None:
    with torch.device("meta"):
        outputs = DDRNet(5, training_heads=True).train()(torch.zeros(2, 3, 64, 96))
    assert isinstance(outputs, Heads)
    assert outputs.main.shape == outputs.auxiliary[0].shape == (2, 5, 8, 12)
    assert outputs.boundary is None
