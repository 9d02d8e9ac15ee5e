from __future__ import annotations

import numpy as np
import pytest
from msgspec.structs import replace

from rtseg.backends._shared import Outputs, Ring, Worker, one_line
from rtseg.errors import BackendError
from rtseg.packages.shapes import answer_shape
from rtseg.packages.spec import ModelSpec


def spec(**fields: object) -> ModelSpec:
    return ModelSpec(name="x", classes=("a", "b"), **fields)  # type: ignore[arg-type]


@pytest.mark.parametrize("dtype", ["int64", "int32", "float32", "int8"])
def test_labels_that_are_no_class_become_unlabelled(dtype: str) -> None:
    values = [0, 1, -1, 100] if dtype == "int8" else [0, 254, -1, 255, 256, 511, 100_000]
    expected = [0, 1, 255, 100] if dtype == "int8" else [0, 254, 255, 255, 255, 255, 255]
    found = Outputs(spec(output_kind="labels", output_layout="NHW"), 1)(np.array([[values]], dtype))
    assert found.dtype == np.uint8
    assert found.tolist() == [expected]


@pytest.mark.parametrize(
    ("shape", "layout"), [((1, 1, 2, 3), "NCHW"), ((1, 2, 3, 1), "NHWC"), ((1, 2, 3), "NHW"), ((2, 3), "NHW")]
)
def test_label_map_of_every_shape(shape: tuple[int, ...], layout: str) -> None:
    raw = np.arange(6, dtype=np.uint8).reshape(shape)
    found = Outputs(spec(output_kind="labels", output_layout=layout), 1)(raw)
    assert found.tolist() == [[0, 1, 2], [3, 4, 5]]
    assert answer_shape(spec(output_kind="labels", output_layout=layout), shape) == (2, 3)


@pytest.mark.parametrize("shape", [(1, 1, 2, 3), (1, 2, 3), (2, 3)])
def test_shape_of_scores(shape: tuple[int, ...]) -> None:
    assert answer_shape(spec(), shape) == Outputs(replace(spec(), classes=("a",)), 1)(np.zeros(shape)).shape
    assert answer_shape(spec(), (1, 5, 2, 3)) == (5, 2, 3)


def test_scores_in_the_contract_form_are_not_copied() -> None:
    raw = np.zeros((1, 2, 3, 4), np.float32)
    assert np.shares_memory(Outputs(spec(), 1)(raw), raw)


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_ring_keeps_an_array_for_depth_more_submits(depth: int) -> None:
    """An answer is read while `depth - 1` newer ones wait, and the next submits must not touch it."""
    ring = Ring(depth)
    handed = [ring.next((2, 3), "float32") for _ in range(4 * depth)]
    for position, array in enumerate(handed[: 2 * depth]):
        later = handed[position + 1 : position + 2 * depth - 1]
        assert not any(array is other for other in later)
    assert handed[0] is handed[2 * depth - 1]


def test_ring_forgets_sizes_that_are_no_longer_used() -> None:
    ring = Ring(1)
    for side in range(1, 50):
        ring.next((side,), "uint8")
    assert len(ring._arrays) == 8


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("", "RuntimeError"),
        ("plain", "plain"),
        ("Exception from src/a.cpp:84:\nCheck 'x' failed at src/b.cpp:1:\nwhat went wrong\n\n", "what went wrong"),
        ("[ONNXRuntimeError] : 2 : INVALID_ARGUMENT : Got invalid dimensions", "Got invalid dimensions"),
        ("[ONNXRuntimeError] : 1 : FAIL : Load model from /a b.onnx failed:/x/m.cc:2 A::B(C&&, const D&) Old", "Old"),
        ("Summary:\n-- No conversion rule for operations: Foo\nmore", "-- No conversion rule for operations: Foo"),
        (
            "CUDA error: out of memory\nSearch for `cudaErrorMemoryAllocation' in https://docs.nvidia.com for more.\n"
            "CUDA kernel errors might be asynchronously reported at some other API call.\n"
            "For debugging consider passing CUDA_LAUNCH_BLOCKING=1\n"
            "Compile with `TORCH_USE_CUDA_DSA` to enable device-side assertions.\n",
            "CUDA error: out of memory",
        ),
        ("x" * 400, "x" * 297 + "..."),
    ],
)  # fmt: skip
def test_one_line(text: str, line: str) -> None:
    assert one_line(RuntimeError(text)) == line


def test_worker_gives_errors_to_who_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    worker = Worker("test")
    assert worker.result(worker.submit(lambda: 3)) == 3
    with pytest.raises(ZeroDivisionError):
        worker.result(worker.submit(lambda: 1 // 0))
    monkeypatch.setattr("rtseg.backends._shared.WAIT_S", 0.01)
    import threading

    release = threading.Event()
    stuck = worker.submit(lambda: release.wait(5))
    with pytest.raises(BackendError, match="test gave no answer within 0 s"):
        worker.result(stuck)
    release.set()
    worker.close()
