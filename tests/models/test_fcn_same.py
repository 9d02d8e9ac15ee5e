"""The same-size FCN: any size, and a receptive field of 13x13 pixels."""

from __future__ import annotations

import pytest
import torch

from rtseg.models.blocks import count_parameters
from rtseg.models.fcn_same import SameSizeFCN


@pytest.fixture(scope="module")
def network() -> SameSizeFCN:
    torch.manual_seed(0)
    return SameSizeFCN(3).eval()


def test_a_pixel_depends_on_13_pixels_around_it(network: SameSizeFCN) -> None:
    image = torch.rand(1, 3, 31, 33, requires_grad=True)
    network(image)[0, :, 15, 16].sum().backward()
    assert image.grad is not None
    rows, columns = (image.grad.abs().sum(dim=(0, 1, axis)).nonzero().flatten().tolist() for axis in (3, 2))
    assert rows == list(range(15 - 6, 15 + 7))
    assert columns == list(range(16 - 6, 16 + 7))


@pytest.mark.parametrize("size", [(1, 1), (7, 13), (20, 5)])
def test_any_size_stays_the_same(network: SameSizeFCN, size: tuple[int, int]) -> None:
    with torch.inference_mode():
        assert network(torch.rand(2, 3, *size)).shape == (2, 3, *size)


def test_moving_the_image_moves_the_logits(network: SameSizeFCN) -> None:
    image = torch.rand(1, 3, 40, 40)
    with torch.inference_mode():
        whole, moved = network(image), network(image[..., 1:, 3:])
    torch.testing.assert_close(whole[..., 7:34, 9:34], moved[..., 6:33, 6:31])


def test_size(network: SameSizeFCN) -> None:
    convolutions = 9 * (3 * 64 + 5 * 64 * 64)
    assert count_parameters(network) == convolutions + 6 * 2 * 64 + 65 * 3
