"""BiSeNetV2: guided aggregation, gather-and-expansion, context embedding, and the names of published checkpoints."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rtseg.models.bisenetv2 import BilateralGuidedAggregation, BiSeNetV2, ContextEmbedding, Gather, GatherDown, Stem
from rtseg.models.blocks import Heads


class Constant(nn.Module):
    """Ignores its input."""

    def __init__(self, value: Tensor) -> None:
        super().__init__()
        self.value = value

    def forward(self, x: Tensor) -> Tensor:
        return self.value


def test_aggregation_gates_each_branch_by_the_other() -> None:
    aggregation = BilateralGuidedAggregation(3).eval()
    torch.manual_seed(0)
    left1, left2 = torch.rand(1, 3, 8, 12), torch.rand(1, 3, 2, 3)
    right1, right2 = torch.randn(1, 3, 2, 3), torch.randn(1, 3, 2, 3)
    for name, value in (("left1", left1), ("left2", left2), ("right1", right1), ("right2", right2)):
        setattr(aggregation, name, Constant(value))
    aggregation.conv = nn.Sequential()
    found = aggregation(left1, right1)
    for row, column in ((0, 0), (3, 7), (7, 11)):
        at = (slice(None), slice(None), row // 4, column // 4)
        fine = left1[:, :, row, column] / (1 + torch.exp(-right1[at]))
        coarse = left2[at] / (1 + torch.exp(-right2[at]))
        torch.testing.assert_close(found[:, :, row, column], fine + coarse)


def test_aggregation_keeps_the_size_of_the_detail_where_the_context_was_rounded_up() -> None:
    aggregation = BilateralGuidedAggregation(2).eval()
    with torch.inference_mode():
        assert aggregation(torch.rand(1, 2, 9, 13), torch.rand(1, 2, 3, 4)).shape == (1, 2, 9, 13)
        assert aggregation(torch.rand(1, 2, 1, 1), torch.rand(1, 2, 1, 1)).shape == (1, 2, 1, 1)


def test_context_embedding_adds_the_mean_of_the_image_to_every_pixel() -> None:
    embedding = ContextEmbedding(2).eval()
    embedding.bn = nn.Identity()  # type: ignore[assignment]
    embedding.conv_gap = embedding.conv_last = nn.Sequential()
    x = torch.tensor([[[[1.0, 3.0]], [[-2.0, 6.0]]]])
    assert embedding(x).tolist() == [[[[3.0, 5.0]], [[0.0, 8.0]]]]


def test_gather_is_a_rectified_shortcut_around_its_branch() -> None:
    x = torch.randn(1, 4, 5, 7)
    gather, down = Gather(4).eval(), GatherDown(4, 6).eval()
    with torch.inference_mode():
        gather.conv2[1].weight.zero_()
        down.conv2[1].weight.zero_()
        assert torch.equal(gather(x), x.relu())
        assert torch.equal(down(x), down.shortcut(x).relu())
        assert down(x).shape == (1, 6, 3, 4)
    assert gather.dwconv[0].weight.shape == (24, 1, 3, 3)
    assert (gather.dwconv[0].groups, down.dwconv1[0].groups, down.dwconv2[0].groups) == (4, 4, 24)


def test_depthwise_expansion_by_hand() -> None:
    gather = Gather(2).eval()
    conv = gather.dwconv[0]
    with torch.inference_mode():
        conv.weight.zero_()
        conv.weight[:, 0, 1, 1] = torch.arange(1.0, 13.0)
        x = torch.ones(1, 2, 1, 1) * torch.tensor([1.0, 10.0]).reshape(1, 2, 1, 1)
        # The first six outputs are of the first channel, the other six of the second.
        assert conv(x).flatten().tolist() == [1, 2, 3, 4, 5, 6, 70, 80, 90, 100, 110, 120]


def test_stem_joins_a_convolution_and_the_maximum() -> None:
    stem = Stem(4).eval()
    seen: list[Tensor] = []
    stem.fuse.register_forward_pre_hook(lambda _, x: seen.append(x[0]))
    with torch.inference_mode():
        x = torch.rand(1, 3, 16, 24)
        assert stem(x).shape == (1, 4, 4, 6)
        half = stem.conv(x)
        torch.testing.assert_close(seen[0][:, 4:], F.max_pool2d(half, 3, 2, 1))
        torch.testing.assert_close(seen[0][:, :4], stem.left(half))


def test_names_are_those_of_the_published_checkpoint() -> None:
    with torch.device("meta"):
        state = BiSeNetV2(19, training_heads=True).state_dict()
    shapes = {
        "detail.S1.0.conv.weight": (64, 3, 3, 3),
        "detail.S2.2.bn.running_mean": (64,),
        "detail.S3.2.conv.weight": (128, 128, 3, 3),
        "segment.S1S2.left.1.conv.weight": (16, 8, 3, 3),
        "segment.S1S2.fuse.conv.weight": (16, 32, 3, 3),
        "segment.S3.0.dwconv1.0.weight": (96, 1, 3, 3),
        "segment.S3.0.shortcut.2.weight": (32, 16, 1, 1),
        "segment.S4.1.dwconv.0.weight": (384, 1, 3, 3),
        "segment.S4.0.conv2.1.weight": (64,),
        "segment.S5_4.3.conv2.0.weight": (128, 768, 1, 1),
        "segment.S5_5.conv_gap.conv.weight": (128, 128, 1, 1),
        "segment.S5_5.conv_last.bn.weight": (128,),
        "bga.left1.2.weight": (128, 128, 1, 1),
        "bga.left2.0.weight": (128, 128, 3, 3),
        "bga.right2.0.weight": (128, 1, 3, 3),
        "bga.conv.1.running_var": (128,),
        "head.conv.conv.weight": (1024, 128, 3, 3),
        "head.conv_out.1.weight": (19, 1024, 1, 1),
        "aux2.conv_out.0.1.conv.weight": (16, 128, 3, 3),
        "aux5_4.conv_out.1.weight": (19, 1024, 1, 1),
    }
    assert {key: tuple(state[key].shape) for key in shapes} == shapes


def test_boosters_are_at_twice_the_resolution_of_their_stages() -> None:
    with torch.device("meta"):
        outputs = BiSeNetV2(3, training_heads=True).train()(torch.zeros(2, 3, 64, 96))
    assert isinstance(outputs, Heads)
    assert outputs.main.shape == (2, 3, 8, 12)
    assert [tuple(head.shape[-2:]) for head in outputs.auxiliary] == [(32, 48), (16, 24), (8, 12), (4, 6)]
