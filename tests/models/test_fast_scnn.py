"""Fast-SCNN: separable convolutions, inverted residuals, pyramid pooling and the fusion of its two resolutions."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from rtseg.models.blocks import Heads, resize_like
from rtseg.models.fast_scnn import FastSCNN, FeatureFusion, InvertedResidual, PyramidPooling, separable


def test_separable_convolution_has_one_activation_at_its_end() -> None:
    block = separable(2, 3, stride=2).eval()
    assert [type(layer) for layer in block] == [nn.Conv2d, nn.BatchNorm2d, nn.Conv2d, nn.BatchNorm2d, nn.ReLU]
    with torch.inference_mode():
        for layer in block:
            if isinstance(layer, nn.BatchNorm2d):
                layer.eps = 0.0
        block[0].weight.fill_(-1.0)
        block[2].weight.copy_(torch.tensor([[-1.0, 0.0], [0.0, 1.0], [-1.0, -2.0]])[:, :, None, None])
        x = torch.tensor([[[[1.0, 2.0], [3.0, 4.0]], [[10.0, 20.0], [30.0, 40.0]]]])
        # Both channels are summed with a minus, to -10 and -100, and kept negative until the last activation.
        assert block(x).flatten().tolist() == [10.0, 0.0, 210.0]


def test_inverted_residual_is_the_identity_plus_its_linear_branch() -> None:
    x = torch.randn(1, 4, 6, 6)
    block = InvertedResidual(4, 4, 1).eval()
    with torch.inference_mode():
        torch.testing.assert_close(block(x), x + block.block(x))
        block.block[-1].weight.zero_()
        assert torch.equal(block(x), x)
        assert InvertedResidual(4, 4, 2).eval()(x).shape == (1, 4, 3, 3)
    assert block.block[0].weight.shape == (24, 4, 1, 1)
    assert not (InvertedResidual(4, 4, 2).shortcut or InvertedResidual(4, 6, 1).shortcut)


@pytest.mark.parametrize("size", [(1, 1), (7, 11), (12, 18)])
def test_pyramid_is_adaptive_average_pooling(size: tuple[int, int]) -> None:
    torch.manual_seed(0)
    pooling = PyramidPooling(8, 8).eval()
    x = torch.randn(2, 8, *size)
    with torch.inference_mode():
        scales = [x]
        for bins, level in zip((1, 2, 3, 6), pooling.levels, strict=True):
            scales.append(resize_like(level.reduce(F.adaptive_avg_pool2d(x, bins)), x))
        torch.testing.assert_close(pooling(x), pooling.project(torch.cat(scales, dim=1)))


def test_fusion_adds_the_resized_context_to_the_detail() -> None:
    fusion = FeatureFusion(2, 3, 4).eval()
    fine, coarse = torch.randn(1, 2, 9, 13), torch.randn(1, 3, 3, 4)
    with torch.inference_mode():
        up = fusion.coarse(fusion.depthwise(resize_like(coarse, fine)))
        torch.testing.assert_close(fusion(fine, coarse), F.relu(fusion.fine(fine) + up))
    # Section 3.3.1, table 3: the dilation is the factor of the upsampling.
    assert (fusion.depthwise[0].dilation, fusion.depthwise[0].groups) == ((4, 4), 3)


def test_auxiliary_heads_are_on_both_inputs_of_the_fusion() -> None:
    with torch.device("meta"):
        outputs = FastSCNN(5, training_heads=True).train()(torch.zeros(2, 3, 64, 96))
    assert isinstance(outputs, Heads)
    assert outputs.main.shape == (2, 5, 8, 12)
    assert [tuple(head.shape) for head in outputs.auxiliary] == [(2, 5, 8, 12), (2, 5, 2, 3)]


def test_widths_are_those_of_the_paper() -> None:
    with torch.device("meta"):
        network = FastSCNN(19)
        stages = [stage for stage in network.extract if isinstance(stage, nn.Sequential)]
        assert [[block.block[-1].num_features for block in stage] for stage in stages] == [
            [64] * 3,
            [96] * 3,
            [128] * 3,
        ]
        x = network.downsample(torch.zeros(2, 3, 64, 128))
        assert x.shape == (2, 64, 8, 16)
        assert network.extract(x).shape == (2, 128, 2, 4)
