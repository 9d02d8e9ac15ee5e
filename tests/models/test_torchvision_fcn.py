"""torchvision's fcn_resnet50 and fcn_resnet101: keys and shapes from the layer table, output from the keys."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from rtseg import models
from rtseg.models.blocks import Heads, count_macs, count_parameters

DEPTHS = {"fcn-resnet50": (3, 4, 6, 3), "fcn-resnet101": (3, 4, 23, 3)}
# The names, so that a slip of the table below shows: of the ends of stages and of both heads.
SPOTS = {
    "backbone.conv1.weight": (64, 3, 7, 7),
    "backbone.layer1.0.downsample.1.running_var": (256,),
    "backbone.layer3.0.conv2.weight": (256, 256, 3, 3),
    "backbone.layer4.2.bn3.bias": (2048,),
    "classifier.0.weight": (512, 2048, 3, 3),
    "classifier.1.running_mean": (512,),
    "classifier.4.bias": (21,),
    "aux_classifier.0.weight": (256, 1024, 3, 3),
    "aux_classifier.4.weight": (21, 256, 1, 1),
}


def norm(key: str, planes: int) -> dict[str, tuple[int, ...]]:
    parts = ("weight", "bias", "running_mean", "running_var")
    return {**{f"{key}.{part}": (planes,) for part in parts}, f"{key}.num_batches_tracked": ()}


def published(depths: tuple[int, ...], classes: int) -> dict[str, tuple[int, ...]]:
    """The state dictionary of table 1 of He et al. 2016 with torchvision's names and two FCN heads."""
    shapes: dict[str, tuple[int, ...]] = {"backbone.conv1.weight": (64, 3, 7, 7), **norm("backbone.bn1", 64)}
    inputs = 64
    for stage, depth in enumerate(depths, start=1):
        planes = 32 * 2**stage
        for block in range(depth):
            at = f"backbone.layer{stage}.{block}"
            shapes[f"{at}.conv1.weight"] = (planes, inputs, 1, 1)
            shapes[f"{at}.conv2.weight"] = (planes, planes, 3, 3)
            shapes[f"{at}.conv3.weight"] = (4 * planes, planes, 1, 1)
            for index, width in ((1, planes), (2, planes), (3, 4 * planes)):
                shapes |= norm(f"{at}.bn{index}", width)
            if block == 0:
                shapes[f"{at}.downsample.0.weight"] = (4 * planes, inputs, 1, 1)
                shapes |= norm(f"{at}.downsample.1", 4 * planes)
            inputs = 4 * planes
    for head, inputs in (("classifier", 2048), ("aux_classifier", 1024)):
        shapes[f"{head}.0.weight"] = (inputs // 4, inputs, 3, 3)
        shapes |= norm(f"{head}.1", inputs // 4)
        shapes |= {f"{head}.4.weight": (classes, inputs // 4, 1, 1), f"{head}.4.bias": (classes,)}
    return shapes


@pytest.mark.parametrize(
    ("name", "tensors", "parameters", "gmac"),
    [("fcn-resnet50", 334, 35_322_218, 152.717), ("fcn-resnet101", 640, 54_314_346, 232.738)],
)
def test_keys_and_counts_are_the_published_ones(name: str, tensors: int, parameters: int, gmac: float) -> None:
    with torch.device("meta"):
        network = models.build(name, 21, training_heads=True)
        found = {key: tuple(value.shape) for key, value in network.state_dict().items()}
        assert count_parameters(network) == parameters
        assert count_macs(network.train(), 520, 520) == pytest.approx(gmac * 1e9, rel=1e-5)
    assert found == published(DEPTHS[name], 21)
    assert len(found) == tensors
    assert SPOTS.items() <= found.items()


def test_without_training_heads_the_auxiliary_keys_are_gone() -> None:
    with torch.device("meta"):
        full, bare = (models.build("fcn-resnet50", 3, training_heads=heads).state_dict() for heads in (True, False))
    assert {key.split(".")[0] for key in full.keys() - bare.keys()} == {"aux_classifier"}
    assert bare.keys() < full.keys()


class Eager:
    """torchvision's fcn_resnet50 in eval mode, computed from a state dictionary alone."""

    def __init__(self, state: dict[str, Tensor]) -> None:
        self.state = state

    def conv(self, x: Tensor, key: str, stride: int = 1, dilation: int = 1) -> Tensor:
        weight = self.state[f"{key}.weight"]
        padding = dilation * (weight.shape[-1] // 2)
        return F.conv2d(x, weight, self.state.get(f"{key}.bias"), stride, padding, dilation)

    def norm(self, x: Tensor, key: str) -> Tensor:
        mean, var, weight, bias = (
            self.state[f"{key}.{part}"][:, None, None] for part in ("running_mean", "running_var", "weight", "bias")
        )
        return (x - mean) / torch.sqrt(var + 1e-5) * weight + bias

    def block(self, x: Tensor, at: str, stride: int, dilation: int) -> Tensor:
        y = self.norm(self.conv(x, f"{at}.conv1"), f"{at}.bn1").relu()
        y = self.norm(self.conv(y, f"{at}.conv2", stride, dilation), f"{at}.bn2").relu()
        y = self.norm(self.conv(y, f"{at}.conv3"), f"{at}.bn3")
        if f"{at}.downsample.0.weight" in self.state:
            x = self.norm(self.conv(x, f"{at}.downsample.0", stride), f"{at}.downsample.1")
        return (x + y).relu()

    def head(self, x: Tensor, at: str) -> Tensor:
        return self.conv(self.norm(self.conv(x, f"{at}.0"), f"{at}.1").relu(), f"{at}.4")

    def __call__(self, image: Tensor) -> tuple[Tensor, Tensor]:
        x = self.norm(self.conv(image, "backbone.conv1", 2), "backbone.bn1").relu()
        x = F.max_pool2d(x, 3, 2, padding=1)
        features = []
        # replace_stride_with_dilation = (False, True, True): a stage's first block still has the dilation before it.
        for stage, (depth, stride, first, rest) in enumerate(
            ((3, 1, 1, 1), (4, 2, 1, 1), (6, 1, 1, 2), (3, 1, 2, 4)), start=1
        ):
            for block in range(depth):
                step, dilation = (stride, first) if block == 0 else (1, rest)
                x = self.block(x, f"backbone.layer{stage}.{block}", step, dilation)
            features.append(x)
        return self.head(features[3], "classifier"), self.head(features[2], "aux_classifier")


def test_it_computes_what_the_published_network_does() -> None:
    torch.manual_seed(0)
    network = models.build("fcn-resnet50", 5, training_heads=True)
    for key, value in network.state_dict().items():
        if "bn" in key or ".downsample.1." in key or "classifier.1." in key:
            if key.endswith(("running_mean", "bias")):
                value.normal_(std=0.1)
            elif key.endswith(("running_var", "weight")):
                value.uniform_(0.5, 1.0)
    image = torch.rand(1, 3, 72, 104)
    with torch.inference_mode():
        wanted, auxiliary = Eager(network.state_dict())(image)
        found = network.eval()(image)
        features = network.backbone(image)
        assert isinstance(found, Tensor)
        assert found.shape == (1, 5, 9, 13)
        torch.testing.assert_close(found, wanted, rtol=0, atol=1e-4 * float(wanted.abs().max()))
        found = network.aux_classifier(features[-2])
        torch.testing.assert_close(found, auxiliary, rtol=0, atol=1e-4 * float(auxiliary.abs().max()))


def test_the_auxiliary_head_sees_the_stage_before_the_last() -> None:
    with torch.device("meta"):
        network = models.build("fcn-resnet50", 5, training_heads=True).train()
        heads = network(torch.zeros(2, 3, 64, 32))
    assert isinstance(heads, Heads)
    assert heads.main.shape == heads.auxiliary[0].shape == (2, 5, 8, 4)
    assert len(heads.auxiliary) == 1
