"""FCN-32s, -16s and -8s: alignment, initialisation, skips and the published sizes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rtseg import models
from rtseg.errors import ModelError
from rtseg.models.blocks import Encoder, Network, count_parameters
from rtseg.models.encoders.alexnet import AlexNet
from rtseg.models.encoders.fully_connected import convolution_weights
from rtseg.models.encoders.vgg import VGG16
from rtseg.models.fcn import FCN, FixedUpsampling, bilinear_kernel, double
from rtseg.models.weights import load_classifier
from rtseg.registry import ENCODERS
from rtseg.training.data import CAMVID
from rtseg.training.recipe import Recipe
from rtseg.training.run import Run
from rtseg.training.transforms import Augmentation
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
        drops = [part for part in network.fully_connected if "Dropout" in type(part).__name__]
        assert [(type(part), part.p) for part in drops] == [(nn.Dropout, 0.5)] * 2  # of elements, as the classifier's


def classifier_of(encoder: str, width: int) -> dict[str, Tensor]:
    """A state dictionary as torchvision publishes the classifier's, with fc6 and fc7 of `width`."""
    state = {key: torch.randn_like(value) for key, value in models.build_encoder(encoder).state_dict().items()}
    layers = models.build_encoder(encoder).fully_connected
    flat = layers.inputs * layers.kernel**2
    for key, size in ((layers.fc6, (width, flat)), (layers.fc7, (width, width)), ("classifier.6", (1000, width))):
        state |= {f"{key}.weight": torch.randn(size), f"{key}.bias": torch.randn(size[0])}
    return state


@pytest.mark.parametrize(("encoder", "kind"), [("alexnet", AlexNet), ("vgg16", VGG16)])
def test_training_starts_from_the_whole_published_classifier(
    encoder: str, kind: type[Encoder], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    layers = replace(kind.fully_connected, outputs=32)  # 4096 take a gigabyte
    monkeypatch.setattr(kind, "fully_connected", layers)
    published = classifier_of(encoder, 32)
    torch.save({f"module.{key}": value for key, value in published.items()}, tmp_path / "published.pth")
    recipe = Recipe(
        name="t",
        network=f"fcn-32s-{encoder}",
        weights=str(tmp_path / "published.pth"),
        augmentation=Augmentation(crop=(64, 64)),
    )
    run = Run(recipe, CAMVID)
    for network in (run.network, run.average):
        state = network.eval().state_dict()
        assert torch.equal(state["encoder.features.0.weight"], published["features.0.weight"])
        kernel = (32, layers.inputs, layers.kernel, layers.kernel)
        assert torch.equal(state["fully_connected.fc6.weight"], published[f"{layers.fc6}.weight"].view(kernel))
        assert torch.equal(state["fully_connected.fc7.weight"].flatten(1), published[f"{layers.fc7}.weight"])
        for name, key in (("fc6", layers.fc6), ("fc7", layers.fc7)):
            assert torch.equal(state[f"fully_connected.{name}.bias"], published[f"{key}.bias"])
        assert not state["score.weight"].any()
    feature = torch.randn(1, layers.inputs, layers.kernel, layers.kernel)
    with torch.inference_mode():  # in the middle of a feature of its size fc7 says what the classifier's says
        wanted = F.linear(feature.flatten(1), published[f"{layers.fc6}.weight"], published[f"{layers.fc6}.bias"])
        wanted = F.linear(wanted.relu(), published[f"{layers.fc7}.weight"], published[f"{layers.fc7}.bias"]).relu()
        middle = (layers.kernel - 1) // 2
        found = run.average.fully_connected(feature)[..., middle, middle]
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-3 * float(wanted.max()))


def test_weights_of_the_encoder_alone_and_of_another_classifier(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(AlexNet, "fully_connected", replace(AlexNet.fully_connected, outputs=8))
    network = models.build("fcn-32s-alexnet", 2)
    own = network.fully_connected.fc6.weight.clone()
    published, file = classifier_of("alexnet", 8), tmp_path / "published.pth"
    features = {key: value for key, value in published.items() if key.startswith("features.")}
    torch.save(features, file)
    load_classifier(network, network.encoder, str(file))
    assert torch.equal(network.encoder.features[0].weight, published["features.0.weight"])
    assert torch.equal(network.fully_connected.fc6.weight, own)
    torch.save(classifier_of("alexnet", 16), file)
    with pytest.raises(
        ModelError, match=r"published.pth: 'classifier.1.weight' is \(16, 9216\), fc6 needs \(8, 9216\)"
    ):
        load_classifier(network, network.encoder, str(file))
    del published["classifier.4.bias"]
    torch.save(published, file)
    with pytest.raises(ModelError, match=r"published.pth: no 'classifier.4.bias' in the weights: fc7 needs"):
        load_classifier(network, network.encoder, str(file))
    assert torch.equal(network.fully_connected.fc6.weight, own)
    other = models.build("fcn-32s-resnet18", 2)  # has no fc6 that weights could be for
    resnet = {key: torch.randn_like(value.float()) for key, value in other.encoder.state_dict().items()}
    torch.save({**resnet, "fc.weight": torch.zeros(1000, 512)}, file)
    load_classifier(other, other.encoder, str(file))
    assert torch.equal(other.encoder.conv1.weight, resnet["conv1.weight"])
