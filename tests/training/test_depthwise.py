"""The faster gradients of depthwise convolutions are those of autograd."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn

from rtseg.training.depthwise import speed_up

CHANNELS = 6
CASES = [
    (kernel, stride, dilation, padding)
    for kernel, stride, dilation in itertools.product((3, 5, 7), (1, 2), (1, 2, 4))
    for padding in ((dilation * (kernel // 2),) * 2, (0, 1))
]


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def gradients(convolution: nn.Conv2d, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Output, gradient of the input and gradient of the weight, under a loss that tells all pixels apart."""
    x = x.clone().requires_grad_()
    convolution.zero_grad()
    y = convolution(x)
    scale = torch.linspace(-1, 1, y.numel()).view_as(y)
    (y.float() * scale).sum().backward()
    assert x.grad is not None and convolution.weight.grad is not None
    return y.detach().float(), x.grad, convolution.weight.grad.clone()


@pytest.mark.parametrize(("kernel", "stride", "dilation", "padding"), CASES)
@pytest.mark.parametrize("size", [(31, 37), (32, 40)])
def test_gradients_are_those_of_autograd(
    kernel: int, stride: int, dilation: int, padding: tuple[int, int], size: tuple[int, int]
) -> None:
    torch.manual_seed(0)
    convolution = nn.Conv2d(CHANNELS, CHANNELS, kernel, stride, padding, dilation, groups=CHANNELS, bias=False)
    x = torch.randn(2, CHANNELS, *size).to(memory_format=torch.channels_last)
    expected = gradients(convolution, x)
    assert speed_up(convolution) == 1
    for found, wanted in zip(gradients(convolution, x), expected, strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4 * float(wanted.abs().max()))


@pytest.mark.parametrize(("dtype", "largest"), [(torch.bfloat16, 0.01), (torch.float16, 0.00125)])
@pytest.mark.parametrize(("stride", "dilation"), [(2, 1), (1, 2)])
def test_autocast_gradients_are_close_to_float32(
    dtype: torch.dtype, largest: float, stride: int, dilation: int
) -> None:
    """float16 has eight times the precision of bfloat16."""
    torch.manual_seed(0)
    convolution = nn.Conv2d(CHANNELS, CHANNELS, 5, stride, 2 * dilation, dilation, groups=CHANNELS, bias=False)
    x = torch.randn(2, CHANNELS, 33, 41)
    expected = gradients(convolution, x)
    speed_up(convolution)
    with torch.autocast("cpu", dtype):
        assert convolution(x).dtype == dtype
        found = gradients(convolution, x)
    for got, wanted in zip(found, expected, strict=True):
        assert got.dtype == torch.float32
        assert float((got - wanted).norm() / wanted.norm()) < largest


def test_only_depthwise_convolutions_without_bias_change() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(4, 4, 3), nn.Conv2d(4, 4, 3, groups=2), nn.Conv2d(4, 4, 3, groups=4), nn.ReLU())
    x = torch.randn(1, 4, 12, 12)
    before = network(x)
    assert speed_up(network) == 1
    assert torch.equal(network(x), before)
    before.sum().backward()  # the last one has a bias: its gradient comes from autograd
    assert network[2].bias is not None and network[2].bias.grad is not None
