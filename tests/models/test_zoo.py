"""One tester that every network of the registry goes through; what is special to a network is tested in its own file.

`make test` counts all of them and runs the rest of it for one network of each family and for each decoder, but for the
largest, and writes and compiles the file of a few; the others are marked slow, and `make test-zoo` runs them.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import msgspec
import pytest
import torch
from torch import Tensor, nn

from rtseg import models
from rtseg.errors import ModelError
from rtseg.export.checkpoint import check_parity, spec_of, write_onnx
from rtseg.models.blocks import Heads, Network, count_macs, count_parameters, enliven
from rtseg.registry import DECODERS, ENCODERS, NETWORKS
from rtseg.training.data import CAMVID
from tests.models.published import PUBLISHED
from tests.models.rtx import build_engine

UNPUBLISHED: dict[str, str] = {"fcn-same": "a teaching baseline of no paper; counted in its own test"}
"""Networks of the registry that no paper or published definition counts, and why."""

TWO_CLASSES = ("unet-binary",)
"""Networks that tell exactly two classes apart."""

ON_EVERY_ENCODER = "unet"
BASES = ("efficientnet-lite0", "resnet18")
OF_PAPERS = (
    "deeplabv1-vgg16",
    "deeplabv3-mobilenetv3-large",
    "deeplabv3-resnet18-os16",
    "deeplabv3-resnet50",
    "deeplabv3plus-mobilenetv2",
    "deeplabv3plus-mobilenetv2-os8",
    "fcn-32s-alexnet",
    "fcn-8s-vgg16",
    "fcn-8s-googlenet",
    "fcn-8s-resnet50",
    "pspnet-resnet50",
)
"""Decoders on the encoders that their papers, torchvision or recipes have them on, and at other output strides."""


def zoo() -> list[str]:
    """Every network of its own, every decoder on two encoders and its paper's, and one decoder on every encoder."""
    pairs = [f"{decoder}-{base}" for decoder in DECODERS for base in BASES if base in ENCODERS]
    every = ON_EVERY_ENCODER if ON_EVERY_ENCODER in DECODERS else next(iter(DECODERS))
    return sorted({*NETWORKS, *OF_PAPERS, *pairs, *(f"{every}-{encoder}" for encoder in ENCODERS)})


LARGE = {"fcn-resnet50", "segnet", "unet", "unet-residual"}
"""Networks whose tests take half a minute each."""


FILED = {"fcn-8s-efficientnet-lite0", "lraspp-mobilenetv3-large", "pidnet-s", "unet-fast-efficientnet-lite0"}
"""Networks whose file is written and compiled in `make test`, which takes ten seconds and more: one of each kind."""


def representatives() -> set[str]:
    """The first network of each module and each decoder on the lightest encoder, without the LARGE ones."""
    first = {target.partition(":")[0]: name for name, (target, _) in reversed(NETWORKS.items())}
    return {*first.values(), *(f"{decoder}-{BASES[0]}" for decoder in DECODERS)} - LARGE


def each(chosen: set[str]) -> list[Any]:
    return [pytest.param(name, marks=() if name in chosen else pytest.mark.slow) for name in zoo()]


def build(name: str, classes: int, **options: bool) -> Network:
    torch.manual_seed(0)
    return models.build(name, possible(name, classes), **options)


def possible(name: str, classes: int) -> int:
    return 2 if name in TWO_CLASSES else classes


def live(name: str, classes: int, **options: bool) -> Network:
    """A network none of whose layers is zero, as score layers and last gammas are at the start of some trainings."""
    network = build(name, classes, **options)
    for parameter in network.parameters():
        if parameter.requires_grad and not parameter.any():
            nn.init.normal_(parameter, std=0.02)
    return network


def heads_of(outputs: Tensor | Heads) -> list[Tensor]:
    if isinstance(outputs, Tensor):
        return [outputs]
    return [outputs.main, *outputs.auxiliary, *([] if outputs.boundary is None else [outputs.boundary])]


def sizes(multiple: int) -> list[tuple[int, int]]:
    """The smallest input and two whose sides are odd multiples, or multiples that differ in their factors of two."""
    return [(side * multiple, other * multiple) for side, other in ((1, 1), (3, 5), (7, 2))]


@pytest.fixture(scope="module", params=each(representatives()))
def name(request: pytest.FixtureRequest) -> str:
    """Tests that share a module-scoped parameter run together, so that one network is in memory at a time."""
    return str(request.param)


@pytest.fixture(scope="module")
def network(name: str) -> Network:
    return live(name, 4).eval()


@pytest.mark.parametrize("counted", sorted({*NETWORKS, *PUBLISHED}))
def test_size_is_the_published_one(counted: str) -> None:
    if counted in UNPUBLISHED:
        pytest.skip(UNPUBLISHED[counted])
    published = PUBLISHED[counted]
    with torch.device("meta"):
        network = build(counted, published.classes, training_heads=published.heads).eval()
        assert count_parameters(network) == pytest.approx(published.parameters, rel=0.02)
        if published.gmac is not None:
            assert count_macs(network, *published.size) == pytest.approx(published.gmac * 1e9, rel=0.02)


@pytest.mark.parametrize("classes", [2, 19])
def test_any_multiple_gives_logits_at_the_stride(name: str, classes: int) -> None:
    classes = possible(name, classes)
    with torch.device("meta"):
        network = build(name, classes).eval()
        stride = network.output_stride
        for height, width in sizes(network.multiple):
            logits = network(torch.zeros(2, 3, height, width))
            assert isinstance(logits, Tensor)
            assert logits.shape == (2, classes, height // stride, width // stride)


def test_heads_of_training_have_the_classes(name: str) -> None:
    classes = possible(name, 5)
    with torch.device("meta"):
        network = build(name, classes, training_heads=True).train()
        side, stride = 3 * network.multiple, network.output_stride
        outputs = network(torch.zeros(2, 3, side, side))
        main, *others = heads_of(outputs)
        assert main.shape == (2, classes, side // stride, side // stride)
        if isinstance(outputs, Heads):
            assert others
            assert {head.shape[1] for head in outputs.auxiliary} <= {classes}
            assert outputs.boundary is None or outputs.boundary.shape[1] == 1


def test_without_training_heads_it_returns_logits_in_training_too(name: str) -> None:
    with torch.device("meta"):
        network = build(name, 3).train()
        assert isinstance(network(torch.zeros(2, 3, 2 * network.multiple, 2 * network.multiple)), Tensor)


def test_wrong_sizes_name_the_size_to_pad_to(name: str) -> None:
    with torch.device("meta"):
        network = build(name, 2).eval()
        m = network.multiple
        if m == 1:
            pytest.skip("it takes any size")
        for size, better in (((3 * m + 1, 2 * m), (4 * m, 2 * m)), ((2 * m, m - 1), (2 * m, m)), ((1, 1), (m, m))):
            told = f"multiples of {m}, got {size[0]}x{size[1]}: resize or pad to {better[0]}x{better[1]}"
            with pytest.raises(ModelError, match=told):
                network(torch.zeros(1, 3, *size))


def test_one_class_is_refused(name: str) -> None:
    with torch.device("meta"), pytest.raises(ModelError, match="at least 2 classes, got 1"):
        models.build(name, 1)


def test_images_of_a_batch_do_not_mix(network: Network) -> None:
    torch.manual_seed(1)
    images = torch.rand(3, 3, 2 * network.multiple, 3 * network.multiple)
    with torch.inference_mode():
        together = network(images)
        alone = torch.cat([network(image[None]) for image in images])
    peak = float(alone.abs().max())
    assert peak > 0
    torch.testing.assert_close(together, alone, rtol=0, atol=1e-3 * peak)
    assert (together[0] - together[1]).abs().max() > 0


def test_state_dict_round_trip_through_a_file(name: str, network: Network) -> None:
    torch.manual_seed(2)
    other = models.build(name, possible(name, 4)).eval()
    image = torch.rand(1, 3, 2 * network.multiple, network.multiple)
    file = io.BytesIO()
    torch.save(network.state_dict(), file)
    file.seek(0)
    with torch.inference_mode():
        expected = network(image)
        assert not torch.equal(other(image), expected)
        other.load_state_dict(torch.load(file, weights_only=True))
        assert torch.equal(other(image), expected)


def test_training_heads_do_not_change_the_main_logits(name: str, network: Network) -> None:
    full = build(name, 4, training_heads=True).eval()
    missing, extra = full.load_state_dict(network.state_dict(), strict=False)
    assert not extra
    image = torch.rand(1, 3, network.multiple, 2 * network.multiple)
    with torch.inference_mode():
        assert torch.equal(full(image), network(image))
    outputs = full.train()(torch.rand(2, 3, 2 * network.multiple, 2 * network.multiple))
    assert bool(missing) == isinstance(outputs, Heads)


def test_every_parameter_learns(name: str) -> None:
    network = live(name, 3, training_heads=True).train()
    side = max(128, 2 * network.multiple)  # so that no normalisation sees a single pixel
    torch.manual_seed(1)
    heads = heads_of(network(torch.rand(2, 3, side, side)))
    torch.stack([logits.square().mean() for logits in heads]).sum().backward()
    # A bias in front of a normalisation has no effect, and so perhaps no gradient but rounding.
    learnt = {at: p.grad for at, p in network.named_parameters() if p.requires_grad}
    assert [at for at, gradient in learnt.items() if gradient is None or not gradient.isfinite().all()] == []
    idle = [at for at, gradient in learnt.items() if gradient is not None and not gradient.any()]
    assert [at for at in idle if not at.endswith(".bias")] == []


@pytest.mark.parametrize("name", each(FILED), scope="module")
def test_the_file_computes_what_torch_does_and_compiles_for_tensorrt(
    name: str, tmp_path: Path, record_property: Any
) -> None:
    network = enliven(build(name, 11))
    classes = CAMVID.classes[: possible(name, 11)]
    base = msgspec.structs.replace(CAMVID, classes=classes, palette=CAMVID.palette[: len(classes)])
    spec = spec_of(network, base, name=name, network=name)
    path = tmp_path / "model.onnx"
    write_onnx(network, spec, path)
    report = check_parity(network, spec, path)
    assert report.keys() == {"openvino", "onnxruntime"}
    for runtime, (error, agreement) in report.items():
        print(f"{name} in {runtime}: largest logit difference {error:.2e}, labels equal {agreement:.4%}")
        record_property(f"largest logit difference in {runtime}", error)
        assert agreement > 0.99
    whole, half = build_engine(path, spec), build_engine(path, spec, "fp16")
    weights = count_parameters(network)
    assert whole > 3 * weights
    if weights > 1e6:  # below, what TensorRT brings along outweighs them
        assert whole - half > 1.4 * weights
