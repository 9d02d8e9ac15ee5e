"""SegFormer-B0 and its encoder: attention, Mix-FFN, the head, and the names of the published checkpoints."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from rtseg.models import build
from rtseg.models.blocks import resize_like
from rtseg.models.encoders.mix_transformer import Attention, Block, DropPath, MixFfn, mit_b0, to_grid, to_tokens
from rtseg.models.segformer import MlpHead
from rtseg.models.weights import load_weights


def test_attention_without_reduction_is_multi_head_attention() -> None:
    torch.manual_seed(0)
    attention = Attention(12, heads=3, reduction=1).eval()
    reference = nn.MultiheadAttention(12, 3, batch_first=True).eval()
    with torch.inference_mode():
        reference.in_proj_weight.copy_(torch.cat([attention.q.weight, attention.kv.weight]))
        reference.in_proj_bias.copy_(torch.cat([attention.q.bias, attention.kv.bias]))
        reference.out_proj.load_state_dict(attention.proj.state_dict())
        grid = torch.randn(2, 12, 4, 5)
        tokens = to_tokens(grid)
        expected, _ = reference(tokens, tokens, tokens)
        torch.testing.assert_close(attention(tokens, grid), expected)


def test_reduced_attention_by_hand() -> None:
    attention = Attention(2, heads=1, reduction=2).eval()
    assert attention.sr is not None and attention.norm is not None
    identity = torch.eye(2)
    with torch.inference_mode():
        for linear, weight in (
            (attention.q, identity),
            (attention.proj, identity),
            (attention.kv, identity.repeat(2, 1)),
        ):
            linear.weight.copy_(weight)
            linear.bias.zero_()
        attention.sr.weight.copy_(identity[:, :, None, None].expand(2, 2, 2, 2) / 4)  # the mean of 2x2 pixels
        attention.sr.bias.zero_()
        attention.norm.eps = 0.0
        # The means of the left and right half are (1, 3) and (4, 2): normalised (-1, 1) and (1, -1).
        grid = torch.tensor(
            [[[[0.0, 2.0, 4.0, 4.0], [1.0, 1.0, 3.0, 5.0]], [[3.0, 3.0, 2.0, 2.0], [5.0, 1.0, 0.0, 4.0]]]]
        )
        found = to_grid(attention(to_tokens(grid), grid), grid)
        for row, column in ((0, 0), (1, 2)):
            a, b = grid[0, :, row, column].tolist()
            left = 1 / (1 + math.exp((a - b) * 2 / math.sqrt(2)))  # softmax of -(a - b) / √2 and (a - b) / √2
            expected = [1 - 2 * left, 2 * left - 1]
            assert found[0, :, row, column].tolist() == pytest.approx(expected, abs=1e-5)


def test_tokens_are_pixels_row_by_row() -> None:
    grid = torch.arange(12.0).reshape(1, 2, 2, 3)
    assert to_tokens(grid)[0, 1].tolist() == [1.0, 7.0]
    assert torch.equal(to_grid(to_tokens(grid), grid), grid)


def test_mix_ffn_mixes_neighbours_between_its_layers() -> None:
    torch.manual_seed(0)
    ffn = MixFfn(3).eval()
    grid = torch.randn(1, 3, 4, 5)
    with torch.inference_mode():
        weight, bias = ffn.fc1.weight[:, :, None, None], ffn.fc1.bias
        wide = F.gelu(ffn.dwconv.dwconv(F.conv2d(grid, weight, bias)))
        expected = F.conv2d(wide, ffn.fc2.weight[:, :, None, None], ffn.fc2.bias)
        torch.testing.assert_close(to_grid(ffn(to_tokens(grid), grid), grid), expected)


def test_block_is_two_shortcuts() -> None:
    block = Block(8, heads=2, reduction=2, drop=0.5).eval()
    grid = torch.randn(2, 8, 4, 4)
    tokens = to_tokens(grid)
    with torch.inference_mode():
        for linear in (block.attn.proj, block.mlp.fc2):
            linear.weight.zero_()
            linear.bias.zero_()
        assert torch.equal(block(tokens, grid), tokens)


def test_dropped_paths_keep_the_mean() -> None:
    torch.manual_seed(0)
    tokens = torch.ones(4000, 1, 1)
    dropped = DropPath(0.25).train()(tokens)
    assert sorted(set(dropped.flatten().tolist())) == pytest.approx([0.0, 4 / 3])
    assert float(dropped.mean()) == pytest.approx(1.0, abs=0.05)
    assert DropPath(0.25).eval()(tokens) is tokens
    with torch.device("meta"):
        rates = [part.rate for part in mit_b0().modules() if isinstance(part, DropPath)]
    assert rates == pytest.approx([0.1 * index / 7 for index in range(8)])


def test_head_resizes_every_scale_to_the_finest() -> None:
    torch.manual_seed(0)
    head = MlpHead((2, 3, 4, 5), 6, 3).eval()
    features = [torch.randn(1, planes, 16 // side, 24 // side) for planes, side in ((2, 1), (3, 2), (4, 4), (5, 8))]
    with torch.inference_mode():
        projected = []
        for index in (3, 2, 1, 0):  # from coarse to fine, as the published fusion weights expect
            linear = head.get_submodule(f"linear_c{index + 1}.proj")
            assert isinstance(linear, nn.Linear)
            projected.append(F.conv2d(features[index], linear.weight[:, :, None, None], linear.bias))
        mixed = head.linear_fuse(torch.cat([resize_like(x, features[0]) for x in projected], dim=1))
        torch.testing.assert_close(head(features), head.linear_pred(mixed))


def test_names_are_those_of_the_published_checkpoints() -> None:
    with torch.device("meta"):
        network = build("segformer-b0", 19)
        state = network.state_dict()
        encoder = mit_b0().state_dict()
    shapes = {
        "patch_embed1.proj.weight": (32, 3, 7, 7),
        "patch_embed4.norm.bias": (256,),
        "block1.0.attn.q.weight": (32, 32),
        "block1.1.attn.kv.bias": (64,),
        "block1.0.attn.sr.weight": (32, 32, 8, 8),
        "block2.0.attn.sr.weight": (64, 64, 4, 4),
        "block3.1.attn.norm.weight": (160,),
        "block4.0.attn.proj.weight": (256, 256),
        "block3.0.norm2.bias": (160,),
        "block2.1.mlp.fc1.weight": (256, 64),
        "block2.1.mlp.dwconv.dwconv.weight": (256, 1, 3, 3),
        "block4.1.mlp.fc2.weight": (256, 1024),
        "norm3.weight": (160,),
    }
    assert {key: tuple(encoder[key].shape) for key in shapes} == shapes
    assert "block4.0.attn.sr.weight" not in encoder
    assert len(encoder) == 176
    assert {f"backbone.{key}" for key in encoder} == {key for key in state if key.startswith("backbone.")}
    head = {key.removeprefix("decode_head."): tuple(t.shape) for key, t in state.items() if key.startswith("decode")}
    assert {key: shape for key, shape in head.items() if not key.startswith("linear_fuse.bn")} == {
        "linear_c4.proj.weight": (256, 256),
        "linear_c4.proj.bias": (256,),
        "linear_c3.proj.weight": (256, 160),
        "linear_c3.proj.bias": (256,),
        "linear_c2.proj.weight": (256, 64),
        "linear_c2.proj.bias": (256,),
        "linear_c1.proj.weight": (256, 32),
        "linear_c1.proj.bias": (256,),
        "linear_fuse.conv.weight": (256, 1024, 1, 1),
        "linear_pred.weight": (19, 256, 1, 1),
        "linear_pred.bias": (19,),
    }


def test_a_published_checkpoint_loads_with_its_unused_classifier(tmp_path: Path) -> None:
    network = build("segformer-b0", 150)
    published = {
        key: torch.rand_like(value) if value.is_floating_point() else torch.tensor(7)
        for key, value in network.state_dict().items()
    }
    unused = {"decode_head.conv_seg.weight": torch.rand(150, 128, 1, 1), "decode_head.conv_seg.bias": torch.rand(150)}
    file = tmp_path / "segformer.b0.512x512.ade.160k.pth"
    torch.save({"meta": {"CLASSES": ("wall", "building")}, "state_dict": {**published, **unused}}, file)
    load_weights(network, str(file))
    assert all(torch.equal(value, published[key]) for key, value in network.state_dict().items())
    # A head for other classes starts anew, the rest from the checkpoint.
    other = build("segformer-b0", 19)
    own = other.state_dict()["decode_head.linear_pred.weight"].clone()
    load_weights(other, str(file), skip=("decode_head.linear_pred.",))
    state = other.state_dict()
    assert torch.equal(state["decode_head.linear_pred.weight"], own)
    assert torch.equal(state["decode_head.linear_fuse.conv.weight"], published["decode_head.linear_fuse.conv.weight"])


def test_normalisations_have_the_published_epsilons() -> None:
    with torch.device("meta"):
        encoder = mit_b0()
    epsilons = {name: part.eps for name, part in encoder.named_modules() if isinstance(part, nn.LayerNorm)}
    fine = {name for name in epsilons if "patch_embed" not in name and "attn" not in name}
    assert {epsilons[name] for name in fine} == {1e-6}
    assert {epsilons[name] for name in epsilons.keys() - fine} == {1e-5}
    assert "norm4" in fine and "patch_embed1.norm" not in fine


def test_initial_weights_are_the_published_ones() -> None:
    torch.manual_seed(0)
    encoder = mit_b0()
    linear = encoder.get_submodule("block4.0.mlp.fc1")
    depthwise = encoder.get_submodule("block4.0.mlp.dwconv.dwconv")
    assert isinstance(linear, nn.Linear) and isinstance(depthwise, nn.Conv2d)
    assert float(linear.weight.detach().std()) == pytest.approx(0.02, rel=0.02)
    assert float(depthwise.weight.detach().std()) == pytest.approx(math.sqrt(2 / 9), rel=0.05)
    assert not linear.bias.any()
