"""U-Net: the one-channel head, the blocks of the three forms, and the decoder on encoders of any strides."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rtseg import models
from rtseg.errors import ModelError
from rtseg.models.blocks import count_parameters
from rtseg.models.unet import BinaryHead, UNet, Up
from rtseg.models.unet_on_encoder import DecoderBlock, UNetOnEncoder
from rtseg.models.unet_residual import ResidualUNet, ResidualUnit

IGNORE = 255


def test_one_channel_trains_with_binary_cross_entropy() -> None:
    """Cross-entropy with ignore index over (0, z) is binary cross-entropy of z, in value and in gradient."""
    torch.manual_seed(0)
    z = (4 * torch.randn(2, 1, 5, 7, dtype=torch.float64)).requires_grad_()
    labels = torch.randint(0, 2, (2, 5, 7))
    labels[0, :2] = IGNORE
    head = BinaryHead(1).double()
    nn.init.ones_(head.conv.weight)
    nn.init.zeros_(head.conv.bias)
    logits = head(z)
    assert logits.shape == (2, 2, 5, 7)

    loss = F.cross_entropy(logits, labels, ignore_index=IGNORE)
    (gradient,) = torch.autograd.grad(loss, z)
    known = labels != IGNORE
    binary = F.binary_cross_entropy_with_logits(z[:, 0][known], labels[known].double())
    (binary_gradient,) = torch.autograd.grad(binary, z)
    torch.testing.assert_close(loss, binary)
    torch.testing.assert_close(gradient, binary_gradient)
    assert not gradient[0, 0, :2].any()


def test_one_channel_labels_as_its_sigmoid_does() -> None:
    head = BinaryHead(1)
    nn.init.ones_(head.conv.weight)
    nn.init.zeros_(head.conv.bias)
    z = torch.tensor([-3.0, -1e-6, 0.0, 1e-6, 3.0]).view(1, 1, 1, 5)
    logits = head(z)
    assert logits.argmax(dim=1).flatten().tolist() == [0, 0, 0, 1, 1]  # sigmoid > 1/2; a tie is the lower class
    torch.testing.assert_close(logits.softmax(dim=1)[:, 1:], z.sigmoid())


def test_one_channel_means_one_output() -> None:
    with torch.device("meta"):
        network = models.build("unet-binary", 2).eval()
        assert isinstance(network, UNet)
        assert network.classifier.conv.weight.shape == (1, 64, 1, 1)
        assert network(torch.zeros(1, 3, 32, 48)).shape == (1, 2, 32, 48)
        with pytest.raises(ModelError, match="distinguishes 2 classes, got 3: choose 'unet' for more"):
            models.build("unet-binary", 3)


def test_dropout_closes_the_contracting_path() -> None:
    with torch.device("meta"):
        network = UNet(3)
        seen: list[tuple[int, ...]] = []
        network.dropout.register_forward_hook(lambda _, inputs, __: seen.append(tuple(inputs[0].shape[1:])))
        network(torch.zeros(2, 3, 32, 48))
    assert network.dropout.p == 0.5
    assert seen == [(512, 4, 6), (1024, 2, 3)]


def test_up_concatenates_the_skip_with_the_transposed_convolution() -> None:
    block = Up(2, 1)
    block.convs = nn.Sequential()
    with torch.no_grad():
        block.up.weight.copy_(torch.tensor([[[[1.0, 2], [3, 4]]], [[[10.0, 20], [30, 40]]]]))
        block.up.bias.zero_()
        mixed = block(torch.tensor([[[[1.0, 0]], [[0, 1.0]]]]), torch.full((1, 1, 2, 4), 7.0))
    assert mixed[0, 0].tolist() == [[7, 7, 7, 7], [7, 7, 7, 7]]
    assert mixed[0, 1].tolist() == [[1, 2, 10, 20], [3, 4, 30, 40]]


def test_decoder_block_repeats_pixels_in_front_of_the_skip() -> None:
    block = DecoderBlock(1, 1, 4)
    block.convs = nn.Sequential()
    x, skip = torch.tensor([[[[1.0, 2]]]]), torch.full((1, 1, 2, 4), 7.0)
    assert block(x, skip)[0].tolist() == [[[1, 1, 2, 2], [1, 1, 2, 2]], [[7] * 4, [7] * 4]]
    assert block(x, None)[0].tolist() == [[[1, 1, 2, 2], [1, 1, 2, 2]]]


@pytest.mark.parametrize(("inputs", "stride"), [(6, 1), (4, 2)])
def test_residual_unit_is_pre_activated(inputs: int, stride: int) -> None:
    torch.manual_seed(0)
    unit = ResidualUnit(inputs, 6, stride)
    for norm in (unit.activate[0], unit.conv2[0]):
        nn.init.uniform_(norm.weight, 0.5, 1.5)
        nn.init.normal_(norm.bias)
    x = torch.randn(2, inputs, 8, 6)

    def activated(x: Tensor, norm: nn.BatchNorm2d) -> Tensor:
        mean, var = x.mean(dim=(0, 2, 3), keepdim=True), x.var(dim=(0, 2, 3), unbiased=False, keepdim=True)
        return ((x - mean) / (var + 1e-5).sqrt() * norm.weight[:, None, None] + norm.bias[:, None, None]).relu()

    y = F.conv2d(activated(x, unit.activate[0]), unit.conv1.weight, stride=stride, padding=1)
    y = F.conv2d(activated(y, unit.conv2[0]), unit.conv2[2].weight, padding=1)
    shortcut = x if stride == 1 else F.conv2d(x, unit.shortcut.weight, stride=2)
    torch.testing.assert_close(unit(x), shortcut + y)


def test_residual_form_has_seven_levels_and_the_papers_weights() -> None:
    with torch.device("meta"):
        network = ResidualUNet(2)
    assert len(network.encode) + len(network.decode) == 7
    shortcuts = sum(count_parameters(unit.shortcut) for unit in (*network.encode, *network.decode))
    assert count_parameters(network) - shortcuts == pytest.approx(7.8e6, rel=0.005)  # table II of the paper
    assert isinstance(network.encode[0].activate, nn.Sequential)
    assert len(network.encode[0].activate) == 0


@pytest.mark.parametrize(
    ("name", "stride", "planes"),
    [
        ("unet-resnet18", 1, [256, 128, 64, 32, 16]),
        ("unet-efficientnet-lite0", 1, [256, 128, 64, 32, 16]),
        ("unet-alexnet", 4, [256, 128, 64]),
        ("unet-lite-mobilenetv2", 2, [128, 64, 48, 32]),
        ("unet-lite-alexnet", 4, [128, 64, 48]),
    ],
)
def test_decoder_ends_where_the_encoder_lets_it(name: str, stride: int, planes: list[int]) -> None:
    with torch.device("meta"):
        network = models.build(name, 5).eval()
        assert isinstance(network, UNetOnEncoder)
        assert network.output_stride == stride
        assert [block.convs[3].out_channels for block in network.decoder] == planes
        assert network(torch.zeros(2, 3, 96, 64)).shape == (2, 5, 96 // stride, 64 // stride)


def test_decoder_takes_every_skip_from_coarse_to_fine() -> None:
    with torch.device("meta"):
        network = UNetOnEncoder("resnet18", 5, (24, 20, 16, 12, 8)).eval()
        inputs = [block.convs[0].in_channels for block in network.decoder]
    assert inputs == [512 + 256, 24 + 128, 20 + 64, 16 + 64, 12]
