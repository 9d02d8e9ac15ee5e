"""DeepLabV3 against torchvision's definition; what DeepLabV3+ adds."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from rtseg import models
from rtseg.backends.torch import rebuild
from rtseg.errors import ConfigError, ModelError
from rtseg.export.checkpoint import spec_of, write_onnx
from rtseg.models.blocks import Heads, count_parameters
from rtseg.models.deeplab import DeepLabV3Plus, SeparableAspp, deeplabv3plus, separable
from rtseg.models.deeplab_v3 import Aspp, DeepLabV3
from rtseg.registry import DECODERS, ENCODERS, NETWORKS
from rtseg.training.data import CAMVID
from tests.models import torchvision_reference as reference

RESNET101 = (3, 4, 23, 3)
# Keys and shapes, tensors and parameters that torchvision publishes (21 classes, with the auxiliary head).
PUBLISHED = {
    "deeplabv3-resnet50": (
        reference.deeplab_shapes(reference.resnet_shapes(reference.RESNET50), 2048, 1024, 21),
        370,
        42_004_074,
    ),
    "deeplabv3-resnet101": (
        reference.deeplab_shapes(reference.resnet_shapes(RESNET101), 2048, 1024, 21),
        676,
        60_996_202,
    ),
    "deeplabv3-mobilenetv3-large": (
        reference.deeplab_shapes(reference.mobilenet_shapes(), 960, 40, 21),
        360,
        11_029_328,
    ),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_state_dictionary_is_torchvisions(name: str) -> None:
    shapes, tensors, parameters = PUBLISHED[name]
    with torch.device("meta"):
        network = models.build(name, 21, training_heads=True)
    assert {key: tuple(value.shape) for key, value in network.state_dict().items()} == shapes
    assert len(shapes) == tensors
    assert count_parameters(network) == parameters


@pytest.mark.parametrize("name", ["deeplabv3-resnet50", "deeplabv3-mobilenetv3-large"])
def test_logits_are_those_of_the_published_network(name: str) -> None:
    torch.manual_seed(0)
    state = reference.random_state(PUBLISHED[name][0])
    network = models.build(name, 21, training_heads=True).double()
    assert isinstance(network, DeepLabV3)
    network.load_state_dict(state)
    network.eval()
    # Wide enough for the largest rate to reach another cell: 40 cells.
    image = torch.rand(1, 3, network.multiple, 40 * network.multiple, dtype=torch.float64)
    with torch.inference_mode():
        if "resnet" in name:
            *_, early, last = reference.resnet(state, reference.RESNET50, image)
        else:
            features = list(reference.mobilenet(state, image))
            early, last = features[4], features[-1]
        expected = reference.deeplab_head(state, last)
        found = network(image)
        assert found.shape == (1, 21, 1, 40)
        assert expected.std() > 0.01
        torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)
        network.training = True  # the heads, with the running statistics still in use
        outputs = network(image)
    assert isinstance(outputs, Heads)
    torch.testing.assert_close(outputs.auxiliary[0], reference.auxiliary_head(state, early), rtol=1e-9, atol=1e-9)


def test_pyramid_sees_each_rate() -> None:
    """One pixel in the middle shows up at exactly the distances of the rates, and everywhere through the mean."""
    aspp = Aspp(1, 1, (2, 3, 5)).eval()
    for conv in aspp.convs:
        for layer in conv:
            if isinstance(layer, nn.Conv2d):
                nn.init.ones_(layer.weight)
    nn.init.ones_(aspp.project[0].weight)
    image = torch.zeros(1, 1, 13, 13)
    image[..., 6, 6] = 1
    with torch.inference_mode():
        seen = aspp(image)[0, 0] - 1 / 169
    columns = {x - 6 for x in range(13) if seen[6, x] > 1e-3}
    assert columns == {-5, -3, -2, 0, 2, 3, 5}
    assert float(seen[6, 6]) == pytest.approx(4, rel=1e-3)  # 1x1 and three middle taps


def rates_of(network: nn.Module) -> list[int]:
    branches = [
        branch[0] for part in network.modules() if isinstance(part, Aspp | SeparableAspp) for branch in part.convs
    ]
    return [conv.dilation[0] for conv in branches if isinstance(conv, nn.Conv2d) and conv.kernel_size == (3, 3)]


@pytest.mark.parametrize(
    ("name", "stride", "rates"),
    [
        ("deeplabv3-resnet50", 8, [12, 24, 36]),  # torchvision's
        ("deeplabv3-resnet101", 8, [12, 24, 36]),
        ("deeplabv3-mobilenetv3-large", 16, [12, 24, 36]),
        ("deeplabv3-mobilenetv3-large-os16", 16, [12, 24, 36]),
        ("deeplabv3-mobilenetv3-large-os8", 8, [12, 24, 36]),
        ("deeplabv3-resnet50-os16", 16, [6, 12, 18]),  # the paper's
        ("deeplabv3-resnet18-os8", 8, [12, 24, 36]),
        ("deeplabv3-efficientnet-lite0", 16, [6, 12, 18]),
        ("deeplabv3-efficientnet-lite0-os8", 8, [12, 24, 36]),
        ("deeplabv3plus-resnet50", 16, [6, 12, 18]),
        ("deeplabv3plus-resnet50-os16", 16, [6, 12, 18]),
        ("deeplabv3plus-resnet50-os8", 8, [12, 24, 36]),
        ("deeplabv3plus-mobilenetv2-os8", 8, [12, 24, 36]),
    ],
)
def test_the_name_chooses_the_output_stride_and_that_the_rates(name: str, stride: int, rates: list[int]) -> None:
    assert name in models.names()
    with torch.device("meta"):
        network = models.build(name, 3).eval()
        features = network.get_submodule("encoder" if "plus" in name else "backbone")(torch.zeros(1, 3, 48, 80))
        assert features[-1].shape[-2:] == (48 // stride, 80 // stride)
        assert network.multiple == stride
        logits = 4 if "plus" in name else stride
        assert network.output_stride == logits
        assert network(torch.zeros(1, 3, 48, 80)).shape == (1, 3, 48 // logits, 80 // logits)
        assert rates_of(network) == rates


def test_every_name_is_of_one_network() -> None:
    names = models.names()
    assert len(names) == len(set(names)) == len(NETWORKS) + len(DECODERS) * len(ENCODERS) + 2 * 2 * len(ENCODERS)
    with pytest.raises(
        ConfigError, match="unknown network 'deeplabv3-resnet50-os4': did you mean 'deeplabv3-resnet50-os8"
    ):
        models.build("deeplabv3-resnet50-os4", 2)
    with pytest.raises(ConfigError, match="unknown network 'unet-resnet18-os8': did you mean"):
        models.build("unet-resnet18-os8", 2)
    with pytest.raises(ModelError, match="output stride 8 or 16, got 32"):
        DeepLabV3("resnet18", 2, 32)


@pytest.mark.slow
def test_the_torch_backend_keeps_the_output_stride(tmp_path: Path) -> None:
    """It rebuilds the network by its name."""
    torch.manual_seed(0)
    name = "deeplabv3plus-mobilenetv2-os8"
    network = models.build(name, 11).eval()
    spec = spec_of(network, CAMVID, name="net", network=name)
    write_onnx(network, spec, tmp_path / "model.onnx")
    rebuilt = rebuild(tmp_path / "model.onnx", spec)
    assert isinstance(rebuilt, DeepLabV3Plus)
    assert rebuilt.multiple == 8 and rates_of(rebuilt) == [12, 24, 36]
    image = torch.rand(1, 3, 40, 72)
    with torch.inference_mode():
        wanted = network(image)
        assert wanted.std() > 0
        torch.testing.assert_close(rebuilt(image), wanted)


def test_deeplabv3plus_at_both_encoder_strides() -> None:
    with torch.device("meta"):
        for stride, rates in ((16, [6, 12, 18]), (8, [12, 24, 36])):
            network = deeplabv3plus("resnet18", 5, encoder_stride=stride).eval()
            assert network.multiple == network.encoder.strides[-1] == stride
            assert [branch[0].dilation[0] for branch in network.aspp.convs[1:]] == rates
            assert network(torch.zeros(1, 3, 3 * stride, 5 * stride)).shape == (1, 5, 3 * stride // 4, 5 * stride // 4)
        with pytest.raises(ModelError, match="encoder at stride 8 or 16, got 32"):
            deeplabv3plus("resnet18", 5, encoder_stride=32)


def test_separable_convolution() -> None:
    torch.manual_seed(0)
    block = separable(3, 5, dilation=2).eval()
    for layer in (block[1], block[4]):
        nn.init.uniform_(layer.running_var, 0.5, 1.5)
        nn.init.uniform_(layer.running_mean, -0.2, 0.2)
    image = torch.randn(1, 3, 9, 7)

    def normalised(x: torch.Tensor, norm: nn.BatchNorm2d) -> torch.Tensor:
        mean, var = norm.running_mean, norm.running_var
        assert mean is not None
        assert var is not None
        return (x - mean[:, None, None]) / (var[:, None, None] + 1e-5).sqrt()

    with torch.inference_mode():
        depthwise = F.conv2d(image, block[0].weight, padding=2, dilation=2, groups=3)
        pointwise = F.conv2d(normalised(depthwise, block[1]).relu(), block[3].weight)
        torch.testing.assert_close(block(image), normalised(pointwise, block[4]).relu())
