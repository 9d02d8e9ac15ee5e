"""Every network of the registry: sizes, counts, shapes, gradients, state dictionaries; then PIDNet's own blocks."""

from __future__ import annotations

import pytest
import torch

from rtseg import models
from rtseg.errors import ModelError
from rtseg.models.blocks import BasicBlock, Bottleneck, count_macs, count_parameters, resize_like
from rtseg.models.pidnet import Bag, LightBag, Pag, PIDNet
from rtseg.models.pyramid import Dappm, Pappm

NETWORKS = ("pidnet-s", "pidnet-m", "pidnet-l")
# Parameters and multiply-adds at 512x1024 with 19 classes, of the published definitions.
PUBLISHED = {"pidnet-s": (7.63e6, 11.8e9), "pidnet-m": (28.54e6, 44.3e9), "pidnet-l": (36.94e6, 68.7e9)}


def build(name: str, classes: int, **options: bool) -> torch.nn.Module:
    torch.manual_seed(0)
    return models.build(name, classes, **options)


@pytest.fixture(scope="module")
def small() -> PIDNet:
    torch.manual_seed(0)
    return PIDNet("s", 5, training_heads=False).eval()


@pytest.mark.parametrize("name", NETWORKS)
def test_size_is_the_published_one(name: str) -> None:
    parameters, macs = PUBLISHED[name]
    with torch.device("meta"):
        network = build(name, 19).eval()
        assert count_parameters(network) == pytest.approx(parameters, rel=0.002)
        assert count_macs(network, 512, 1024) == pytest.approx(macs, rel=0.005)


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("classes", [2, 19])
def test_shapes(name: str, classes: int) -> None:
    with torch.device("meta"):
        network = build(name, classes, training_heads=True)
        for height, width in ((64, 128), (72, 104), (8, 8)):
            images = torch.zeros(2, 3, height, width)
            coarse = (height // 8, width // 8)
            assert network.eval()(images).shape == (2, classes, *coarse)
            main, (auxiliary,), boundary = network.train()(images)
            assert auxiliary.shape == main.shape == (2, classes, *coarse)
            assert boundary.shape == (2, 1, *coarse)


def test_training_heads_do_not_change_the_main_logits() -> None:
    full = build("pidnet-s", 4, training_heads=True).eval()
    bare = build("pidnet-s", 4).eval()
    extra = {key for key in full.state_dict() if key not in bare.state_dict()}
    assert {key.split(".")[0] for key in extra} == {"seghead_p", "seghead_d"}
    bare.load_state_dict({key: value for key, value in full.state_dict().items() if key not in extra})
    image = torch.rand(1, 3, 64, 72)
    with torch.inference_mode():
        assert torch.equal(full(image), bare(image))


def test_images_of_a_batch_do_not_mix(small: PIDNet) -> None:
    images = torch.rand(3, 3, 64, 96)
    with torch.inference_mode():
        together = small(images)
        alone = torch.cat([small(image[None]) for image in images])
    torch.testing.assert_close(together, alone, rtol=1e-2, atol=1e-3 * float(alone.abs().max()))
    assert (together[0] - together[1]).abs().max() > 1e-2 * together.abs().max()


def test_context_reaches_across_the_image(small: PIDNet) -> None:
    image = torch.rand(1, 3, 64, 256)
    changed = image.clone()
    changed[..., -8:] = 0
    with torch.inference_mode():
        difference = (small(image) - small(changed)).abs().amax(dim=(0, 1, 2))
    assert difference[0] > 0  # the left edge sees the right one through the pyramid
    assert difference[-1] > 5 * difference[0]


def test_every_parameter_learns() -> None:
    network = PIDNet("s", 3).train()
    outputs = network(torch.rand(2, 3, 128, 128))
    heads = (outputs.main, *outputs.auxiliary, outputs.boundary)
    torch.stack([logits.square().mean() for logits in heads]).sum().backward()
    idle = [name for name, p in network.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    # A convolution's bias before batch normalisation has no effect, and so no exact gradient; the stem has two.
    assert not set(idle) - {"conv1.0.bias", "conv1.3.bias"}


def test_state_dict_round_trip(small: PIDNet) -> None:
    other = PIDNet("s", 5, training_heads=False).eval()
    image = torch.rand(1, 3, 40, 48)
    with torch.inference_mode():
        assert not torch.equal(small(image), other(image))
        other.load_state_dict(small.state_dict())
        assert torch.equal(small(image), other(image))


def test_names_are_those_of_the_published_checkpoints() -> None:
    with torch.device("meta"):
        small, large = PIDNet("s", 19).state_dict(), PIDNet("l", 19).state_dict()
    shapes = {
        "conv1.0.bias": (32,),
        "layer2.0.downsample.0.weight": (64, 32, 1, 1),
        "layer3.2.bn2.running_var": (128,),
        "layer5.0.conv3.weight": (512, 256, 1, 1),
        "layer3_d.conv1.weight": (32, 64, 3, 3),
        "layer4_d.0.conv2.weight": (32, 32, 3, 3),
        "pag4.f_y.0.weight": (32, 64, 1, 1),
        "compression4.0.weight": (64, 256, 1, 1),
        "diff4.0.weight": (64, 256, 3, 3),
        "spp.scale3.3.weight": (96, 512, 1, 1),
        "spp.scale_process.2.weight": (384, 96, 3, 3),
        "dfm.conv_p.0.weight": (128, 128, 1, 1),
        "seghead_d.conv2.weight": (1, 32, 1, 1),
        "final_layer.conv1.weight": (128, 128, 3, 3),
    }
    assert {key: tuple(small[key].shape) for key in shapes} == shapes
    assert tuple(large["spp.process4.2.weight"].shape) == (112, 112, 3, 3)
    assert tuple(large["dfm.conv.2.weight"].shape) == (256, 256, 3, 3)
    assert tuple(large["layer4_d.conv1.weight"].shape) == (128, 128, 3, 3)


@pytest.mark.parametrize(
    ("size", "better"), [((100, 96), "104x96"), ((96, 100), "96x104"), ((4, 64), "8x64"), ((1, 1), "8x8")]
)
def test_wrong_size_names_the_size_to_pad_to(small: PIDNet, size: tuple[int, int], better: str) -> None:
    with pytest.raises(ModelError, match=f"got {size[0]}x{size[1]}: resize or pad to {better}"):
        small(torch.zeros(1, 3, *size))


def test_unknown_variant_and_class_count() -> None:
    with pytest.raises(ModelError, match=r"unknown PIDNet variant 'xl': choose from s, m, l"):
        PIDNet("xl")
    with pytest.raises(ModelError, match="at least 2 classes, got 1"):
        PIDNet("s", 1)


def test_pag_takes_the_mean_where_nothing_agrees_and_context_where_all_does() -> None:
    pag = Pag(4, 2).eval()
    p, i = torch.rand(1, 4, 8, 8), torch.rand(1, 4, 4, 4)
    context = resize_like(i, p)
    with torch.no_grad():
        for branch in (pag.f_x, pag.f_y):
            branch[1].weight.zero_()  # embeddings are constants now
        torch.testing.assert_close(pag(p, i), (p + context) / 2)
        for branch in (pag.f_x, pag.f_y):
            branch[1].bias.fill_(10.0)
        torch.testing.assert_close(pag(p, i), context)


def test_light_bag_adds_detail_at_boundaries_and_context_elsewhere() -> None:
    bag = LightBag(3, 3).eval()
    with torch.no_grad():
        for branch, factor in ((bag.conv_p, 1.0), (bag.conv_i, 10.0)):
            branch[0].weight.copy_(factor * torch.eye(3)[:, :, None, None])
            branch[1].eps = 0.0
    p, i = torch.rand(1, 3, 4, 4), torch.rand(1, 3, 4, 4)
    sure = torch.full_like(p, 50.0)
    with torch.inference_mode():
        torch.testing.assert_close(bag(p, i, sure), p + 10 * (i + p))
        torch.testing.assert_close(bag(p, i, -sure), (p + i) + 10 * i)


def test_bag_switches_between_the_branches() -> None:
    bag = Bag(3, 3).eval()
    with torch.no_grad():
        bag.conv[2].weight.zero_()
        bag.conv[2].weight[:, :, 1, 1] = torch.eye(3)
        bag.conv[0].eps = 0.0
    p, i = torch.rand(1, 3, 4, 4), torch.rand(1, 3, 4, 4)
    sure = torch.full_like(p, 50.0)
    with torch.inference_mode():
        torch.testing.assert_close(bag(p, i, sure), p)
        torch.testing.assert_close(bag(p, i, -sure), i)


@pytest.mark.parametrize("module", [Pappm, Dappm])
@pytest.mark.parametrize("size", [(1, 1), (6, 8), (17, 23)])
def test_pyramids_keep_the_size(module: type[Pappm] | type[Dappm], size: tuple[int, int]) -> None:
    with torch.inference_mode():
        assert module(12, 4, 6).eval()(torch.rand(1, 12, *size)).shape == (1, 6, *size)


def test_blocks_are_the_identity_plus_their_branch() -> None:
    x = torch.randn(1, 8, 6, 6)
    with torch.inference_mode():
        for block in (BasicBlock(8, 8, last_relu=False), Bottleneck(8, 4)):
            last = block.bn2 if isinstance(block, BasicBlock) else block.bn3
            last.weight.zero_()
            assert block.downsample is None
            assert torch.equal(block.eval()(x), x)
        rectified = BasicBlock(8, 8)
        rectified.bn2.weight.zero_()
        assert torch.equal(rectified.eval()(x), x.clamp(min=0))
        assert BasicBlock(8, 16, stride=2)(x).shape == (1, 16, 3, 3)
        assert Bottleneck(8, 8, stride=2)(x).shape == (1, 16, 3, 3)
