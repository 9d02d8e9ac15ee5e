"""One tester that every backend goes through: the same network, the same numbers, the same misuse."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from rtseg import registry
from rtseg.backends import Backend, open_backend
from rtseg.errors import BackendError, ConfigError
from rtseg.packages.complete import complete_spec
from rtseg.packages.spec import ModelSpec
from tests.onnx_models import CLASSES, NORMALISATION, STRIDE, conv_model, reference, weights

SIZE, OTHER = (64, 96), (96, 32)
RUNTIMES = ("openvino", "onnxruntime")
Open = Callable[..., Backend]


class TinyNetwork(nn.Module):
    """The convolution of tests.onnx_models under the initialisers' names, so that torch can rebuild it."""

    def __init__(self, classes: int, training_heads: bool = False) -> None:
        super().__init__()
        self.kernel = nn.Parameter(torch.zeros(classes, 3, STRIDE, STRIDE))
        self.bias = nn.Parameter(torch.zeros(classes))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return nn.functional.conv2d(x, self.kernel, self.bias, stride=STRIDE)


def image(size: tuple[int, int], seed: int = 0, layout: str = "NCHW", dtype: str = "float32") -> NDArray[Any]:
    random = np.random.default_rng(seed)
    shape = (1, 3, *size) if layout == "NCHW" else (1, *size, 3)
    if dtype == "uint8":
        return random.integers(0, 256, shape, np.uint8)
    return random.standard_normal(shape).astype(dtype)


EVERY = ["openvino", "onnxruntime", "torch", pytest.param("tensorrt", marks=pytest.mark.gpu), "null"]


@pytest.fixture(params=EVERY)
def name(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(registry, "NETWORKS", {"tiny": (f"{__name__}:TinyNetwork", None)})
    return str(request.param)


@pytest.fixture
def opened(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Open]:
    """Opens the test network on the backend under test, in fp32; null computes it in NumPy, and TensorRT's GPU does."""
    if name == "tensorrt":
        from tests.tensorrt import rtx  # noqa: F401 - skips without it
        from tests.tensorrt.fakes import install

        monkeypatch.chdir(tmp_path)
        install(monkeypatch)
    path = conv_model(tmp_path / "net.onnx")
    spec = complete_spec(path, None, {**NORMALISATION, "network": "tiny"})
    left = []

    def make(**options: Any) -> Backend:
        if name == "null":
            options.setdefault("answer", lambda tensor: reference(tensor).astype(np.float32))
        backend: Backend = registry.load(registry.BACKENDS, name, "backend")(path, spec, precision="fp32", **options)
        left.append(backend)
        return backend

    yield make
    for backend in left:
        backend.close()


class TestEveryBackend:
    def test_values(self, opened: Open, name: str) -> None:
        with opened() as backend:
            backend.prepare(SIZE)
            backend.submit(image(SIZE))
            found = backend.collect()
        assert found.dtype == np.float32
        assert found.flags.c_contiguous
        np.testing.assert_allclose(found, reference(image(SIZE)), atol=1e-4)
        device = "cuda:0" if name == "tensorrt" else "cpu"
        assert (backend.name, backend.device, backend.precision, backend.depth) == (name, device, "fp32", 1)

    def test_order_with_two_in_flight(self, opened: Open) -> None:
        images = [image(SIZE, seed) for seed in range(7)]
        found = []
        with opened(depth=2) as backend:
            backend.submit(images[0])
            for tensor in images[1:]:
                backend.submit(tensor)
                found.append(backend.collect().copy())
            found.append(backend.collect().copy())
        for tensor, scores in zip(images, found, strict=True):
            np.testing.assert_allclose(scores, reference(tensor), atol=1e-4)

    def test_an_answer_outlives_the_next_submits(self, opened: Open) -> None:
        images = [image(SIZE, seed) for seed in range(4)]
        with opened(depth=2) as backend:
            backend.submit(images[0])
            backend.submit(images[1])
            first = backend.collect()
            backend.submit(images[2])
            backend.collect()
            backend.collect()
            np.testing.assert_allclose(first, reference(images[0]), atol=1e-4)

    def test_sizes_change_while_in_flight(self, opened: Open) -> None:
        sizes = [SIZE, OTHER, SIZE, (32, 32), (64, 64), (32, 64), OTHER]
        images = [image(size, seed) for seed, size in enumerate(sizes)]
        with opened(depth=2) as backend:
            backend.submit(images[0])
            for position, tensor in enumerate(images[1:]):
                backend.submit(tensor)
                np.testing.assert_allclose(backend.collect(), reference(images[position]), atol=1e-4)
            np.testing.assert_allclose(backend.collect(), reference(images[-1]), atol=1e-4)

    def test_same_answer_twice_and_with_one_thread(self, opened: Open) -> None:
        answers = []
        for threads in (1, 2):
            with opened(threads=threads) as backend:
                for _ in range(2):
                    backend.submit(image(SIZE))
                    answers.append(backend.collect().copy())
        assert all(np.array_equal(answer.argmax(0), answers[0].argmax(0)) for answer in answers)

    def test_close_twice_and_with_work_in_flight(self, opened: Open) -> None:
        backend = opened(depth=2)
        backend.submit(image(SIZE))
        backend.submit(image(SIZE))
        backend.close()
        backend.close()

    def test_use_after_close(self, opened: Open, name: str) -> None:
        backend = opened()
        backend.close()
        for use in (lambda: backend.submit(image(SIZE)), backend.collect, lambda: backend.prepare(SIZE)):
            with pytest.raises(BackendError, match=f"the {name} backend is closed"):
                use()

    def test_more_than_depth_in_flight(self, opened: Open) -> None:
        with opened() as backend:
            backend.submit(image(SIZE))
            with pytest.raises(BackendError, match="has 1 in flight already"):
                backend.submit(image(SIZE))
            np.testing.assert_allclose(backend.collect(), reference(image(SIZE)), atol=1e-4)

    def test_collect_before_submit(self, opened: Open) -> None:
        with opened() as backend, pytest.raises(BackendError, match="nothing was submitted"):
            backend.collect()

    @pytest.mark.parametrize(
        ("tensor", "got"),
        [
            (image(SIZE)[0], "float32 3x64x96"),
            (image(SIZE).astype(np.float64), "float64 1x3x64x96"),
            (image(SIZE, layout="NHWC"), "float32 1x64x96x3"),
            (image(SIZE).repeat(2, 0), "float32 2x3x64x96"),
            (image(SIZE, layout="NHWC").transpose(0, 3, 1, 2), "float32 1x3x64x96, not contiguous"),
            (np.float32(1), "float32 scalar"),
        ],
    )
    def test_wrong_tensor(self, opened: Open, tensor: NDArray[Any], got: str) -> None:
        with opened() as backend:
            with pytest.raises(BackendError) as error:
                backend.submit(np.asarray(tensor))
            assert str(error.value).startswith("model net takes a contiguous float32 1x3xHxW tensor, got " + got)
            backend.submit(image(SIZE))  # and nothing is broken
            np.testing.assert_allclose(backend.collect(), reference(image(SIZE)), atol=1e-4)

    def test_size_that_is_no_multiple(self, opened: Open) -> None:
        with opened() as backend:
            with pytest.raises(BackendError, match="multiples of 32, got 60x96: use 64x96"):
                backend.prepare((60, 96))
            with pytest.raises(BackendError, match="multiples of 32, got 64x100: use 64x128"):
                backend.submit(image((64, 100)))

    def test_unknown_device(self, opened: Open) -> None:
        with pytest.raises(BackendError, match=r"(?i)npu9"):
            opened(device="NPU9")

    def test_options_below_one(self, opened: Open) -> None:
        with pytest.raises(ConfigError, match="threads is 0"):
            opened(threads=0)
        with pytest.raises(ConfigError, match="depth is 0"):
            opened(depth=0)


@pytest.mark.parametrize("name", RUNTIMES)
class TestBringYourOwn:
    """Every form of input and output on the runtimes that take any ONNX file."""

    def run(self, name: str, path: Path, tensor: NDArray[Any], **overrides: Any) -> tuple[NDArray[Any], ModelSpec]:
        given = {**NORMALISATION, **overrides}
        with open_backend(name, str(path), precision=None if name == "onnxruntime" else "fp32", overrides=given) as net:
            net.submit(tensor)
            return net.collect().copy(), net.spec

    @pytest.mark.parametrize("dtype", ["float32", "float16", "uint8"])
    @pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
    def test_input(self, name: str, tmp_path: Path, layout: str, dtype: str) -> None:
        shape = ("n", 3, "h", "w") if layout == "NCHW" else ("n", "h", "w", 3)
        path = conv_model(tmp_path / "net.onnx", shape=shape, layout=layout, dtype=dtype)
        tensor = image(SIZE, layout=layout, dtype=dtype)
        if name == "onnxruntime" and dtype == "float16":
            assert open_backend(name, str(path), overrides=NORMALISATION).precision == "fp16"
        found, spec = self.run(name, path, tensor)
        assert (spec.layout, spec.dtype) == (layout, dtype)
        nchw = tensor if layout == "NCHW" else tensor.transpose(0, 3, 1, 2)
        np.testing.assert_allclose(found, reference(nchw), rtol=1e-4, atol=1e-3)

    @pytest.mark.parametrize("output_dtype", ["float32", "float16"])
    @pytest.mark.parametrize("output_layout", ["NCHW", "NHWC"])
    def test_output(self, name: str, tmp_path: Path, output_layout: str, output_dtype: str) -> None:
        path = conv_model(
            tmp_path / "net.onnx", shape=(1, 3, *SIZE), output_layout=output_layout, output_dtype=output_dtype
        )
        found, spec = self.run(name, path, image(SIZE))
        assert (spec.output_layout, spec.size) == (output_layout, SIZE)
        assert (found.shape, found.dtype) == ((CLASSES, 8, 12), np.float32)
        np.testing.assert_allclose(found, reference(image(SIZE)), atol=1e-4 if output_dtype == "float32" else 2e-2)

    def test_probabilities(self, name: str, tmp_path: Path) -> None:
        found, spec = self.run(name, conv_model(tmp_path / "net.onnx", end="softmax"), image(SIZE))
        exponentials = np.exp(reference(image(SIZE)))
        assert spec.output_kind == "probabilities"
        np.testing.assert_allclose(found, exponentials / exponentials.sum(0), atol=1e-4)

    @pytest.mark.parametrize("output_dtype", ["int64", "int32", "uint8", "float32"])
    @pytest.mark.parametrize("end", ["argmax", "argmax-flat"])
    def test_label_map(self, name: str, tmp_path: Path, end: str, output_dtype: str) -> None:
        path = conv_model(tmp_path / "net.onnx", end=end, output_dtype=output_dtype)
        found, spec = self.run(name, path, image(SIZE), classes=tuple("abcde"))
        assert spec.output_kind == "labels"
        assert found.dtype == np.uint8
        assert np.array_equal(found, reference(image(SIZE)).argmax(0))

    @pytest.mark.parametrize("end", ["logits", "sigmoid"])
    def test_binary_mask_gets_its_second_class(self, name: str, tmp_path: Path, end: str) -> None:
        found, spec = self.run(name, conv_model(tmp_path / "net.onnx", classes=1, end=end), image(SIZE))
        score = reference(image(SIZE), classes=1)[0]
        assert spec.classes == ("background", "foreground")
        expected = [0 * score, score] if end == "logits" else [1 / (1 + np.exp(score)), 1 / (1 + np.exp(-score))]
        np.testing.assert_allclose(found, expected, atol=1e-4)
        assert np.array_equal(found.argmax(0), score > 0)

    @pytest.mark.parametrize("opset", [11, 13, 18])
    def test_opset(self, name: str, tmp_path: Path, opset: int) -> None:
        found, _ = self.run(name, conv_model(tmp_path / "net.onnx", opset=opset), image(SIZE))
        np.testing.assert_allclose(found, reference(image(SIZE)), atol=1e-4)

    def test_named_output_of_several(self, name: str, tmp_path: Path) -> None:
        path = conv_model(tmp_path / "net.onnx", auxiliary=True)
        found, spec = self.run(name, path, image(SIZE), output_name="scores")
        assert spec.output_name == "scores"
        np.testing.assert_allclose(found, reference(image(SIZE)), atol=1e-4)

    def test_fixed_size_refuses_another(self, name: str, tmp_path: Path) -> None:
        path = conv_model(tmp_path / "net.onnx", shape=(1, 3, *SIZE))
        with open_backend(name, str(path), overrides=NORMALISATION) as net:
            for refused in (lambda: net.prepare(OTHER), lambda: net.submit(image(OTHER))):
                with pytest.raises(BackendError, match=r"takes 64x96 \(height x width\) only, got 96x32"):
                    refused()


def test_weights_differ_between_classes() -> None:
    """The tests above could not tell classes apart otherwise."""
    kernel, bias = weights()
    assert len(np.unique(kernel)) > kernel.size * 0.99
    assert len(np.unique(bias)) == CLASSES
