"""What only the torch backend does: rebuilding a network and its weights, and running torch exports."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from rtseg import registry
from rtseg.backends import open_backend
from rtseg.backends.torch import TorchBackend
from rtseg.errors import BackendError, ConfigError
from rtseg.packages.complete import complete_spec
from rtseg.packages.spec import ModelSpec
from tests.backends.test_backends import SIZE, TinyNetwork, image
from tests.onnx_models import NORMALISATION, conv_model, reference


class OtherNetwork(TinyNetwork):
    def __init__(self, classes: int, training_heads: bool = False) -> None:
        super().__init__(classes)
        self.extra = torch.nn.BatchNorm2d(2)


class BiggerNetwork(TinyNetwork):
    def __init__(self, classes: int, training_heads: bool = False) -> None:
        super().__init__(classes + 1)


@pytest.fixture(autouse=True)
def networks(monkeypatch: pytest.MonkeyPatch) -> None:
    kinds = {"tiny": TinyNetwork, "other": OtherNetwork, "bigger": BiggerNetwork}
    module = "tests.backends.test_torch"
    monkeypatch.setattr(
        registry, "NETWORKS", {name: (f"{module}:{kind.__name__}", None) for name, kind in kinds.items()}
    )


def open_tiny(path: Path, network: str | None = "tiny", **options: Any) -> TorchBackend:
    return TorchBackend(path, complete_spec(path, None, {**NORMALISATION, "network": network}), **options)


def test_model_without_a_network(tmp_path: Path) -> None:
    with pytest.raises(BackendError, match=r"net names no network .* --backend openvino or onnxruntime"):
        open_tiny(conv_model(tmp_path / "net.onnx"), network=None)


def test_unknown_network(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="unknown network 'tinny': did you mean 'tiny'"):
        open_tiny(conv_model(tmp_path / "net.onnx"), network="tinny")


def test_weights_that_are_missing_or_have_another_shape(tmp_path: Path) -> None:
    path = conv_model(tmp_path / "net.onnx")
    with pytest.raises(BackendError, match=r"holds no weight 'extra\.weight' of network other"):
        open_tiny(path, network="other")
    with pytest.raises(BackendError, match=r"'kernel' is \(5, 3, 8, 8\), network bigger needs \(6, 3, 8, 8\)"):
        open_tiny(path, network="bigger")


def test_graph_that_does_more_than_the_network(tmp_path: Path) -> None:
    with pytest.raises(BackendError, match="float32 input, probabilities as NCHW"):
        open_tiny(conv_model(tmp_path / "net.onnx", end="softmax"))
    with pytest.raises(BackendError, match="uint8 input, logits as NCHW"):
        open_tiny(conv_model(tmp_path / "int.onnx", dtype="uint8"))


def test_nhwc_tensors_reach_the_network_as_nchw(tmp_path: Path) -> None:
    path = conv_model(tmp_path / "net.onnx", shape=("n", "h", "w", 3), layout="NHWC")
    tensor = image(SIZE, layout="NHWC")
    with open_tiny(path) as backend:
        backend.submit(tensor)
        np.testing.assert_allclose(backend.collect(), reference(tensor.transpose(0, 3, 1, 2)), atol=1e-4)


def test_bf16_is_close_and_said(tmp_path: Path) -> None:
    with open_tiny(conv_model(tmp_path / "net.onnx"), precision="bf16") as backend:
        backend.submit(image(SIZE))
        found = backend.collect()
        assert (backend.precision, found.dtype) == ("bf16", np.float32)
    error = np.abs(found - reference(image(SIZE))).max()
    assert 1e-4 < error < 0.3


def test_threads_belong_to_the_backend(tmp_path: Path) -> None:
    before = torch.get_num_threads()
    with open_tiny(conv_model(tmp_path / "net.onnx"), threads=1) as backend:
        backend.prepare(SIZE)
    assert torch.get_num_threads() == before


@pytest.mark.parametrize(("device", "text"), [("cuda", "CUDA|NVIDIA"), ("mps", "no device 'mps'"), ("gpu!", "gpu!")])
def test_device_that_is_not_there(tmp_path: Path, device: str, text: str) -> None:
    if device == "cuda" and torch.cuda.is_available():
        pytest.skip("there is an NVIDIA GPU here")
    with pytest.raises(BackendError, match=text):
        open_tiny(conv_model(tmp_path / "net.onnx"), device=device)


def test_a_gpu_too_full_for_the_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB.")

    monkeypatch.setattr(torch.nn.Module, "to", full)
    with pytest.raises(BackendError, match=r"torch failed on cpu: CUDA out of memory\. Tried to allocate 20\.00 MiB"):
        open_tiny(conv_model(tmp_path / "net.onnx"))


def test_unknown_precision(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="unknown precision 'fp17' for torch: did you mean 'fp16'"):
        open_tiny(conv_model(tmp_path / "net.onnx"), precision="fp17")


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A torch export with its spec beside it, of a network whose logits are its input's sums over 8x8 blocks."""
    folder = tmp_path_factory.mktemp("export")
    network = TinyNetwork(2).eval()
    torch.nn.init.ones_(network.kernel)
    program = torch.export.export(network, (torch.zeros(1, 3, *SIZE),))
    torch.export.save(program, folder / "net.pt2")
    spec = ModelSpec(name="net", classes=("a", "b"), size=SIZE, output_stride=8)
    (folder / "net.json").write_text(spec.to_json())
    return folder / "net.pt2"


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_torch_export(exported: Path) -> None:
    spec_file = str(exported.with_suffix(".json"))
    with open_backend("torch", str(exported), spec_file=spec_file) as backend:
        backend.submit(image(SIZE))
        found = backend.collect()
    sums = image(SIZE)[0].reshape(3, 8, 8, 12, 8).sum(axis=(0, 2, 4))
    np.testing.assert_allclose(found, [sums, sums], atol=1e-4)


def test_torch_export_elsewhere(exported: Path, tmp_path: Path) -> None:
    spec_file = str(exported.with_suffix(".json"))
    with pytest.raises(BackendError, match="runs with --backend torch"):
        open_backend("openvino", str(exported), spec_file=spec_file)
    with pytest.raises(ValueError, match="carries no spec: pass all of it with --spec"):
        open_backend("torch", str(exported))
    broken = tmp_path / "broken.pt2"
    broken.write_bytes(b"no zip file")
    with pytest.raises(BackendError, match=r"torch cannot load .*broken\.pt2"):
        open_backend("torch", str(broken), spec_file=spec_file)
