"""PSPNet: its pooling against torch's adaptive pooling, in torch and in both runtimes, and its training head."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rtseg import models
from rtseg.backends.openvino import core
from rtseg.models.blocks import Heads, count_parameters
from rtseg.models.pspnet import BINS, PSPNet, adaptive_average, pooling_matrix


def test_bins_overlap_where_they_do_not_divide() -> None:
    like = torch.zeros(())
    assert pooling_matrix(2, 3, like).tolist() == [[0.5, 0.5, 0], [0, 0.5, 0.5]]
    assert pooling_matrix(3, 1, like).tolist() == [[1], [1], [1]]
    sixths = [[0.5, 0.5, 0, 0, 0], [0, 0.5, 0.5, 0, 0], [0, 0, 0.5, 0.5, 0], [0, 0, 0, 0.5, 0.5]]
    assert pooling_matrix(4, 5, like).tolist() == sixths
    assert pooling_matrix(1, 4, like).tolist() == [[0.25] * 4]


@pytest.mark.parametrize("bins", BINS)
def test_pooling_is_adaptive_pooling(bins: int) -> None:
    torch.manual_seed(0)
    for height, width in ((1, 1), (1, 5), (4, 7), (6, 6), (13, 11), (45, 60), (64, 127)):
        x = torch.randn(2, 3, height, width, dtype=torch.float64)
        torch.testing.assert_close(adaptive_average(x, bins), F.adaptive_avg_pool2d(x, bins), rtol=0, atol=1e-14)


def test_pooling_in_lower_precision_keeps_its_type() -> None:
    x = torch.randn(1, 4, 9, 9).bfloat16()
    pooled = adaptive_average(x, 3)
    assert pooled.dtype == torch.bfloat16
    torch.testing.assert_close(pooled.float(), F.adaptive_avg_pool2d(x.float(), 3), rtol=0.02, atol=0.02)


class Pools(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([adaptive_average(x, bins).flatten(1) for bins in BINS], dim=1)


def test_pooling_of_a_size_unknown_at_export(tmp_path: Path) -> None:
    """One file takes every size, in ONNX Runtime and in OpenVINO."""
    onnxruntime = pytest.importorskip("onnxruntime")
    path = tmp_path / "pools.onnx"
    sides = {2: torch.export.Dim("height", min=2, max=512), 3: torch.export.Dim("width", min=2, max=512)}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter's own deprecations
        program = torch.onnx.export(
            Pools(), (torch.zeros(1, 2, 8, 10),), dynamo=True, dynamic_shapes=(sides,), opset_version=18, verbose=False
        )
    assert program is not None
    program.save(path)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    compiled = core().compile_model(path, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    (name,) = (value.name for value in session.get_inputs())
    torch.manual_seed(0)
    for height, width in ((8, 10), (13, 7), (45, 60), (3, 128)):
        x = torch.randn(1, 2, height, width)
        expected = torch.cat([F.adaptive_avg_pool2d(x, bins).flatten(1) for bins in BINS], dim=1).numpy()
        np.testing.assert_allclose(session.run(None, {name: x.numpy()})[0], expected, atol=1e-6)
        np.testing.assert_allclose(compiled(x.numpy())[0], expected, atol=1e-6)


def test_size_with_the_auxiliary_head() -> None:
    with torch.device("meta"):
        network = models.build("pspnet-resnet50", 21, training_heads=True)
        bare = models.build("pspnet-resnet50", 21)
    head = 1024 * 256 * 9 + 2 * 256 + 256 * 21 + 21
    assert count_parameters(network) - count_parameters(bare) == head
    assert isinstance(bare, PSPNet)
    assert [level.reduce[0].weight.shape for level in bare.levels] == [(512, 2048, 1, 1)] * 4
    assert bare.fuse[0].weight.shape == (512, 4096, 3, 3)


def test_auxiliary_logits_come_from_the_stage_before_the_last() -> None:
    with torch.device("meta"):
        network = models.build("pspnet-resnet50", 4, training_heads=True).train()
        assert isinstance(network, PSPNet)
        outputs = network(torch.zeros(2, 3, 24, 40))
        assert isinstance(outputs, Heads)
        assert outputs.main.shape == outputs.auxiliary[0].shape == (2, 4, 3, 5)
        assert network.auxiliary is not None
        assert network.auxiliary[0].in_channels == network.encoder.channels[-2] == 1024
