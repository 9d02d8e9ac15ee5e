"""FCN-32s, -16s and -8s: alignment, initialisation, skips and the published sizes."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rtseg import models
from rtseg.models.blocks import Network, count_parameters
from rtseg.models.encoders.fully_connected import convolution_weights
from rtseg.models.fcn import FCN, FixedUpsampling, bilinear_kernel, double
from rtseg.registry import ENCODERS
from tests.models.published import PUBLISHED

FINEST = {"fcn-32s": 32, "fcn-16s": 16, "fcn-8s": 8}


def build(name: str, classes: int) -> Network:
    torch.manual_seed(0)
    return models.build(name, classes)


class Given(nn.Module):
    """An encoder that returns the features it was made with."""

    def __init__(self, features: list[Tensor]) -> None:
        super().__init__()
        self.features = features

    def forward(self, x: Tensor) -> list[Tensor]:
        return self.features


def test_bilinear_kernel_is_that_of_interpolation_by_two() -> None:
    line = torch.tensor([0.25, 0.75, 0.75, 0.25])
    assert torch.equal(bilinear_kernel(2), torch.outer(line, line))


@pytest.mark.parametrize("factor", [2, 8, 16, 32])
def test_a_ramp_stays_where_it_is(factor: int) -> None:
    rows, columns = torch.arange(5.0)[:, None], torch.arange(7.0)[None, :]
    ramps = torch.stack([rows.expand(5, 7), columns.expand(5, 7)])[None]
    upsampled = FixedUpsampling(2, factor)(ramps)
    assert upsampled.shape == (1, 2, 5 * factor, 7 * factor)
    inside = slice(factor // 2, -factor // 2)  # outside of it the zeros around the input shine in
    centres = (torch.arange(7.0 * factor) + 0.5) / factor - 0.5  # where the output's pixels lie in the input
    torch.testing.assert_close(upsampled[0, 0, inside, factor], centres[: 5 * factor][inside])
    torch.testing.assert_close(upsampled[0, 1, factor, inside], centres[inside])


@pytest.mark.parametrize("factor", [2, 8, 32])
def test_upsampling_is_half_pixel_interpolation_inside_and_fades_at_edges(factor: int) -> None:
    torch.manual_seed(0)
    scores = torch.randn(2, 3, 4, 5)
    upsampled = FixedUpsampling(3, factor)(scores)
    wanted = F.interpolate(scores, scale_factor=float(factor), mode="bilinear", align_corners=False)
    inside = slice(factor // 2, -factor // 2)
    torch.testing.assert_close(upsampled[..., inside, inside], wanted[..., inside, inside])
    edge = 0.5 + 0.5 / factor  # the first pixel's weight in each direction
    torch.testing.assert_close(upsampled[..., 0, 0], scores[..., 0, 0] * edge**2)
    if factor == 2:  # the learnable one starts as the same
        torch.testing.assert_close(double(3)(scores), upsampled)


def test_only_the_last_upsampling_does_not_learn() -> None:
    network = build("fcn-8s-efficientnet-lite0", 4)
    learnt = dict(network.named_parameters())
    assert learnt["doublings.0.weight"].shape == learnt["doublings.1.weight"].shape == (4, 4, 4, 4)  # full, 4x4
    assert not any(key.startswith("upsampling") for key in network.state_dict())
    kernel = network.upsampling.kernel
    assert kernel.shape == (4, 1, 16, 16)
    assert not kernel.requires_grad


@pytest.mark.parametrize("decoder", FINEST)
def test_it_starts_with_no_opinion_and_learns(decoder: str) -> None:
    network = build(f"{decoder}-efficientnet-lite0", 3).train()
    scores = [network.score, *network.skip_scores]
    assert len(scores) == {"fcn-32s": 1, "fcn-16s": 2, "fcn-8s": 3}[decoder]
    images, labels = torch.rand(2, 3, 64, 64), torch.randint(3, (2, 64, 64))
    logits = network(images)
    assert torch.equal(logits, torch.zeros(2, 3, 64, 64))
    F.cross_entropy(logits, labels).backward()
    assert all(layer.weight.grad.abs().sum() > 0 for layer in scores)
    assert torch.stack([p.grad.abs().sum() for p in network.encoder.parameters() if p.grad is not None]).sum() == 0
    torch.optim.SGD(network.parameters(), lr=1.0).step()
    assert network(images).abs().max() > 0


def test_scores_of_all_strides_are_summed_pixel_for_pixel() -> None:
    network = FCN("efficientnet-lite0", 2, 8).eval()
    torch.manual_seed(1)
    planes = network.encoder.channels
    sides = (48, 24, 12, 6, 3)
    features = [torch.zeros(1, c, side, side) for c, side in zip(planes, sides, strict=True)]
    with torch.no_grad():
        for feature, layer in zip(features[:1:-1], (network.score, *network.skip_scores), strict=True):
            feature[:, :2] = torch.randn(1, 2, *feature.shape[-2:])
            layer.weight[:, :2, 0, 0] = torch.eye(2)
    network.encoder = Given(features)
    with torch.inference_mode():
        logits = network(torch.zeros(1, 3, 96, 96))

    def resized(x: Tensor, factor: float) -> Tensor:
        return F.interpolate(x, scale_factor=factor, mode="bilinear", align_corners=False)

    fine, middle, coarse = (feature[:, :2] for feature in features[2:])
    wanted = resized(resized(resized(coarse, 2) + middle, 2) + fine, 8)
    inside = slice(32, -32)  # one coarse cell from the edges, where zeros shine in
    torch.testing.assert_close(logits[..., inside, inside], wanted[..., inside, inside])


def test_a_coarser_network_starts_a_finer_one() -> None:
    coarse, middle, fine = (build(f"{name}-efficientnet-lite0", 3) for name in FINEST)
    assert middle.load_state_dict(coarse.state_dict(), strict=False).unexpected_keys == []
    missing, unexpected = fine.load_state_dict(middle.state_dict(), strict=False)
    assert unexpected == []
    assert missing == ["skip_scores.1.weight", "skip_scores.1.bias", "doublings.1.weight"]


@pytest.mark.parametrize("encoder", ENCODERS)
def test_every_encoder_gives_logits_at_full_size(encoder: str) -> None:
    with torch.device("meta"):
        network = models.build(f"fcn-8s-{encoder}", 5).eval()
        assert network(torch.zeros(2, 3, 32, 96)).shape == (2, 5, 32, 96)


@pytest.mark.parametrize("name", ["fcn-32s-alexnet", "fcn-32s-vgg16", "fcn-32s-googlenet"])
def test_size_is_the_published_one(name: str) -> None:
    published = PUBLISHED[name]
    with torch.device("meta"):
        parameters = count_parameters(models.build(name, published.classes))
    assert parameters == pytest.approx(published.parameters, rel=0.005)


@pytest.mark.parametrize(("encoder", "inputs", "side"), [("alexnet", 256, 6), ("vgg16", 512, 7)])
def test_the_classifiers_weights_load_as_convolutions(encoder: str, inputs: int, side: int) -> None:
    with torch.device("meta"):
        network = models.build(f"fcn-8s-{encoder}", 2)
        layers = network.encoder.fully_connected
        published = {
            f"{layers.fc6}.weight": torch.zeros(4096, inputs * side * side),
            f"{layers.fc6}.bias": torch.zeros(4096),
            f"{layers.fc7}.weight": torch.zeros(4096, 4096),
            f"{layers.fc7}.bias": torch.zeros(4096),
        }
        converted = convolution_weights(layers, published)
        own = network.fully_connected.state_dict()
        assert {key: value.shape for key, value in own.items()} == {k: v.shape for k, v in converted.items()}
        assert network.score.weight.shape == (2, 4096, 1, 1)
        assert [part.p for part in network.fully_connected if isinstance(part, nn.Dropout | nn.Dropout2d)] == [0.5] * 2
