"""SegNet: unpooling equal to torch's, in every runtime; the encoder's published names; what parity allows it."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rtseg.backends.openvino import core
from rtseg.errors import ModelError
from rtseg.export.checkpoint import check_parity, spec_of, write_onnx
from rtseg.models.blocks import Network, count_parameters
from rtseg.models.segnet import SegNet, Vgg16Bn, switches, unpool
from rtseg.training.data import CAMVID


def rectified(height: int, width: int) -> Tensor:
    """Whole numbers from 0 to 2: most windows have several equal maxima, as after ReLU."""
    torch.manual_seed(height)
    return torch.randint(-2, 3, (1, 6, height, width)).float().relu()


def test_a_value_goes_to_the_first_maximum_of_its_window() -> None:
    x = torch.tensor([[1.0, 2.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0], [3.0, 1.0, 0.0, 5.0], [3.0, 3.0, 5.0, 1.0]])
    values = torch.tensor([[7.0, 8.0], [9.0, -1.0]])
    wanted = torch.tensor([[0.0, 7.0, 8.0, 0.0], [0.0, 0.0, 0.0, 0.0], [9.0, 0.0, 0.0, -1.0], [0.0, 0.0, 0.0, 0.0]])
    assert torch.equal(unpool(values[None, None], switches(x[None, None]))[0, 0], wanted)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_unpooling_is_that_of_torch_with_its_gradient(layout: torch.memory_format) -> None:
    x = rectified(12, 18).contiguous(memory_format=layout)
    pooled, indices = F.max_pool2d(x, 2, return_indices=True)
    own, other = (torch.randn_like(pooled).requires_grad_() for _ in range(2))
    with torch.no_grad():
        other.copy_(own)
    ours, theirs = unpool(own, switches(x)), nn.MaxUnpool2d(2)(other, indices)
    assert torch.equal(ours, theirs)
    weights = torch.randn_like(ours)
    (ours * weights).sum().backward()
    (theirs * weights).sum().backward()
    assert torch.equal(own.grad, other.grad)


class PoolAndUnpool(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return unpool(F.max_pool2d(x, 2) + 1, switches(x))


def test_runtimes_unpool_exactly(tmp_path: Path) -> None:
    onnxruntime = pytest.importorskip("onnxruntime", exc_type=ImportError)
    path = tmp_path / "unpool.onnx"
    rows, columns = (2 * torch.export.Dim(side, min=2, max=64) for side in ("rows", "columns"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            PoolAndUnpool(),
            (rectified(8, 12),),
            path,
            dynamo=True,
            opset_version=18,
            input_names=["x"],
            dynamic_shapes=({2: rows, 3: columns},),
            verbose=False,
        )
    session = onnxruntime.InferenceSession(path)
    compiled = core().compile_model(path, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    for size in ((10, 16), (32, 6)):
        x = rectified(*size)
        pooled, indices = F.max_pool2d(x, 2, return_indices=True)
        wanted = F.max_unpool2d(pooled + 1, indices, 2).numpy()
        assert np.array_equal(session.run(None, {"x": x.numpy()})[0], wanted)
        assert np.array_equal(compiled({"x": x.numpy()})[0], wanted)


def test_the_encoder_has_the_published_names_and_sizes() -> None:
    with torch.device("meta"):
        state = Vgg16Bn().state_dict()
    wanted: dict[str, tuple[int, ...]] = {}
    index, inputs = 0, 3
    for outputs in (64, 64, 0, 128, 128, 0, 256, 256, 256, 0, 512, 512, 512, 0, 512, 512, 512, 0):
        if not outputs:
            index += 1  # a pooling
            continue
        wanted |= {f"features.{index}.weight": (outputs, inputs, 3, 3), f"features.{index}.bias": (outputs,)}
        norm = f"features.{index + 1}"
        wanted |= {f"{norm}.{part}": (outputs,) for part in ("weight", "bias", "running_mean", "running_var")}
        wanted[f"{norm}.num_batches_tracked"] = ()
        index, inputs = index + 3, outputs
    assert index == 44  # vgg16_bn has 44 layers in front of its classifier
    assert {key: tuple(value.shape) for key, value in state.items()} == wanted
    assert all(key.startswith(Vgg16Bn.published_extras) for key in ("classifier.0.weight", "classifier.6.bias"))


def test_features_are_those_in_front_of_each_pooling() -> None:
    encoder = Vgg16Bn().eval()
    torch.manual_seed(0)
    image = torch.rand(1, 3, 32, 64)
    with torch.inference_mode():
        features = encoder(image)
        assert [tuple(f.shape) for f in features] == [
            (1, planes, 32 // stride, 64 // stride)
            for planes, stride in zip(encoder.channels, encoder.strides, strict=True)
        ]
        torch.testing.assert_close(encoder.features(image), F.max_pool2d(features[-1], 2))
        torch.testing.assert_close(encoder.features[:23](image), features[2])


def test_the_decoder_mirrors_the_encoder() -> None:
    with torch.device("meta"):
        network = SegNet(12)
    assert count_parameters(network) == pytest.approx(29.46e6, rel=0.001)  # Paszke et al. 2016, table 3
    encoder, decoder = (
        [(m.out_channels, m.in_channels) for m in part.modules() if isinstance(m, nn.Conv2d)]
        for part in (network.encoder, network.decoder)
    )
    assert [(inputs, outputs) for outputs, inputs in reversed(encoder[1:])] == decoder
    assert len(decoder) + 1 == len(encoder) == 13


class Pixelwise(Network):
    """A 1x1 convolution whose logits are off by `offset` in the first `rows` rows."""

    multiple = 1
    output_stride = 1

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Conv2d(3, len(CAMVID.classes), 1)
        self.rows, self.offset = 0, 0.0

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.layer(x)
        logits[:, :, : self.rows] += self.offset
        return logits


def test_parity_allows_a_discontinuous_network_to_differ_in_places_but_not_all_over(tmp_path: Path) -> None:
    network = Pixelwise().eval()
    spec, path = spec_of(network, CAMVID, name="pixelwise", network="pixelwise"), tmp_path / "model.onnx"
    write_onnx(network, spec, path)
    assert SegNet.discontinuous
    network.rows, network.offset = 1, 0.25
    with pytest.raises(ModelError, match=r"differs from torch by 0\.25"):
        check_parity(network, spec, path)
    network.discontinuous = True
    assert all(error == pytest.approx(0.25, abs=1e-4) for error, _ in check_parity(network, spec, path).values())
    network.rows = 360
    with pytest.raises(ModelError, match=r"differs from torch by 0\.25"):
        check_parity(network, spec, path)
