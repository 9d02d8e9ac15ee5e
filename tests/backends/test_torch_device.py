"""torch on tensors that are on the GPU: what its execution context takes and gives, on the CPU without CUDA calls."""

from __future__ import annotations

import ctypes
from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tests import gpu

gpu.skip_without()
torch = pytest.importorskip("torch")

from rtseg.backends import _torch_device as device_network  # noqa: E402
from rtseg.packages.spec import ModelSpec  # noqa: E402

pytestmark = pytest.mark.gpu
SIZE = (4, 6)


class Net(torch.nn.Module):  # type: ignore[misc,name-defined]
    """Sums of neighbouring channels, or the channel that is greatest; of tensors 1xHxWx3 if `nhwc`."""

    def __init__(self, nhwc: bool, labels: bool) -> None:
        super().__init__()
        self.nhwc, self.labels = nhwc, labels

    def forward(self, tensor: Any) -> Any:
        tensor = tensor.permute(0, 3, 1, 2) if self.nhwc else tensor
        assert tensor.shape == (1, 3, *SIZE) and tensor.is_contiguous(memory_format=torch.channels_last)
        return tensor.argmax(1, keepdim=True) if self.labels else tensor[:, :2] + tensor[:, 1:]


def at(address: int, like: NDArray[Any]) -> NDArray[Any]:
    """The array of like's shape and type in memory."""
    found = np.empty_like(like)
    ctypes.memmove(found.ctypes.data, address, found.nbytes)
    return found


@pytest.mark.parametrize("labels", [False, True])
@pytest.mark.parametrize("nhwc", [False, True])
@pytest.mark.parametrize(
    ("dtype", "precision", "taken"),
    [
        ("float32", "float32", "float32"),
        ("float32", "float16", "float16"),
        ("float16", "bfloat16", "float32"),
        ("uint8", "float16", "uint8"),
    ],
)
def test_lane(
    dtype: Any, precision: str, taken: str, nhwc: bool, labels: bool, monkeypatch: pytest.MonkeyPatch, emulator: Any
) -> None:
    monkeypatch.setattr(torch.cuda, "ExternalStream", lambda *_, **__: SimpleNamespace(synchronize=lambda: None))
    monkeypatch.setattr(torch.cuda, "graph_pool_handle", lambda: None)
    monkeypatch.setattr(torch.cuda, "stream", lambda _: nullcontext())
    kind: Any = "labels" if labels else "logits"
    spec = ModelSpec(name="net", classes=("a", "b"), size=SIZE, dtype=dtype, output_kind=kind)
    device: Any = SimpleNamespace(name="cpu")
    made = device_network.TorchDeviceNetwork(Net(nhwc, labels), spec, device, getattr(torch, precision), nhwc=nhwc)
    execution_context = made.execution_context(SIZE, SimpleNamespace(handle=1))  # type: ignore[arg-type]
    assert (execution_context.takes.dtype, execution_context.takes.layout) == (taken, "NHWC")
    picture = np.random.default_rng(1).integers(0, 100, (*SIZE, 3)).astype(taken)
    ctypes.memmove(execution_context.input, picture.ctypes.data, picture.nbytes)
    planes = np.ascontiguousarray(np.moveaxis(picture, 2, 0))
    expected = planes.argmax(0) if labels else (planes[:2] + planes[1:]).astype(execution_context.dtype)
    assert execution_context.dtype == ("int64" if labels else "float16" if precision == "float16" else "float32")
    assert execution_context.shape == expected.shape
    np.testing.assert_array_equal(at(execution_context.enqueue(), expected), expected)
    execution_context.close()
